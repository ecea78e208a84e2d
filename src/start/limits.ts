import { readFile } from 'node:fs/promises';
import type { Report } from '../audit/event.ts';
import type { RunConfig } from '../config/config.ts';
import type { Surroundings } from '../config/surroundings.ts';
import { CastellanError } from '../errors.ts';
import { CgroupUnavailable, createSandboxCgroup, type SandboxCgroup } from '../kernel/cgroup.ts';
import type { ResourceLimit } from '../launch/spec.ts';

const RLIMIT_NOFILE = 7;

/**
 * Makes a cgroup for the sandbox where one is delegated; undefined where not and no limit needs one.
 * @throws CastellanError `kernel_feature_missing` when a limit was asked for that only a cgroup can hold
 */
export async function makeCgroup(
  { name, limits }: RunConfig,
  { pid, initPid }: Surroundings,
  report: Report,
): Promise<SandboxCgroup | undefined> {
  const { together } = limits;
  const asked = Object.entries(together);
  try {
    const cgroup = await createSandboxCgroup(
      `castellan-${name}-${pid}`,
      together,
      initPid === undefined ? [pid] : [initPid, pid],
    );
    if (asked.length > 0)
      report({
        kind: 'control-applied',
        control: 'limits',
        detail: asked.map(([limit, value]) => `${limit} ${value}`).join(', '),
      });
    return cgroup;
  } catch (error) {
    if (!(error instanceof CgroupUnavailable)) throw error;
    if (asked.length === 0) return undefined;
    throw new CastellanError('kernel_feature_missing', error.message, {
      step: 'cgroup',
      object: asked.map(([limit]) => limit).join(', '),
      remedy: 'give castellan a delegated cgroup v2, or leave --limit memory, pids and cpu out',
      cause: error,
      ...(error.errno && { errno: error.errno }),
    });
  }
}

/**
 * The limits of each process. Node raises its own number of open files as far as it may; the agent gets what castellan was
 * started with, because programs that close every possible descriptor take long over a million of them.
 */
export async function resourceLimits(
  { limits }: RunConfig,
  { parentPid }: Surroundings,
): Promise<ResourceLimit[]> {
  const asked = limits.each.map(({ resource, value }) => ({
    resource,
    soft: BigInt(value),
    hard: BigInt(value),
  }));
  if (asked.some(({ resource }) => resource === RLIMIT_NOFILE)) return asked;
  const text = await readFile(`/proc/${parentPid}/limits`, 'latin1').catch(() => '');
  const openFiles = openFilesLimit(text);
  return openFiles === undefined ? asked : [openFiles, ...asked];
}

/** From the text of /proc/pid/limits; undefined where it is unlimited or missing. Pure. */
export function openFilesLimit(text: string): ResourceLimit | undefined {
  const [, soft, hard] = /^Max open files\s+(\d+)\s+(\d+)\s/m.exec(text) ?? [];
  return soft === undefined || hard === undefined
    ? undefined
    : { resource: RLIMIT_NOFILE, soft: BigInt(soft), hard: BigInt(hard) };
}
