/**
 * An ATTACHMENT: request → lease → replay → relay → exit or detach. The client is one that the SSH server let in; the main
 * process is there before it and goes on after it.
 */
import { Writable } from 'node:stream';
import type { DetachReason } from '../audit/event.ts';
import { ERROR_CODES } from '../errors.ts';
import { type ExitStatus, type TerminalSize, within } from '../launch/process.ts';
import { detachScanner } from './detach-keys.ts';
import type { OutputName } from './history.ts';
import type { Attachment, MainConsole } from './main-console.ts';
import { copyInput } from './relay.ts';
import type { SessionClient } from './session.ts';

/** Names of the subsystem; the second is OpenShell's. */
const SUBSYSTEMS: readonly string[] = ['castellan-main', 'openshell-main'];
const READ_ONLY = 'read-only';

/** Name and word of the subsystem that attaches. */
export function attachSubsystem(readOnly: boolean): readonly [string, ...string[]] {
  return readOnly ? ['castellan-main', READ_ONLY] : ['castellan-main'];
}

/** What a subsystem request asks for; undefined when it is another subsystem. */
export function parseAttachSubsystem(text: string): { readonly readOnly: boolean } | undefined {
  const [name = '', word, ...others] = text.split(' ');
  if (!SUBSYSTEMS.includes(name) || others.length > 0) return undefined;
  return word === undefined || word === READ_ONLY ? { readOnly: word === READ_ONLY } : undefined;
}

export interface AttachRequest {
  readonly readOnly: boolean;
  /** The client's input are keys. */
  readonly hasTerminal: boolean;
}

export interface AttachClient extends Pick<SessionClient, 'input' | 'write' | 'exit' | 'refused' | 'gone'> {
  /** Window sizes and signals can go to the process. */
  attached(controls: ProcessControls): void;
  /** Closes the channel although output waits for its window to open. */
  drop(): void;
}

export interface ProcessControls {
  resize(size: TerminalSize): void;
  signal(name: NodeJS.Signals): void;
}

/** On record, from here to the call of the result. */
export type ReportAttached = (readOnly: boolean) => (reason: DetachReason) => void;

const DETACHED: ExitStatus = { exitCode: 0, signal: undefined };
const LAGGED: ExitStatus = { exitCode: ERROR_CODES.timeout.exit, signal: undefined };
const REFUSED: ExitStatus = { exitCode: ERROR_CODES.no_sandbox.exit, signal: undefined };
/** For a client that fell behind to come to the line that says so. */
const LAGGED_MESSAGE_MS = 5000;
/** For the client to close its side, so that it has the exit status before the connection ends. */
const CLOSE_MS = 1000;

/** Serves one client to its end; `main` is undefined where the command has castellan's own streams. */
export async function runAttach(
  main: MainConsole | undefined,
  request: AttachRequest,
  client: AttachClient,
  reportAttached: ReportAttached,
): Promise<void> {
  const say = (text: string) => client.write('stderr', Buffer.from(`castellan: ${text}\r\n`));
  const refusal =
    main === undefined
      ? 'the main process is not retained; start it with castellan run --retain'
      : main.refusal();
  if (main === undefined || refusal !== undefined) {
    client.refused(refusal ?? '');
    await say(refusal ?? '');
    return close(client, REFUSED);
  }
  const { promise: greeted, resolve: begin } = Promise.withResolvers<void>();
  const reader = {
    write: (to: OutputName, bytes: Uint8Array) => greeted.then(() => client.write(to, bytes)),
  };
  using attachment = main.attach({ input: !request.readOnly, reader });
  const reportDetached = reportAttached(attachment.input === undefined);
  greet(request, attachment, say);
  begin();
  client.attached(attachment);
  const keys = relayInput(attachment, client.input, request.hasTerminal || attachment.isTerminal);
  const end = await Promise.race([
    attachment.ended,
    keys.detached.then(() => ({ kind: 'keys' }) as const),
    gone(client.gone).then(() => ({ kind: 'gone' }) as const),
  ]);
  keys.stop();
  attachment.releaseInput();
  reportDetached(end.kind);
  // Awaited here: the end of the sandbox waits for the attachment's.
  switch (end.kind) {
    case 'exited':
      return await close(client, end.status);
    case 'lagged':
      await within(say('detached: this client does not take the output fast enough'), LAGGED_MESSAGE_MS);
      return await close(client, LAGGED);
    case 'keys':
      attachment[Symbol.dispose]();
      await within(say('detached; the main process goes on'), CLOSE_MS);
      return await close(client, DETACHED);
    case 'gone':
  }
}

function greet(
  { readOnly, hasTerminal }: AttachRequest,
  { input }: Attachment,
  say: (text: string) => void,
): void {
  const leave = hasTerminal ? '; Ctrl-P Ctrl-Q detaches' : '';
  if (readOnly) say(`attached read-only${leave}`);
  else if (input === undefined) say(`attached read-only: somebody else has the input${leave}`);
  // A program that attaches gets nothing but the output.
  else if (hasTerminal) say(`attached${leave}`);
}

export interface KeyRelay {
  /** The detach keys were pressed. */
  readonly detached: Promise<void>;
  stop(): void;
}

/**
 * Passes on what comes in, if the attachment has the input, and looks for the detach keys. The end of what comes in gives
 * the input back; it does not end the process's, which the next one may need.
 */
export function relayInput(
  attachment: Attachment,
  from: NodeJS.ReadStream | SessionClient['input'],
  areKeys: boolean,
): KeyRelay {
  const { promise: detached, resolve: onDetach } = Promise.withResolvers<void>();
  const scanner = detachScanner();
  let over = false;
  const filter = (chunk: Buffer): Buffer => {
    if (over) return Buffer.alloc(0);
    if (!areKeys) return chunk;
    const { pass, detach } = scanner.scan(chunk);
    over = detach;
    if (detach) onDetach();
    return pass;
  };
  const to = attachment.input ?? nowhere();
  const stop = copyInput(from, to, {
    filter,
    atEnd() {
      const rest = scanner.rest();
      if (rest.length > 0) to.write(rest);
      attachment.releaseInput();
    },
  });
  return { detached, stop };
}

function nowhere(): Writable {
  return new Writable({ write: (_chunk, _encoding, done) => done() });
}

function gone(signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) resolve();
    signal.addEventListener('abort', () => resolve(), { once: true });
  });
}

/** Waits for the client to have read it: the sandbox's end, which cuts connections, may be next. */
async function close(client: AttachClient, status: ExitStatus): Promise<void> {
  // An input that nobody reads would keep the channel from closing.
  client.input.resume();
  client.exit(status);
  if (!(await within(gone(client.gone), CLOSE_MS))) client.drop();
}
