import { lstat, mkdir, realpath, writeFile } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import type { Report } from '../audit/event.ts';
import type { RunConfig } from '../config/config.ts';
import type { SshAddress } from '../config/ssh-socket.ts';
import type { Surroundings } from '../config/surroundings.ts';
import { CastellanError, errnoOf } from '../errors.ts';
import type { Cell } from '../launch/cell.ts';
import type { Launcher } from '../launch/launch.ts';
import type { MainConsole } from '../session/main-console.ts';
import { knownHostsLine } from '../session/ssh/client-arguments.ts';
import { startSshServer } from '../session/ssh/server.ts';
import type { GrantedPath } from './filesystem.ts';
import type { HandedSocket } from './handed-sockets.ts';
import { covers } from './path-plan.ts';
import type { RunDirectory } from './run-directory.ts';

export interface SshStart {
  readonly config: RunConfig;
  readonly surroundings: Surroundings;
  readonly runDirectory: RunDirectory;
  readonly handed: readonly HandedSocket[];
  readonly launcher: Launcher;
  readonly cell: Cell;
  readonly report: Report;
  readonly mainConsole: MainConsole | undefined;
  /** The policy's paths. */
  readonly granted: readonly Pick<GrantedPath, 'path' | 'access'>[];
}

/** Opens the sandbox's SSH socket and writes down its host key for `castellan ssh`. */
export async function startSsh({
  config,
  surroundings,
  runDirectory,
  handed,
  launcher,
  cell,
  report,
  mainConsole,
  granted,
}: SshStart): Promise<AsyncDisposable> {
  return await startSshServer({
    addresses: [
      { kind: 'path', path: runDirectory.sshSocket },
      ...(config.sshAddress === undefined
        ? []
        : [await preparePlace(config.sshAddress, surroundings.uid, granted)]),
    ],
    handed: handed.filter(({ name }) => name === 'ssh').map(({ descriptor }) => descriptor),
    launcher,
    cell,
    allowedUids: [...new Set([0, surroundings.uid])],
    environmentAllowList: [],
    report,
    mainConsole,
    onHostKey: (hostKey) =>
      writeFile(runDirectory.knownHosts, knownHostsLine(config.name, hostKey), { mode: 0o600 }),
  });
}

/**
 * Makes the directory of a socket that a platform asked for, and gives where that really is. Nobody but its owner may be able to put another
 * socket there, and the agent must not reach it by what the policy grants.
 * @throws CastellanError `filesystem_refused`
 */
async function preparePlace(
  address: SshAddress,
  uid: number,
  granted: SshStart['granted'],
): Promise<SshAddress> {
  if (address.kind === 'abstract') return address;
  const directory = await openDirectory(dirname(address.path), uid);
  const path = join(directory, basename(address.path));
  const hole = granted.find((grant) => covers(grant.path, path));
  if (hole !== undefined)
    throw refused(path, `lies below ${hole.path}, which the policy grants to the agent`);
  return { kind: 'path', path };
}

async function openDirectory(wanted: string, uid: number): Promise<string> {
  try {
    await mkdir(wanted, { recursive: true, mode: 0o700 });
    const directory = await realpath(wanted);
    const facts = await lstat(directory);
    const isSafe = [0, uid].includes(facts.uid) && (facts.mode & 0o022) === 0;
    if (!isSafe) throw refused(directory, `can be written by others than uid ${uid}`);
    return directory;
  } catch (error) {
    if (error instanceof CastellanError) throw error;
    throw refused(wanted, 'cannot be made', errnoOf(error));
  }
}

function refused(path: string, problem: string, errno?: string): CastellanError {
  return new CastellanError('filesystem_refused', `${path} ${problem}`, {
    step: 'ssh',
    object: path,
    remedy: 'choose another --ssh-socket',
    ...(errno && { errno }),
  });
}
