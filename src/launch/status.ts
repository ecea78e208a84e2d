/** The launcher's last word; native/README.md has the format. */
import { constants } from 'node:os';
import { LAUNCH_STEPS, type LaunchFailure } from './spec.ts';

/** u32 step, i32 errno, then the object. */
const HEADER_BYTES = 8;

/** Undefined for no record: the command was executed. @throws RangeError for bytes that are no record */
export function parseStatus(bytes: Uint8Array): LaunchFailure | undefined {
  if (bytes.length === 0) return undefined;
  if (bytes.length < HEADER_BYTES) throw new RangeError(`a status record of ${bytes.length} bytes`);
  const record = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const step = LAUNCH_STEPS[record.readUInt32LE(0) - 1];
  if (step === undefined) throw new RangeError(`unknown launch step ${record.readUInt32LE(0)}`);
  return { step, errno: record.readInt32LE(4), object: record.toString('utf8', HEADER_BYTES) };
}

/** The C library's other names for what the kernel calls EOPNOTSUPP and EAGAIN. */
const ALIASES: readonly string[] = ['ENOTSUP', 'EWOULDBLOCK'];

/** `ENOENT` for 2, and `errno 4242` for a number without a name. */
export function errnoName(errno: number): string {
  const names = Object.entries(constants.errno).filter(([name]) => !ALIASES.includes(name));
  return names.find(([, number]) => number === errno)?.[0] ?? `errno ${errno}`;
}
