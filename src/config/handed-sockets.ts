import { CastellanError } from '../errors.ts';
import type { Surroundings } from './surroundings.ts';
import { readVariable } from './variables.ts';

/** What a socket that a service manager hands over may be for: FileDescriptorName= of its unit. */
export const HANDED_NAMES = ['ssh', 'health', 'metrics'] as const;
export type HandedName = (typeof HANDED_NAMES)[number];

export interface HandedDescriptor {
  readonly name: HandedName;
  readonly descriptor: number;
}

/** SD_LISTEN_FDS_START. */
const FIRST = 3;
/** A handful is sensible; a number that is not is no manager's. */
const MAX_SOCKETS = 32;

/**
 * The sockets of sd_listen_fds_with_names(3). They were meant for the init, whose child this process is, or for this process; those of anybody
 * else are not looked at. Pure.
 * @throws CastellanError `usage` for one whose purpose is not known
 */
export function handedDescriptors({ environment, pid, initPid }: Surroundings): HandedDescriptor[] {
  const receiver = readVariable(environment, 'LISTEN_PID');
  const count = readVariable(environment, 'LISTEN_FDS');
  const names = readVariable(environment, 'LISTEN_FDNAMES');
  if (receiver === undefined || count === undefined || count === '' || count === '0') return [];
  if (receiver !== String(pid) && receiver !== String(initPid ?? pid)) return [];
  if (!/^[1-9]\d?$/.test(count) || Number(count) > MAX_SOCKETS)
    throw refused(`LISTEN_FDS is ${count}, and at most ${MAX_SOCKETS} sockets are taken`);
  const told = names?.split(':') ?? [];
  return Array.from({ length: Number(count) }, (_, index) => {
    const name = HANDED_NAMES.find((known) => known === told[index]);
    if (name === undefined) throw refused(`a socket named ${told[index] ?? 'nothing'} was handed over`);
    return { name, descriptor: FIRST + index };
  });
}

function refused(message: string): CastellanError {
  return new CastellanError('usage', message, {
    step: 'socket-activation',
    remedy: `set FileDescriptorName= of the socket unit to one of ${HANDED_NAMES.join(', ')}`,
  });
}
