/**
 * Where the time of a start goes: a timeline of `castellan run -- true` from the bundle, and a flame graph of both roles. Measured in a
 * copy of the bundle whose loader is preceded by a probe; the bundle itself has no way to be measured. Needs dist/bundle, and root or
 * user namespaces.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import {
  chmodSync,
  copyFileSync,
  linkSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { flameGraph } from './profile/flame-graph.ts';
import { type CpuProfile, fold, newFrame, sourceNames, widest } from './profile/profile.ts';

const REPOSITORY = join(import.meta.dirname, '..');
const BUNDLE = join(REPOSITORY, 'dist/bundle');
const OUTPUT = join(REPOSITORY, 'build/start-profile.svg');
const ROUNDS = Number(process.argv[2] ?? 15);
/** Functions told of each role. */
const WIDEST = 40;

interface Moment {
  readonly role: string;
  /** Milliseconds of the monotonic clock. */
  readonly at: number;
  readonly what: string;
}

interface Report {
  readonly role: 'process' | 'network';
  readonly moments: readonly Moment[];
  readonly profile?: CpuProfile;
}

interface Start {
  readonly durationMs: number;
  readonly moments: readonly Moment[];
  readonly reports: readonly Report[];
}

const now = (): number => Number(process.hrtime.bigint()) / 1e6;

// Beside the bundle, for hard links; everybody may pass, for the network role's own uid.
const directory = mkdtempSync(join(REPOSITORY, 'dist/profile-'));
chmodSync(directory, 0o755);
try {
  const probed = join(directory, 'bundle');
  linkTree(BUNDLE, probed);
  const app = join(probed, 'app');
  linkSync(join(app, 'castellan.cjs'), join(app, 'loader.cjs'));
  rmSync(join(app, 'castellan.cjs'));
  copyFileSync(join(REPOSITORY, 'scripts/profile/probe.cjs'), join(app, 'castellan.cjs'));
  const measure = async (profiled: boolean): Promise<Start[]> => {
    const socketPath = join(directory, 'probe.sock');
    writeFileSync(join(app, 'probe.json'), JSON.stringify({ socketPath, profiled }));
    const starts: Start[] = [];
    for (let round = 0; round <= ROUNDS; round++) starts.push(await startOnce(probed, socketPath));
    // The first has read everything from the disk.
    return starts.slice(1);
  };
  printTimeline(await measure(false));
  writeFlameGraph(await measure(true));
} finally {
  rmSync(directory, { recursive: true, force: true });
}

function linkTree(from: string, to: string): void {
  mkdirSync(to);
  for (const name of readdirSync(from))
    if (statSync(join(from, name)).isDirectory()) linkTree(join(from, name), join(to, name));
    else linkSync(join(from, name), join(to, name));
}

async function startOnce(probed: string, socketPath: string): Promise<Start> {
  const reports: Promise<Report>[] = [];
  const moments: Moment[] = [];
  const server = createServer((socket) => {
    const chunks: Buffer[] = [];
    socket.on('data', (chunk) => chunks.push(chunk));
    reports.push(
      once(socket, 'end').then(() => {
        const report: Report = JSON.parse(Buffer.concat(chunks).toString());
        moments.push({ role: report.role, at: now(), what: 'the process is gone' });
        return report;
      }),
    );
  });
  await new Promise<void>((done) => server.listen(socketPath, done));
  chmodSync(socketPath, 0o666);
  try {
    const policy = join(directory, 'policy.yaml');
    const runAs = process.getuid?.() === 0 ? 'process: { run_as_user: "20001" }\n' : '';
    writeFileSync(policy, `version: 1\n${runAs}filesystem_policy: { include_workdir: false }\n`);
    const argv = ['run', '--quiet', '--policy', policy, '--audit-file', join(directory, 'audit.jsonl')];
    moments.push({ role: 'init', at: now(), what: 'started' });
    const child = spawn(join(probed, 'bin/castellan'), [...argv, '--', 'true'], {
      stdio: 'inherit',
      env: { PATH: '/usr/bin:/bin', HOME: directory, XDG_RUNTIME_DIR: directory },
      cwd: '/',
    });
    const [code] = await once(child, 'exit');
    if (code !== 0) throw new Error(`castellan ended with ${code}`);
    moments.push({ role: 'init', at: now(), what: 'ended' });
    const done = await Promise.all(reports);
    const all = [...moments, ...done.flatMap((report) => report.moments)].sort((a, b) => a.at - b.at);
    const began = all[0]?.at ?? 0;
    const ended = all.find(({ role, what }) => role === 'init' && what === 'ended')?.at ?? 0;
    return { durationMs: ended - began, moments: all, reports: done };
  } finally {
    server.close();
  }
}

/** Of the start that took the median time. */
function printTimeline(starts: readonly Start[]): void {
  const sorted = starts.toSorted((a, b) => a.durationMs - b.durationMs);
  const start = sorted[Math.floor(sorted.length / 2)];
  if (start === undefined) return;
  const [first, last] = [sorted[0], sorted.at(-1)].map((one) => one?.durationMs.toFixed(0));
  console.log(`the median of ${starts.length} starts (${first} to ${last} ms)\n`);
  const began = start.moments[0]?.at ?? 0;
  let before = began;
  for (const { role, at, what } of start.moments) {
    const column = role === 'network' ? 44 : role === 'init' ? 0 : 4;
    console.log(
      `${(at - began).toFixed(1).padStart(7)} ms ${`+${(at - before).toFixed(1)}`.padStart(6)}  ${' '.repeat(column)}${what}`,
    );
    before = at;
  }
}

function writeFlameGraph(starts: readonly Start[]): void {
  const nameOf = sourceNames(join(REPOSITORY, 'dist/maps'));
  const towers = (['process', 'network'] as const).map((role) => {
    const tower = newFrame(`${role} role`);
    for (const report of starts.flatMap(({ reports }) => reports))
      if (report.role === role && report.profile !== undefined)
        fold(tower, report.profile, nameOf, 1 / starts.length);
    return tower;
  });
  const title = `castellan run -- true: milliseconds of CPU in JavaScript and below, mean of ${starts.length} starts`;
  writeFileSync(OUTPUT, flameGraph(title, towers));
  for (const tower of towers) {
    console.log(
      `\n${tower.name}: ${tower.total.toFixed(1)} ms; the widest, with what they call, and by themselves`,
    );
    for (const { name, total, self } of widest(tower).slice(0, WIDEST))
      console.log(`  ${total.toFixed(1).padStart(6)} ${self.toFixed(1).padStart(6)}  ${name}`);
  }
  console.log(`\n${OUTPUT}`);
}
