import type { Readable, Writable } from 'node:stream';
import { reachSandbox } from './reach.ts';

export interface Stdio {
  readonly stdin: Readable;
  readonly stdout: Writable;
}

/**
 * Joins standard input and output to a Unix socket until the socket closes; what OpenSSH runs as its ProxyCommand.
 * @throws CastellanError `no_sandbox`, as reachSandbox()
 */
export async function connectStdio(socketPath: string, { stdin, stdout }: Stdio = process): Promise<void> {
  const socket = await reachSandbox(socketPath);
  const closed = new Promise<void>((resolve) => socket.once('close', () => resolve()));
  // Either side may vanish at any time; ssh tells the user, and there is nothing left to do but end.
  socket.on('error', () => {});
  stdin.on('error', () => socket.destroy());
  stdout.on('error', () => socket.destroy());
  stdin.pipe(socket);
  socket.pipe(stdout, { end: false });
  // The sandbox has hung up: ssh, if it still lives, is not going to say anything that matters.
  socket.once('end', () => socket.destroySoon());
  await closed;
  // Standard input would keep the process waiting for a client that waits for the process.
  stdin.unpipe(socket);
  stdin.destroy();
}
