/** Measures what users wait for and pay for, each beside a named baseline measured in the same run, in turns. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { CASTELLAN, REPOSITORY } from '../fakes/world.ts';
import { benchLaunch, benchOwnership } from './cell.ts';
import { benchDecide } from './decide.ts';
import { benchEgress } from './egress.ts';
import { benchFence } from './fence.ts';
import { type Contender, compare, printTable } from './harness.ts';

/** From source and as users get it. */
const BUNDLED = join(REPOSITORY, 'dist/bundle/bin/castellan');
const ROUNDS = Number(process.argv[2] ?? 15);
/** A round is long, and has much in it. */
const EGRESS_ROUNDS = Math.min(ROUNDS, 5);
const directory = mkdtempSync(join(tmpdir(), 'castellan-bench-'));
const root = process.getuid?.() === 0;

function policyFile(): string {
  const path = join(directory, 'policy.yaml');
  writeFileSync(
    path,
    `version: 1\n${root ? 'process: { run_as_user: "20001" }\n' : ''}filesystem_policy: { include_workdir: false }\n`,
  );
  return path;
}

const environment = { PATH: '/usr/sbin:/usr/bin:/bin', HOME: directory, XDG_RUNTIME_DIR: directory };
const asNobody = root ? { uid: 65_534, gid: 65_534 } : {};

function command(name: string, argv: readonly string[], options: object = {}): Contender {
  return {
    name,
    async once() {
      const [program = '', ...rest] = argv;
      const child = spawn(program, rest, { stdio: 'ignore', env: environment, cwd: '/', ...options });
      const [code] = await once(child, 'exit');
      if (code !== 0) throw new Error(`${name} ended with ${code}`);
    },
  };
}

/** Until the first byte of its output: for a sandbox, how long the command was kept waiting. */
function firstByte(name: string, argv: readonly string[], options: object = {}): Contender {
  let exit: Promise<unknown> = Promise.resolve();
  return {
    name,
    async once() {
      const [program = '', ...rest] = argv;
      const child = spawn(program, rest, {
        ...{ env: environment, cwd: '/', ...options },
        stdio: ['ignore', 'pipe', 'ignore'],
      });
      exit = once(child, 'exit');
      const silent = exit.then(() => Promise.reject(new Error(`${name} said nothing`)));
      await Promise.race([once(child.stdout, 'data'), silent]);
    },
    rest: () => exit,
  };
}

/** Of all that is mapped, and of that what is this process's alone. */
async function residentSets(program: string, policy: string): Promise<[string, string, string][]> {
  const child = spawn(
    program,
    ['run', '--quiet', '--policy', policy, '--audit-file', join(directory, 'rss.jsonl'), '--', 'cat'],
    {
      stdio: ['pipe', 'pipe', 'inherit'],
      env: environment,
      cwd: '/',
    },
  );
  // cat answers once everything runs.
  child.stdin.write('x\n');
  await once(child.stdout, 'data');
  const rows: [string, string, string][] = [];
  for (const pid of descendants(child.pid ?? 0)) {
    const status = readFileSync(`/proc/${pid}/status`, 'utf8');
    const argv = readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0');
    const role = argv.includes('network-role')
      ? 'network role'
      : argv.includes('run') && !argv[0]?.endsWith('castellan')
        ? 'process role'
        : argv[0]?.endsWith('castellan')
          ? 'init'
          : undefined;
    const field = (name: string) => status.match(new RegExp(`^${name}:\\s+(\\d+)`, 'm'))?.[1] ?? '?';
    if (role !== undefined) rows.push([role, field('VmRSS'), field('RssAnon')]);
  }
  child.stdin.end();
  await once(child, 'exit');
  return rows;
}

function descendants(pid: number): number[] {
  const children = readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8')
    .trim()
    .split(' ')
    .filter((word) => word !== '')
    .map(Number);
  return [pid, ...children.flatMap(descendants)];
}

try {
  const policy = policyFile();
  const castellan = (program: string, command: string): string[] => [
    program,
    'run',
    '--quiet',
    '--policy',
    policy,
    '--audit-file',
    join(directory, 'audit.jsonl'),
    '--',
    command,
  ];
  const bwrap = ['bwrap', '--unshare-all', '--ro-bind', '/', '/', '--proc', '/proc', '--dev', '/dev'];
  console.log(`start to exit of true, and to the first byte of echo; median of ${ROUNDS} rounds in turns`);
  printTable(
    await compare(
      [
        command('plain exec (baseline)', ['/bin/true']),
        command('bwrap --unshare-all', [...bwrap, 'true'], asNobody),
        firstByte('bwrap --unshare-all, first byte', [...bwrap, 'echo'], asNobody),
        command('castellan run, bundle', castellan(BUNDLED, 'true')),
        firstByte('castellan run, bundle, first byte', castellan(BUNDLED, 'echo')),
        command('castellan run, source', castellan(CASTELLAN, 'true')),
        firstByte('castellan run, source, first byte', castellan(CASTELLAN, 'echo')),
      ],
      ROUNDS,
    ),
  );
  console.log('\nresident set, kB: all, and anonymous');
  for (const [from, program] of [
    ['bundle', BUNDLED],
    ['source', CASTELLAN],
  ] as const)
    for (const [role, all, own] of await residentSets(program, policy))
      console.log(`  ${`${role}, ${from}`.padEnd(36)} ${all.padStart(8)} ${own.padStart(8)}`);
  await benchDecide(ROUNDS);
  await benchEgress(EGRESS_ROUNDS);
  if (root) {
    await benchLaunch(ROUNDS, command);
    await benchOwnership();
    await benchFence(ROUNDS, BUNDLED);
  } else console.log('\nlaunch, ownership and fence take root');
} finally {
  rmSync(directory, { recursive: true, force: true });
}
