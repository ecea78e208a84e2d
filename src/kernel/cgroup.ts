/**
 * A cgroup of the sandbox's own (cgroups(7), Documentation/admin-guide/cgroup-v2.rst), below the one castellan was started in,
 * where that is delegated to it: it bounds the agent's memory, processes and CPU, and ends all of them in one write.
 */
import { closeSync, constants, openSync } from 'node:fs';
import { mkdir, readFile, rmdir, writeFile } from 'node:fs/promises';
import { join, posix as paths } from 'node:path';
import { errnoOf } from '../errors.ts';

export interface CgroupLimits {
  readonly memoryBytes?: number | undefined;
  readonly pids?: number | undefined;
  /** 1.5 is one and a half CPUs. */
  readonly cpus?: number | undefined;
}

export interface SandboxCgroup extends AsyncDisposable {
  readonly path: string;
  /** Open, for who is to be born in it. */
  readonly directory: number;
  /** cgroup.procs, open for writing: who writes 0 joins. */
  readonly procs: number;
  list(): Promise<number[]>;
  /** KILL to every member at once, new children included. */
  kill(): Promise<void>;
  /** What the limits did, in words; empty where they did nothing. */
  incidents(): Promise<string[]>;
}

/** A killed process leaves its cgroup when it has ended, which takes a moment. */
const KILL_DEADLINE_MS = 2000;
const POLL_MS = 20;

/** Why there is no cgroup for the sandbox. */
export class CgroupUnavailable extends Error {
  readonly errno: string | undefined;

  constructor(message: string, cause?: unknown) {
    super(message, { cause });
    this.errno = errnoOf(cause);
  }
}

/** cpu.max is quota and period in microseconds; the kernel's own period. */
const CPU_PERIOD_US = 100_000;

/**
 * The directory of the cgroup that a process is in, from its /proc/pid/mountinfo and /proc/pid/cgroup. Pure.
 * Undefined where the unified hierarchy is not mounted, or only another part of it is.
 */
export function ownCgroup(mountinfo: string, membership: string): string | undefined {
  const path = /^0::(\/.*)$/m.exec(membership)?.[1];
  const mount = mountinfo
    .split('\n')
    .map((line) => /^\d+ \d+ \S+ (\S+) (\S+) .* - cgroup2 /.exec(line))
    .find((match) => match !== null);
  const [root, mountPoint] = [mount?.[1], mount?.[2]].map((text) => text?.replaceAll(/\\(\d{3})/g, octal));
  if (path === undefined || root === undefined || mountPoint === undefined) return undefined;
  const below = paths.relative(root, path);
  return below === '..' || below.startsWith('../') ? undefined : paths.join(mountPoint, below);
}

function octal(_: string, digits: string): string {
  return String.fromCharCode(Number.parseInt(digits, 8));
}

/**
 * Makes the cgroup. `ours` are the processes of castellan itself: where limits are asked for they move into a leaf beside,
 * because a cgroup that hands controllers on may have no members of its own.
 * @throws CgroupUnavailable naming what stands in the way
 */
export async function createSandboxCgroup(
  name: string,
  limits: CgroupLimits,
  ours: readonly number[],
): Promise<SandboxCgroup> {
  const [mountinfo, membership] = await Promise.all(
    ['mountinfo', 'cgroup'].map((file) => readFile(`/proc/self/${file}`, 'utf8')),
  );
  const own = ownCgroup(mountinfo ?? '', membership ?? '');
  if (own === undefined) throw new CgroupUnavailable('no cgroup v2 hierarchy is mounted here');
  await using undo = new AsyncDisposableStack();
  const settings = settingsOf(limits);
  await handOnControllers(own, [...new Set(settings.map(({ controller }) => controller))], ours, name, undo);
  const path = join(own, name);
  await mkdir(path).catch((error: unknown) => {
    throw new CgroupUnavailable(`${own} is not delegated to this user: no cgroup can be made there`, error);
  });
  undo.defer(() => removeCgroup(path));
  for (const { file, value, optional } of settings)
    await writeFile(join(path, file), value).catch((error: unknown) => {
      if (!optional) throw new CgroupUnavailable(`${file} cannot be set to ${value}`, error);
    });
  const open = (file: string, flags: number): number => {
    const descriptor = openMember(join(path, file), flags);
    undo.defer(() => closeSync(descriptor));
    return descriptor;
  };
  const directory = open('', constants.O_RDONLY | constants.O_DIRECTORY);
  const procs = open('cgroup.procs', constants.O_WRONLY);
  const kept = undo.move();
  return {
    path,
    directory,
    procs,
    list: () => members(path),
    kill: () => writeFile(join(path, 'cgroup.kill'), '1'),
    incidents: () => incidentsIn(path),
    [Symbol.asyncDispose]: () => kept.disposeAsync(),
  };
}

/** Ends what a dead run left in its cgroup, and removes it. */
export async function removeCgroup(path: string): Promise<void> {
  await writeFile(join(path, 'cgroup.kill'), '1').catch(() => {});
  const deadline = performance.now() + KILL_DEADLINE_MS;
  while ((await removalErrno(path)) === 'EBUSY' && performance.now() < deadline)
    await new Promise((resolve) => setTimeout(resolve, POLL_MS));
}

