/**
 * A small world for end-to-end runs: a network namespace with an origin at 10.77.0.1 (names under demo.test), in which
 * castellan is then started as on any machine. Nothing of it is visible outside, and it ends with its owner.
 */
import { type ChildProcess, execFileSync, type SpawnOptions, spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

export const REPOSITORY = join(import.meta.dirname, '../..');
export const CASTELLAN = join(REPOSITORY, 'build/bin/castellan');
/** An ordinary user of this world, whom no machine that runs the tests has. */
export const CALLER_UID = 20_102;
export const ORIGIN_ADDRESS = '10.77.0.1';
export const NAMES = ['allowed.demo.test', 'forbidden.demo.test', 'other.demo.test'] as const;

/** For nsenter: the user namespace too, keeping the caller's ids. */
const JOIN_USER = ['--user', '--preserve-credentials'];

export interface World extends AsyncDisposable {
  /** A directory of this world's own, readable by everyone; `ca.crt` verifies the origin. */
  readonly directory: string;
  /** In front of a program of the caller's: puts it into the world. */
  readonly enter: readonly string[];
  /** Starts a program inside the world, as `uid` when the caller is root. */
  spawn(argv: readonly string[], options?: SpawnOptions & { readonly asUid?: number }): ChildProcess;
}

export interface WorldOptions {
  /** The program that serves the origin's address: gets the world's directory, and prints `ready`. */
  readonly origin?: string;
  readonly names?: readonly string[];
  /** Fills the directory before the origin starts. */
  readonly furnish?: (directory: string) => Promise<void>;
}

export async function createWorld({
  origin = join(import.meta.dirname, 'origin.ts'),
  names = NAMES,
  furnish,
}: WorldOptions = {}): Promise<World> {
  const directory = mkdtempSync(join(tmpdir(), 'castellan-world-'));
  chmodSync(directory, 0o755);
  writeFileSync(join(directory, 'hosts'), `127.0.0.1 localhost\n${ORIGIN_ADDRESS} ${names.join(' ')}\n`);
  writeFileSync(join(directory, 'resolv.conf'), 'nameserver 127.0.0.53\n');
  const accounts = readFileSync('/etc/passwd', 'utf8');
  writeFileSync(
    join(directory, 'passwd'),
    `${accounts}caller:x:${CALLER_UID}:${CALLER_UID}::/sandbox:/bin/sh\n`,
  );
  makeCertificates(directory, names);
  await furnish?.(directory);
  const root = process.getuid?.() === 0;
  const unshare = root ? [] : ['--user', '--map-root-user'];
  const script = join(import.meta.dirname, 'world-main.sh');
  const host = spawn(
    'unshare',
    [...unshare, '--net', '--mount', '/bin/sh', script, directory, process.execPath, origin],
    { stdio: ['pipe', 'pipe', 'inherit'], env: { PATH: '/usr/sbin:/sbin:/usr/bin:/bin' } },
  );
  await ready(host);
  const enter = ['nsenter', `--target=${host.pid}`, ...(root ? [] : JOIN_USER), '--net', '--mount'];
  const caller = root ? undefined : await becomeOneself(enter);
  return {
    directory,
    enter: [...enter, '--'],
    spawn(argv, { asUid, ...options } = {}) {
      const working = options.cwd === undefined ? [] : [`--wd=${String(options.cwd)}`];
      const become =
        caller !== undefined
          ? ['nsenter', `--target=${caller.pid}`, ...JOIN_USER]
          : asUid !== undefined
            ? ['setpriv', `--reuid=${asUid}`, `--regid=${asUid}`, '--clear-groups']
            : ['env'];
      const [program = '', ...rest] = [...enter, ...working, '--', ...become, '--', ...argv];
      return spawn(program, rest, { ...options, cwd: '/' });
    },
    async [Symbol.asyncDispose]() {
      caller?.stdin?.end();
      host.stdin?.end();
      if (host.exitCode === null && host.signalCode === null) await once(host, 'exit');
      rmSync(directory, { recursive: true, force: true });
    },
  };
}

/**
 * An unprivileged caller is root in its world, which makes the network; castellan has to see the caller as it is. All that is
 * started shares one user namespace for that, as on a real machine: this process holds it open.
 */
async function becomeOneself(enter: readonly string[]): Promise<ChildProcess> {
  const mapping = [`--map-user=${process.getuid?.()}`, `--map-group=${process.getgid?.()}`];
  const [program = '', ...rest] = [...enter, '--', 'unshare', '--user', ...mapping, '--', 'cat'];
  const child = spawn(program, rest, { stdio: ['pipe', 'pipe', 'inherit'], cwd: '/' });
  child.stdin.write('\n');
  await once(child.stdout, 'data');
  return child;
}

async function ready(host: ChildProcess): Promise<void> {
  const { stdout } = host;
  if (stdout === null) throw new Error('the origin has no standard output');
  const first = await Promise.race([
    once(stdout, 'data'),
    once(host, 'exit').then(([code]) => {
      throw new Error(`the origin ended with ${code} before it was ready`);
    }),
  ]);
  if (!String(first).includes('ready')) throw new Error(`the origin said ${String(first)}`);
}

function makeCertificates(directory: string, names: readonly string[]): void {
  const openssl = (...args: string[]) => execFileSync('openssl', args, { cwd: directory, stdio: 'pipe' });
  const newKey = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes'];
  const extensions = `subjectAltName=${names.map((name) => `DNS:${name}`).join(',')},IP:${ORIGIN_ADDRESS}`;
  writeFileSync(join(directory, 'extensions'), extensions);
  openssl(
    'req',
    '-x509',
    ...newKey,
    '-keyout',
    'ca.key',
    '-out',
    'ca.crt',
    '-days',
    '2',
    '-subj',
    '/CN=castellan test CA',
  );
  openssl('req', ...newKey, '-keyout', 'origin.key', '-out', 'origin.csr', '-subj', '/CN=origin');
  openssl(
    'x509',
    '-req',
    '-in',
    'origin.csr',
    '-CA',
    'ca.crt',
    '-CAkey',
    'ca.key',
    '-CAcreateserial',
    '-days',
    '2',
    '-extfile',
    'extensions',
    '-out',
    'origin.crt',
  );
}
