/** A cell with its SSH server, and the real OpenSSH client to use it with. */
import { type ChildProcess, type ChildProcessByStdio, spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Readable, Writable } from 'node:stream';
import { buffer, text } from 'node:stream/consumers';
import type { Cell } from '../../src/launch/cell.ts';
import { knownHostsLine, sshArguments } from '../../src/session/ssh/client-arguments.ts';
import { type SshServer, type SshServerOptions, startSshServer } from '../../src/session/ssh/server.ts';
import { makeCell, type TestCell } from './cell.ts';

export type SshClient = ChildProcessByStdio<Writable, Readable, Readable>;

export interface SshWorld extends AsyncDisposable {
  readonly cell: TestCell;
  readonly server: SshServer;
  readonly socketPath: string;
  /** Arguments of ssh for a command; `options` go before the host. */
  arguments(command: readonly string[], options?: readonly string[]): string[];
  ssh(command: readonly string[], options?: readonly string[]): SshClient;
  /** Runs to the end with the given input. */
  run(
    command: string,
    options?: { readonly input?: Buffer | string; readonly options?: readonly string[] },
  ): Promise<SshResult>;
}

export interface SshResult {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
  readonly bytes: Buffer;
}

const NAME = 'test';

export async function makeSshWorld(
  change: Partial<Cell> = {},
  options: Partial<SshServerOptions> = {},
): Promise<SshWorld> {
  const cell = makeCell(change);
  const socketPath = join(cell.runDirectory, 'ssh.sock');
  const server = await startSshServer({
    addresses: [{ kind: 'path', path: socketPath }],
    launcher: cell.launcher,
    cell: cell.cell,
    allowedUids: [0],
    environmentAllowList: ['TEST_ALLOWED'],
    report: cell.report,
    ...options,
  });
  const knownHosts = join(cell.runDirectory, 'known hosts');
  writeFileSync(knownHosts, knownHostsLine(NAME, server.hostKey));
  const castellan = join(cell.runDirectory, "cast'ellan");
  const proxy = join(import.meta.dirname, 'ssh-proxy.ts');
  writeFileSync(castellan, `#!/bin/sh\nexec '${process.execPath}' '${proxy}' "$2"\n`);
  chmodSync(castellan, 0o755);
  const children = new Set<ChildProcess>();

  const argumentsFor: SshWorld['arguments'] = (command, extra = []) => [
    ...extra,
    ...sshArguments({
      name: NAME,
      user: 'agent',
      socketPath,
      knownHosts,
      castellan,
      tty: undefined,
      command,
    }),
  ];
  const ssh: SshWorld['ssh'] = (command, extra) => {
    const child = spawn('ssh', argumentsFor(command, extra), { stdio: ['pipe', 'pipe', 'pipe'] });
    children.add(child);
    child.once('exit', () => children.delete(child));
    child.stdin.on('error', () => {});
    return child;
  };
  return {
    cell,
    server,
    socketPath,
    arguments: argumentsFor,
    ssh,
    async run(command, { input = '', options: extra } = {}) {
      const child = ssh([command], extra);
      child.stdin.end(input);
      const [bytes, stderr, [code]] = await Promise.all([
        buffer(child.stdout),
        text(child.stderr),
        once(child, 'exit'),
      ]);
      return { code, stdout: bytes.toString(), stderr, bytes };
    },
    async [Symbol.asyncDispose]() {
      for (const child of children) child.kill('SIGKILL');
      await server.close();
      cell[Symbol.dispose]();
    },
  };
}