async function removalErrno(path: string): Promise<string | undefined> {
  return rmdir(path).then(
    () => undefined,
    (error: unknown) => errnoOf(error),
  );
}

interface Setting {
  readonly controller: 'memory' | 'pids' | 'cpu';
  readonly file: string;
  readonly value: string;
  readonly optional?: boolean;
}

function settingsOf({ memoryBytes, pids, cpus }: CgroupLimits): Setting[] {
  const settings: Setting[] = [];
  if (memoryBytes !== undefined)
    settings.push(
      { controller: 'memory', file: 'memory.max', value: String(memoryBytes) },
      // A limit that swap gets around is none; a kernel without swap accounting has no such file.
      { controller: 'memory', file: 'memory.swap.max', value: '0', optional: true },
    );
  if (pids !== undefined) settings.push({ controller: 'pids', file: 'pids.max', value: String(pids) });
  if (cpus !== undefined)
    settings.push({
      controller: 'cpu',
      file: 'cpu.max',
      value: `${Math.round(cpus * CPU_PERIOD_US)} ${CPU_PERIOD_US}`,
    });
  return settings;
}

async function handOnControllers(
  own: string,
  wanted: readonly string[],
  ours: readonly number[],
  name: string,
  undo: AsyncDisposableStack,
): Promise<void> {
  const words = async (file: string) => {
    const text = await readFile(join(own, file), 'utf8').catch((error: unknown) => {
      // The mount may be under another one.
      throw new CgroupUnavailable(`${join(own, file)} cannot be read`, error);
    });
    return text.trim().split(' ');
  };
  const offered = await words('cgroup.controllers');
  const missing = wanted.filter((controller) => !offered.includes(controller));
  if (missing.length > 0)
    throw new CgroupUnavailable(`the controller ${missing.join(', ')} is not available in ${own}`);
  const active = await words('cgroup.subtree_control');
  const inactive = wanted.filter((controller) => !active.includes(controller));
  if (inactive.length === 0) return;
  await stepAside(own, ours, `${name}-supervisor`, undo);
  await writeFile(join(own, 'cgroup.subtree_control'), inactive.map((each) => `+${each}`).join(' ')).catch(
    (error: unknown) => {
      throw new CgroupUnavailable(`${own} may not hand on ${inactive.join(', ')}`, error);
    },
  );
  undo.defer(() =>
    writeFile(join(own, 'cgroup.subtree_control'), inactive.map((each) => `-${each}`).join(' ')).catch(
      () => {},
    ),
  );
}

/** The hierarchy's root alone may have members and hand on controllers. */
async function stepAside(
  own: string,
  ours: readonly number[],
  leafName: string,
  undo: AsyncDisposableStack,
): Promise<void> {
  const strangers = (await members(own)).filter((pid) => !ours.includes(pid));
  const isRoot = await readFile(join(own, 'cgroup.type'), 'utf8').then(
    () => false,
    (error: unknown) => errnoOf(error) === 'ENOENT',
  );
  if (isRoot) return;
  if (strangers.length > 0)
    throw new CgroupUnavailable(
      `${own} holds other processes: start castellan in one of its own, as systemd-run --scope -p Delegate=yes does`,
    );
  const leaf = join(own, leafName);
  const move = async (to: string) => {
    for (const pid of ours) await writeFile(join(to, 'cgroup.procs'), String(pid));
  };
  try {
    await mkdir(leaf);
    await move(leaf);
  } catch (error) {
    throw new CgroupUnavailable(`${own} is not delegated to this user`, error);
  }
  undo.defer(async () => {
    await move(own).catch(() => {});
    await rmdir(leaf).catch(() => {});
  });
}

function openMember(path: string, flags: number): number {
  try {
    return openSync(path, flags);
  } catch (error) {
    throw new CgroupUnavailable(`${path} cannot be opened`, error);
  }
}

async function members(path: string): Promise<number[]> {
  const text = await readFile(join(path, 'cgroup.procs'), 'utf8').catch((error: unknown) => {
    // One that is gone had nobody in it: the kernel removes no other.
    if (errnoOf(error) === 'ENOENT') return '';
    throw error;
  });
  // 0 stands for a process of another pid namespace; to kill(2) it would mean our own group.
  return text
    .split('\n')
    .map(Number)
    .filter((pid) => pid > 0);
}

async function incidentsIn(path: string): Promise<string[]> {
  const count = async (file: string, key: string) => {
    const text = await readFile(join(path, file), 'utf8').catch(() => '');
    return Number(new RegExp(`^${key} (\\d+)$`, 'm').exec(text)?.[1] ?? 0);
  };
  const [kills, refusals] = [await count('memory.events', 'oom_kill'), await count('pids.events', 'max')];
  return [
    ...(kills > 0 ? [`the memory limit killed ${kills} of its processes`] : []),
    ...(refusals > 0 ? [`the limit of processes was hit ${refusals} times`] : []),
  ];
}
