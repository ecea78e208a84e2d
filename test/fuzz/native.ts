export const NATIVE_TARGETS: readonly string[] = [];
export async function fuzzNative(_n: string, _s: number, _m: number): Promise<never> { throw new Error('none'); }
export function replayNative(_n: string, _f: readonly string[]): boolean { return false; }
