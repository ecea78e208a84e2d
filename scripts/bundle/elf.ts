/** What an ELF file of 64 bits, least byte first, says about who may run it and what it needs: elf(5). */

/** The numbers of `e_machine`. */
export const ELF_MACHINES = { x64: 62, arm64: 183 } as const;

export interface ElfFile {
  readonly machine: number;
  /** The path of the loader that the kernel would start it by, and where in the file that is. */
  readonly interpreter: { readonly path: string; readonly offset: number } | undefined;
  /** Names of libraries. */
  readonly needed: readonly string[];
  /** RPATH and RUNPATH: where it wants libraries to be looked for. */
  readonly searchPaths: readonly string[];
}

interface Segment {
  readonly type: number;
  readonly offset: number;
  readonly address: number;
  readonly size: number;
}

const MAGIC = Buffer.from([0x7f, 0x45, 0x4c, 0x46, 2, 1]);
const SEGMENT = { load: 1, dynamic: 2, interpreter: 3 } as const;
const TAG = { needed: 1, strings: 5, rpath: 15, runpath: 29 } as const;
const DYNAMIC_BYTES = 16;

/** @throws Error for what is no such file, or says things that cannot be */
export function readElf(bytes: Buffer): ElfFile {
  if (!bytes.subarray(0, MAGIC.length).equals(MAGIC))
    throw new Error('is no ELF file of 64 bits, least byte first');
  const segments = segmentsOf(bytes);
  const entries = dynamicEntries(bytes, segments);
  const strings = entries.find(([tag]) => tag === TAG.strings)?.[1];
  const texts = (...tags: readonly number[]): string[] =>
    entries
      .filter(([tag]) => tags.includes(tag))
      .map(([, value]) => textAt(bytes, offsetOf(segments, strings ?? 0) + value));
  const interpreter = segments.find(({ type }) => type === SEGMENT.interpreter);
  return {
    machine: bytes.readUInt16LE(18),
    interpreter: interpreter && { path: textAt(bytes, interpreter.offset), offset: interpreter.offset },
    needed: texts(TAG.needed),
    searchPaths: texts(TAG.rpath, TAG.runpath),
  };
}

function segmentsOf(bytes: Buffer): readonly Segment[] {
  const [start, size, count] = [number64(bytes, 32), bytes.readUInt16LE(54), bytes.readUInt16LE(56)];
  return Array.from({ length: count }, (_, index) => {
    const at = start + index * size;
    return {
      type: bytes.readUInt32LE(at),
      offset: number64(bytes, at + 8),
      address: number64(bytes, at + 16),
      size: number64(bytes, at + 32),
    };
  });
}

/** Tags with their values. */
function dynamicEntries(bytes: Buffer, segments: readonly Segment[]): readonly [number, number][] {
  const dynamic = segments.find(({ type }) => type === SEGMENT.dynamic);
  if (dynamic === undefined) return [];
  const entries: [number, number][] = [];
  for (let at = dynamic.offset; at < dynamic.offset + dynamic.size; at += DYNAMIC_BYTES)
    entries.push([number64(bytes, at), number64(bytes, at + 8)]);
  return entries;
}

function offsetOf(segments: readonly Segment[], address: number): number {
  const segment = segments.find(
    (each) => each.type === SEGMENT.load && address >= each.address && address < each.address + each.size,
  );
  if (segment === undefined) throw new Error('has its strings outside of itself');
  return address - segment.address + segment.offset;
}

function textAt(bytes: Buffer, offset: number): string {
  return bytes.toString('latin1', offset, bytes.indexOf(0, offset));
}

/** Beyond 2⁵³ nothing of a file can lie; tags and values up there only have to differ from those that are asked for. */
function number64(bytes: Buffer, offset: number): number {
  return Number(bytes.readBigUInt64LE(offset));
}
