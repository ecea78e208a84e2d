import { mkdir, writeFile } from 'node:fs/promises';
import { dirname } from 'node:path';
import type { Report } from '../audit/event.ts';
import type { RunConfig } from '../config/config.ts';
import type { SshAddress } from '../config/ssh-socket.ts';
import type { Surroundings } from '../config/surroundings.ts';
import type { Cell } from '../launch/cell.ts';
import type { Launcher } from '../launch/launch.ts';
import type { MainConsole } from '../session/main-console.ts';
import { knownHostsLine } from '../session/ssh/client-arguments.ts';
import { startSshServer } from '../session/ssh/server.ts';
import type { HandedSocket } from './handed-sockets.ts';
import type { RunDirectory } from './run-directory.ts';
import { openSocketPlace } from './socket-place.ts';

export interface SshStart {
  readonly config: RunConfig;
  readonly surroundings: Surroundings;
  readonly runDirectory: RunDirectory;
  readonly handed: readonly HandedSocket[];
  readonly launcher: Launcher;
  readonly cell: Cell;
  readonly report: Report;
  readonly mainConsole: MainConsole | undefined;
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
}: SshStart): Promise<AsyncDisposable> {
  return await startSshServer({
    addresses: [
      { kind: 'path', path: runDirectory.sshSocket },
      ...(config.sshAddress === undefined ? [] : [await openAddress(config.sshAddress, surroundings.uid)]),
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
 * Drivers name a place that nobody has made.
 * @throws CastellanError `filesystem_refused`
 */
async function openAddress(address: SshAddress, uid: number): Promise<SshAddress> {
  if (address.kind === 'abstract') return address;
  // Where that fails, opening it tells why.
  await mkdir(dirname(address.path), { recursive: true, mode: 0o700 }).catch(() => {});
  return { kind: 'path', path: await openSocketPlace(address.path, uid, 'ssh') };
}
