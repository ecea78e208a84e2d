import { LAUNCH_STEPS, type LaunchFailure } from './spec.ts';

export function parseStatus(bytes: Uint8Array): LaunchFailure | undefined {
  if (bytes.length === 0) return undefined;
  const b = Buffer.from(bytes);
  return {
    step: LAUNCH_STEPS[b.readUInt32LE(0) - 1] ?? 'receive',
    errno: b.readInt32LE(4),
    object: b.subarray(8).toString(),
  };
}
