import { writeFile } from 'node:fs/promises';
import type { Report } from '../audit/event.ts';
import type { RunConfig } from '../config/config.ts';
import type { Surroundings } from '../config/surroundings.ts';
import type { Cell } from '../launch/cell.ts';
import type { Launcher } from '../launch/launch.ts';
import type { MainConsole } from '../session/main-console.ts';
import { knownHostsLine } from '../session/ssh/client-arguments.ts';
import { startSshServer } from '../session/ssh/server.ts';
import type { HandedSocket } from './handed-sockets.ts';
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
    socketPath: runDirectory.sshSocket,
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
