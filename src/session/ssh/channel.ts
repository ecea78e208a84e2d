/** One SSH session channel: collects what the client asks for until it starts something, then hands over to the session flow. */
import type { ServerChannel, Session } from 'ssh2';
import { isRequestable } from '../../launch/environment.ts';
import type { ExitStatus, RunningProcess, TerminalSize } from '../../launch/process.ts';
import { type ProcessControls, parseAttachSubsystem, runAttach } from '../attach.ts';
import type { ConnectionReport } from '../report.ts';
import { runSession, type SessionPlace, type SessionRequest, type SessionStart } from '../session.ts';
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
  readonly what: SessionStart | { readonly kind: 'attach'; readonly readOnly: boolean };
}

/** ssh2 gives none where the client wants no answer, whatever its types say. */
type Answer = (() => unknown) | undefined;

type Accept = () => ServerChannel | undefined;

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
  const start = await awaitStart(session, options, gone);
  if (start === undefined) return;
  const { channel, what } = start;
  // A write that meets a channel which the client has just closed.
  for (const stream of [channel, channel.stderr]) stream.on('error', () => {});
  const client = {
    input: channel,
    gone,
    write: channelOutput(channel, gone),
    launched: (running: RunningProcess) => process.attach(controlsOf(running)),
    attached: process.attach,
    drop: () => void channel.destroy(),
    refused: (reason: string) => options.report.refused(reason, options.sessionId),
    exit(status: ExitStatus) {
      tellExit(channel, status);
      channel.end();
    },
  };
  try {
    const { sessionId, report } = options;
    const { environment, terminal } = settings();
    if (what.kind === 'attach')
      await runAttach(
        options.mainConsole,
        { readOnly: what.readOnly, hasTerminal: terminal !== undefined },
        client,
        (readOnly) => report.attached(sessionId, readOnly),
      );
    else await runSession(options, { sessionId, start: what, environment, terminal }, client);
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

function refuseOthers(session: Session, options: ChannelOptions): void {
  const refuse = (what: string) => (_accept: Answer, reject: Answer) => refuseRequest(what, reject, options);
  session.on('x11', refuse('X11 forwarding'));
  session.on('auth-agent', refuse('agent forwarding'));
}

function refuseRequest(what: string, reject: Answer, { report, sessionId }: ChannelOptions): void {
  report.refused(`${what} is not offered`, sessionId);
  reject?.();
}

/** Undefined when the channel closes before it asks for anything. */
function awaitStart(
  session: Session,
  options: ChannelOptions,
  gone: AbortSignal,
): Promise<Start | undefined> {
  return new Promise((resolve) => {
    const begin = (accept: Accept, what: Start['what']) => {
      // At once, because clients send input without waiting, and ssh2 drops what comes before this.
      const channel = accept();
      if (channel !== undefined) resolve({ channel, what });
    };
    session.on('shell', (accept: Accept) => begin(accept, { kind: 'shell' }));
    session.on('exec', (accept: Accept, _reject: Answer, { command }: { command: string }) =>
      begin(accept, { kind: 'exec', command }),
    );
    session.on('subsystem', (accept: Accept, reject: Answer, { name }: { name: string }) => {
      const attach = parseAttachSubsystem(name);
      // Without a listener of its own, ssh2 does not speak this one itself.
      if (name === 'sftp') begin(accept, { kind: 'sftp' });
      else if (attach === undefined) refuseRequest(`subsystem ${name}`, reject, options);
      else begin(accept, { kind: 'attach', ...attach });
    });
    gone.addEventListener('abort', () => resolve(undefined), { once: true });
  });
}

interface ProcessControl {
  attach(running: ProcessControls): void;
  signal(name: NodeJS.Signals): void;
  resize(size: TerminalSize): void;
  /** The newest the client told; zeros before that. */
  size(): TerminalSize;
}

function controlsOf({ io, signal }: RunningProcess): ProcessControls {
  return {
    signal,
    resize(size) {
      if (io.kind === 'terminal') io.resize(size);
    },
  };
}

function processControl(): ProcessControl {
  let running: ProcessControls | undefined;
  let newest: TerminalSize | undefined;
  const apply = () => {
    if (newest !== undefined) running?.resize(newest);
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
    size: () => newest ?? { columns: 0, rows: 0 },
  };
}

/** Signals without a name in the RFC are told as a shell tells them. */
function tellExit(channel: ServerChannel, { exitCode, signal }: ExitStatus): void {
  const name = signal?.slice('SIG'.length);
  if (name !== undefined && SIGNALS.includes(name)) channel.exit(name);
  else channel.exit(exitCode);
}
