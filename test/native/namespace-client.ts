/** A sealed namespace for tests, with the listeners served from outside and clients (Python, which Debian has) run inside. */
import { spawn } from 'node:child_process';
import { chmod, copyFile, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createSealedNamespace, type SealedNamespace } from '../../src/kernel/sealed-namespace.ts';
import { type Program, wrapProgram } from './python.ts';

export const isRoot = process.geteuid?.() === 0;
/** Whom rootless tests run as: root steps down, everybody else is the caller. */
const NOBODY = { uid: 65534, gid: 65534 };
export const NETNS_HELPER = join(import.meta.dirname, '../../build/castellan-netns');

export type Mode = 'as root' | 'in a user namespace';

export interface TestNamespace extends AsyncDisposable {
  readonly namespace: SealedNamespace;
  readonly uid: number;
  /** Runs a program in the namespace. */
  start(command: string, ...args: string[]): Program;
  /** Runs a Python program in the namespace to its end and gives what it printed. */
  python(script: string, ...args: string[]): Promise<string>;
}

/** A fresh namespace of the mode, with all listeners served. */
export async function openTestNamespace(mode: Mode): Promise<TestNamespace> {
  await using undo = new AsyncDisposableStack();
  const rootless = mode === 'in a user namespace';
  const runAs = rootless && isRoot ? NOBODY : undefined;
  // The clone may lie where nobody has no way in.
  const directory = await mkdtemp(join(tmpdir(), 'castellan-test-'));
  undo.defer(() => rm(directory, { recursive: true }));
  await chmod(directory, 0o755);
  const helper = join(directory, 'castellan-netns');
  await copyFile(NETNS_HELPER, helper);
  const namespace = undo.use(
    await createSealedNamespace({
      userNamespace: rootless,
      helper,
      ip: '/usr/sbin/ip',
      nft: '/usr/sbin/nft',
      ...(runAs && { runAs }),
    }),
  );
  undo.use(await serveListeners(namespace));
  const programs = undo.use(new AsyncDisposableStack());
  const start: TestNamespace['start'] = (command, ...args) => {
    const enter = [
      '--net=/proc/self/fd/3',
      ...(rootless ? ['--user=/proc/self/fd/4', '--preserve-credentials'] : []),
    ];
    const child = spawn('/usr/bin/nsenter', [...enter, command, ...args], {
      env: {},
      cwd: '/',
      stdio: ['pipe', 'pipe', 'pipe', namespace.networkDescriptor, namespace.userDescriptor ?? 'ignore'],
      ...runAs,
    });
    return programs.use(wrapProgram(child));
  };
  const kept = undo.move();
  return {
    namespace,
    uid: runAs?.uid ?? process.geteuid?.() ?? -1,
    start,
    async python(script, ...args) {
      const client = start('/usr/bin/python3', '-c', script, ...args);
      const line = await client.line();
      await client.end();
      return line;
    },
    [Symbol.asyncDispose]: () => kept.disposeAsync(),
  };
}

async function serveListeners({ listeners }: SealedNamespace): Promise<AsyncDisposable> {
  const served: readonly (readonly [string, number | undefined])[] = [
    ['proxy', listeners.proxy[0]],
    ['proxy', listeners.proxy[1]],
    ['transparent4', listeners.transparent[0]],
    ['transparent6', listeners.transparent[1]],
    ['dnsTcp', listeners.dnsTcp[0]],
    ['dnsTcp', listeners.dnsTcp[1]],
    ['dnsUdp4', listeners.dnsUdp[0]],
    ['dnsUdp6', listeners.dnsUdp[1]],
  ];
  const descriptors = served.map(([use, descriptor]) => descriptor ?? missing(use));
  const script = join(import.meta.dirname, 'serve-listeners.ts');
  const stdio = ['pipe', 'pipe', 'pipe', ...descriptors] as const;
  const server = wrapProgram(
    spawn(process.execPath, [script, ...served.map(([use]) => use)], { stdio: [...stdio] }),
  );
  await server.line();
  return server;
}

function missing(what: string): never {
  throw new Error(`${what} is missing`);
}
