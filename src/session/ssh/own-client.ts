/**
 * castellan's own SSH client, for callers whom OpenSSH refuses or who have none: in the agent's container of a pod there is often neither
 * an account for the uid nor a client. It asks for one shell, command or subsystem and does nothing else.
 */
import { readFileSync } from 'node:fs';
import ssh2, { type Client, type ClientChannel } from 'ssh2';
import { CastellanError, errnoOf } from '../../errors.ts';
import { escapeText } from '../../lib/escape.ts';
import type { SshArguments } from './client-arguments.ts';
import { reachSandbox } from './reach.ts';

export interface OwnClientRequest
  extends Pick<SshArguments, 'user' | 'socketPath' | 'knownHosts' | 'tty' | 'command' | 'subsystem'> {
  /** TERM, for a terminal of the sandbox's own. */
  readonly terminalName: string | undefined;
}

export interface ClientStreams {
  readonly stdin: NodeJS.ReadStream;
  readonly stdout: NodeJS.WriteStream;
  readonly stderr: NodeJS.WriteStream;
}

/** What OpenSSH's client ends with when no exit status came: a signal ended the command, or the connection was lost. */
const NO_STATUS = 255;
const READY_DEADLINE_MS = 20_000;

/**
 * Gives the exit status of what was asked for, as OpenSSH's client would. `stop` ends the connection.
 * @throws CastellanError `no_sandbox` where nobody answers, or not with the run's own key
 */
export async function runOwnClient(
  request: OwnClientRequest,
  streams: ClientStreams,
  stop: AbortSignal,
): Promise<number> {
  const isTerminal = request.tty ?? (request.command.length === 0 && streams.stdin.isTTY === true);
  using held = new DisposableStack();
  const client = await open(request, stop);
  held.defer(() => void client.destroy());
  const channel = await ask(client, request, isTerminal ? windowOf(streams.stdout) : undefined);
  if (isTerminal && streams.stdin.isTTY) {
    streams.stdin.setRawMode(true);
    held.defer(() => void streams.stdin.setRawMode(false));
    const follow = () => {
      const { rows, cols } = windowOf(streams.stdout);
      channel.setWindow(rows, cols, 0, 0);
    };
    streams.stdout.on('resize', follow);
    held.defer(() => void streams.stdout.off('resize', follow));
  }
  held.defer(() => void streams.stdin.unpipe(channel).pause());
  return await join(channel, streams);
}

/** Resolves once the run's own server is at the other end, and has let us in. */
async function open({ user, socketPath, knownHosts }: OwnClientRequest, stop: AbortSignal): Promise<Client> {
  const key = hostKeyIn(knownHosts);
  const client = new ssh2.Client();
  const sock = await reachSandbox(socketPath, stop);
  sock.once('end', () => sock.destroySoon());
  return await new Promise((resolve, reject) => {
    // Later ones end the channel, which tells.
    client.on('error', (cause) => reject(unreachable(socketPath, cause)));
    client.once('close', () => reject(unreachable(socketPath, new Error('it hung up'))));
    client.once('ready', () => resolve(client));
    client.connect({
      sock,
      username: user,
      // The socket is the access control: there is nothing to prove.
      authHandler: ['none'],
      hostVerifier: (found: Buffer) => found.equals(key),
      readyTimeout: READY_DEADLINE_MS,
    });
  });
}

/** Of the one line of knownHostsLine(). */
function hostKeyIn(path: string): Buffer {
  const [, , blob = ''] = readFileSync(path, 'utf8').trim().split(' ');
  return Buffer.from(blob, 'base64');
}

interface Window {
  readonly rows: number;
  readonly cols: number;
}

function windowOf({ rows = 24, columns = 80 }: NodeJS.WriteStream): Window {
  return { rows, cols: columns };
}

function ask(
  client: Client,
  { command, subsystem, terminalName, socketPath }: OwnClientRequest,
  window: Window | undefined,
): Promise<ClientChannel> {
  const pty = window === undefined ? false : { ...window, term: terminalName ?? 'xterm' };
  const words = command.join(' ');
  return new Promise((resolve, reject) => {
    const answered = (cause: Error | undefined, channel: ClientChannel) =>
      cause === undefined ? resolve(channel) : reject(unreachable(socketPath, cause));
    client.once('close', () => reject(unreachable(socketPath, new Error('it hung up'))));
    // The library asks for no terminal with a subsystem; attaching takes none.
    if (subsystem === true) client.subsys(words, answered);
    else if (words === '') client.shell(pty, answered);
    else client.exec(words, pty === false ? {} : { pty }, answered);
  });
}

function join(channel: ClientChannel, { stdin, stdout, stderr }: ClientStreams): Promise<number> {
  channel.on('error', () => {});
  stdin.pipe(channel);
  channel.pipe(stdout, { end: false });
  channel.stderr.pipe(stderr, { end: false });
  return new Promise((resolve) => {
    // It tells the status once more: `exit` came before anybody listened, where all of a short command came in one piece.
    channel.once('close', (status?: number | null) => resolve(status ?? NO_STATUS));
    // A terminal or a reader that is gone; what is still to come keeps the channel from closing.
    for (const stream of [stdin, stdout, stderr]) stream.on('error', () => resolve(NO_STATUS));
  });
}

function unreachable(socketPath: string, cause: Error): CastellanError {
  const errno = errnoOf(cause);
  return new CastellanError('no_sandbox', `the sandbox does not let us in: ${escapeText(cause.message)}`, {
    step: 'ssh',
    object: socketPath,
    cause,
    ...(errno && { errno }),
  });
}
