/** The command that `castellan run` was given: on the operator's terminal through one of its own, on the same streams, or retained. */
import type { Writable } from 'node:stream';
import { posix } from '../kernel/posix.ts';
import type { Cell } from '../launch/cell.ts';
import { confine } from '../launch/confine.ts';
import type { Launcher, LaunchIo } from '../launch/launch.ts';
import type { ExitStatus, RunningProcess } from '../launch/process.ts';
import { relayInput } from './attach.ts';
import type { MainConsole } from './main-console.ts';
import { copyInput } from './relay.ts';

export interface MainProcessOptions {
  readonly launcher: Launcher;
  readonly cell: Cell;
  readonly argv: readonly string[];
  /** Checked by operatorEnvironment(). */
  readonly environment: Readonly<Record<string, string>>;
  /** TERM of the operator's terminal. */
  readonly terminalName: string | undefined;
  /** The supervisor's own standard streams. */
  readonly stdin: NodeJS.ReadStream;
  readonly stdout: NodeJS.WriteStream;
  readonly stderr: Writable;
  /** Where people attach to the command; undefined leaves it with the supervisor's own streams. */
  readonly retain: { readonly terminal: boolean; readonly console: MainConsole } | undefined;
}

export interface MainProcess {
  readonly pid: number;
  /** The command has ended, all its terminal output is written, and the operator's terminal is as it was. */
  readonly ended: Promise<ExitStatus>;
  signal(name: NodeJS.Signals): void;
}

const STANDARD_INPUT = 0;

/**
 * Starts the command.
 * @throws CastellanError as Launcher.launch() does; the operator's terminal is untouched then.
 */
export async function startMainProcess(options: MainProcessOptions): Promise<MainProcess> {
  const { launcher, cell, argv, environment, stdin, stdout, retain } = options;
  if (retain !== undefined) return startRetained(options, retain);
  const purpose = { kind: 'main', sessionId: 'main', identity: cell.identity } as const;
  if (!stdin.isTTY || !stdout.isTTY) {
    const process = await launcher.launch(confine(cell, { argv, environment }), { kind: 'inherit' }, purpose);
    return { pid: process.pid, ended: process.exited, signal: process.signal };
  }
  // The command must not hold the operator's own terminal: it could push input into it (TIOCSTI) or change it for ever.
  const spec = confine(cell, { argv, environment, terminal: options.terminalName ?? '' });
  const process = await launcher.launch(
    spec,
    { kind: 'pty', columns: stdout.columns, rows: stdout.rows },
    purpose,
  );
  return { pid: process.pid, ended: relay(process, stdin, stdout), signal: process.signal };
}

/** The operator's terminal is the first that attaches: it has the input until it gives it back. */
async function startRetained(
  { launcher, cell, argv, environment, terminalName, stdin, stdout, stderr }: MainProcessOptions,
  { terminal, console }: NonNullable<MainProcessOptions['retain']>,
): Promise<MainProcess> {
  const size = { columns: stdout.columns, rows: stdout.rows };
  const [io, name]: [LaunchIo, string | undefined] = terminal
    ? [{ kind: 'pty', ...size }, terminalName ?? '']
    : [{ kind: 'pipes' }, undefined];
  const process = await launcher.launch(confine(cell, { argv, environment, terminal: name }), io, {
    kind: 'main',
    sessionId: 'main',
    identity: cell.identity,
  });
  const ended = console.hold(process, { stdout, stderr });
  if (stdin.isTTY && stdout.isTTY) attachOperator(console, { stdin, stdout, stderr });
  return { pid: process.pid, ended, signal: process.signal };
}

/** Output reaches the terminal on its own way; this is for the keys and the size. */
function attachOperator(
  console: MainConsole,
  { stdin, stdout, stderr }: Pick<MainProcessOptions, 'stdin' | 'stdout' | 'stderr'>,
): void {
  const attachment = console.attach({ input: true, reader: { write: async () => {} } });
  for (const end of [stdin, stdout]) end.on('error', () => {});
  if (attachment.isTerminal) makeRaw(stdin);
  const onResize = () => attachment.resize({ columns: stdout.columns, rows: stdout.rows });
  stdout.on('resize', onResize);
  onResize();
  const keys = relayInput(attachment, stdin, true);
  const leave = () => {
    keys.stop();
    stdout.off('resize', onResize);
    stdin.pause();
    if (attachment.isTerminal) stdin.setRawMode(false);
    attachment[Symbol.dispose]();
  };
  void attachment.ended.then(leave);
  void keys.detached.then(() => {
    leave();
    stderr.write('castellan: the input is free for others; the output goes on here\n');
  });
}

async function relay(
  { io, exited }: RunningProcess,
  stdin: NodeJS.ReadStream,
  stdout: NodeJS.WriteStream,
): Promise<ExitStatus> {
  if (io.kind !== 'terminal') return exited;
  const { stream, resize } = io;
  const onResize = () => resize({ columns: stdout.columns, rows: stdout.rows });
  // A terminal that was closed says so here as well; the HUP that comes with it ends the run.
  for (const end of [stdin, stdout]) end.on('error', () => {});
  const stop = copyInput(stdin, stream, { atEnd() {} });
  try {
    makeRaw(stdin);
    stdout.on('resize', onResize);
    // A size that changed during the launch had nobody to tell.
    onResize();
    for await (const chunk of stream) await written(stdout, chunk);
    return await exited;
  } finally {
    stop();
    stdout.off('resize', onResize);
    stdin.pause();
    stdin.setRawMode(false);
    stream.destroy();
  }
}

/** Node remembers how the terminal was, and puts it back even when it ends by itself. */
function makeRaw(stdin: NodeJS.ReadStream): void {
  stdin.setRawMode(true);
  posix().makeRaw(STANDARD_INPUT);
}

function written(stdout: NodeJS.WriteStream, chunk: Uint8Array): Promise<void> {
  return new Promise((resolve) => {
    stdout.write(chunk, () => resolve());
  });
}
