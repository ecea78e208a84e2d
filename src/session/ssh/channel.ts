/** One SSH session channel: collects what the client asks for until it starts something, then hands over to the session flow. */
import type { ServerChannel, Session } from 'ssh2';
import { isRequestable } from '../../launch/environment.ts';
import type { ExitStatus, RunningProcess, TerminalSize } from '../../launch/process.ts';
import type { ConnectionReport } from '../report.ts';
import { runSession, type SessionPlace, type SessionRequest } from '../session.ts';
import { channelOutput } from './output.ts';

export interface ChannelOptions extends SessionPlace {
  readonly sessionId: string;
  /** Names of variables a client may set beside the harmless ones. */
  readonly environmentAllowList: readonly string[];
  readonly report: ConnectionReport;
  /** The connection is gone. */
  readonly gone: AbortSignal;
  readonly onError: (error: unknown) => void;
}

interface Start {
  readonly channel: ServerChannel;
  readonly command: string | undefined;
}

/** ssh2 gives none where the client wants no answer, whatever its types say. */
type Answer = (() => unknown) | undefined;

/** RFC 4254 section 6.9, with what job control adds. */
const SIGNALS = [
  'ABRT',
  'ALRM',
  'FPE',
  'HUP',
  'ILL',
  'INT',
  'KILL',
  'PIPE',
  'QUIT',
  'SEGV',
  'TERM',
  'USR1',
  'USR2',
];
const JOB_SIGNALS = ['CONT', 'STOP', 'TSTP', 'WINCH'];

/** Serves one channel; resolves when it has closed and its process, if it had one, has ended. */
export async function serveChannel(session: Session, options: ChannelOptions): Promise<void> {
  const closed = new AbortController();
  session.on('close', () => closed.abort());
  const gone = AbortSignal.any([closed.signal, options.gone]);
  const process = processControl();
  const settings = collectSettings(session, options, process);
  refuseOthers(session, options);
  const start = await awaitStart(session, gone);
  if (start === undefined) return;
  const { channel, command } = start;
  // A write that meets a channel which the client has just closed.
  for (const stream of [channel, channel.stderr]) stream.on('error', () => {});
  const client = {
    input: channel,
    gone,
    write: channelOutput(channel, gone),
    launched: process.attach,
    refused: (reason: string) => options.report.refused(reason, options.sessionId),
    exit(status: ExitStatus) {
      tellExit(channel, status);
      channel.end();
    },
  };
  try {
    await runSession(options, { sessionId: options.sessionId, command, ...settings() }, client);
  } catch (error) {
    options.onError(error);
    channel.destroy();
  }
}

/** What a client may set before it starts something; window sizes and signals also go to the process once it runs. */
function collectSettings(
  session: Session,
  { environmentAllowList }: ChannelOptions,
  process: ProcessControl,
): () => Pick<SessionRequest, 'environment' | 'terminal'> {
  const environment: Record<string, string> = {};
  let terminalName: string | undefined;
  session.on('env', (accept: Answer, reject: Answer, { key, val }: { key: string; val: string }) => {
    const wanted = isRequestable(key, val, environmentAllowList);
    if (wanted) environment[key] = val;
    (wanted ? accept : reject)?.();
  });
  session.on('pty', (accept: Answer, _reject: Answer, info: { cols: number; rows: number; term: string }) => {
    terminalName = info.term;
    process.resize({ columns: info.cols, rows: info.rows });
    accept?.();
  });
  session.on(
    'window-change',
    (accept: Answer, _reject: Answer, { cols, rows }: { cols: number; rows: number }) => {
      process.resize({ columns: cols, rows });
      accept?.();
    },
  );
  session.on('signal', (accept: Answer, reject: Answer, { name }: { name: string }) => {
    const wanted = SIGNALS.includes(name) || JOB_SIGNALS.includes(name);
    if (wanted) process.signal(`SIG${name}` as NodeJS.Signals);
    (wanted ? accept : reject)?.();
  });
  return () => ({
    environment,
    terminal: terminalName === undefined ? undefined : { name: terminalName, ...process.size() },
  });
}

function refuseOthers(session: Session, { report, sessionId }: ChannelOptions): void {
  const refuse = (what: string) => (_accept: Answer, reject: Answer) => {
    report.refused(`${what} is not offered`, sessionId);
    reject?.();
  };
  session.on('sftp', refuse('subsystem sftp'));
  session.on('subsystem', (accept: Answer, reject: Answer, { name }: { name: string }) =>
    refuse(`subsystem ${name}`)(accept, reject),
  );
  session.on('x11', refuse('X11 forwarding'));
  session.on('auth-agent', refuse('agent forwarding'));
}

/** Undefined when the channel closes before it asks for anything. */
function awaitStart(session: Session, gone: AbortSignal): Promise<Start | undefined> {
  return new Promise((resolve) => {
    const begin = (accept: () => ServerChannel | undefined, command: string | undefined) => {
      // At once, because clients send input without waiting, and ssh2 drops what comes before this.
      const channel = accept();
      if (channel !== undefined) resolve({ channel, command });
    };
    session.on('shell', (accept: () => ServerChannel | undefined) => begin(accept, undefined));
    session.on(
      'exec',
      (accept: () => ServerChannel | undefined, _reject: Answer, { command }: { command: string }) =>
        begin(accept, command),
    );
    gone.addEventListener('abort', () => resolve(undefined), { once: true });
  });
}

interface ProcessControl {
  attach(running: RunningProcess): void;
  signal(name: NodeJS.Signals): void;
  resize(size: TerminalSize): void;
  /** The newest the client told; zeros before that. */
  size(): TerminalSize;
}

function processControl(): ProcessControl {
  let running: RunningProcess | undefined;
  let newest: TerminalSize = { columns: 0, rows: 0 };
  const apply = () => {
    if (running?.io.kind === 'terminal') running.io.resize(newest);
  };
  return {
    attach(process) {
      running = process;
      apply();
    },
    signal: (name) => running?.signal(name),
    resize(size) {
      newest = size;
      apply();
    },
    size: () => newest,
  };
}

/** Signals without a name in the RFC are told as a shell tells them. */
function tellExit(channel: ServerChannel, { exitCode, signal }: ExitStatus): void {
  const name = signal?.slice('SIG'.length);
  if (name !== undefined && SIGNALS.includes(name)) channel.exit(name);
  else channel.exit(exitCode);
}
