/** Sockets that a service manager has opened before the run, and hands over: looked at before they are served. */
import { lstatSync } from 'node:fs';
import { isAbsolute } from 'node:path';
import type { RunMode } from '../config/config.ts';
import { type HandedName, handedDescriptors } from '../config/handed-sockets.ts';
import type { Surroundings } from '../config/surroundings.ts';
import { CastellanError, errnoOf } from '../errors.ts';
import { posix } from '../kernel/posix.ts';

export interface HandedSocket {
  readonly name: HandedName;
  readonly descriptor: number;
  /** Of a Unix socket. */
  readonly path: string | undefined;
}

/**
 * Takes them, so that nothing that is started from now on inherits one. Clients may be waiting in them.
 * @throws CastellanError `usage` for one that is not what its name says
 */
export function takeHandedSockets(surroundings: Surroundings, mode: RunMode): readonly HandedSocket[] {
  const handed = handedDescriptors(surroundings);
  return handed
    .map(({ name, descriptor }) => ({ name, descriptor, facts: adopt(name, descriptor) }))
    .map(({ name, descriptor, facts }) => {
      const flaw = flawOf(name, facts, mode);
      if (flaw !== undefined) throw refused(name, flaw);
      return { name, descriptor, path: facts.path === '' ? undefined : facts.path };
    });
}

type Facts = ReturnType<ReturnType<typeof posix>['adoptListener']>;

function adopt(name: HandedName, descriptor: number): Facts {
  try {
    return posix().adoptListener(descriptor);
  } catch (error) {
    throw refused(name, `descriptor ${descriptor} is no socket`, errnoOf(error));
  }
}

function flawOf(name: HandedName, { family, isListening, path }: Facts, mode: RunMode): string | undefined {
  if (!isListening || family === 'other') return 'it is no stream socket that listens';
  if (name === 'ssh' && mode === 'sidecar')
    return 'people come to the agent’s container, and not to a sidecar';
  if (family !== 'unix') {
    if (name === 'ssh') return 'SSH is served on Unix sockets only, where the kernel tells who connects';
    return mode === 'process-only' ? 'the command would share its network' : undefined;
  }
  if (name !== 'ssh' && mode === 'process-only') return 'the command could connect to it';
  // By its path it is kept out of the agent's reach.
  if (!isAbsolute(path) || lstatSync(path, { throwIfNoEntry: false })?.isSocket() !== true)
    return 'it has no path in the file system';
  return undefined;
}

function refused(name: HandedName, flaw: string, errno?: string): CastellanError {
  return new CastellanError('usage', `the socket that was handed over as ${name} is not taken: ${flaw}`, {
    step: 'socket-activation',
    object: name,
    ...(errno && { errno }),
  });
}
