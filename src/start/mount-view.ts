import { existsSync } from 'node:fs';
import { readdir, realpath } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import type { RunConfig } from '../config/config.ts';
import type { InstallPaths } from '../config/install.ts';
import { errnoOf } from '../errors.ts';
import type { MountStep } from '../launch/spec.ts';
import type { PreparedFilesystem } from './filesystem.ts';
import { BASELINE_READ, covers, type OwnPlace } from './path-plan.ts';
import type { TrustCover } from './trust.ts';

/** Where operators and platforms put what castellan reads, keys among it. Every program reads below /etc. */
const SETTINGS: readonly string[] = [
  ...['/etc/castellan', '/etc/castellan-secrets'],
  ...['/etc/openshell', '/etc/openshell-tls'],
];

/**
 * Castellan's own places: sockets and state, the log, the program. The first two are covered in the agent's view; the
 * program may be read, and is never writable. Given where links lead: covering a link would cover nothing, and a policy
 * could name what is behind it.
 *
 * @param sockets paths of castellan's sockets outside its run directory
 * @param managerSocket where the service manager hears of the run, by sd_notify(3); undefined where that has no path
 */
export async function ownPlaces(
  config: RunConfig,
  install: InstallPaths,
  sockets: readonly string[],
  managerSocket: string | undefined,
): Promise<OwnPlace[]> {
  // Without mounts nothing is covered: a policy that grants such a place, or a parent of it, is refused instead.
  const hidden = config.mode !== 'process-only';
  const socket = { hidden, readable: false, isSocket: true } as const;
  // Anybody may write to it, and who belongs to the service is believed. What castellan cannot find the agent cannot reach.
  const manager = managerSocket && (await realpath(managerSocket).catch(() => undefined));
  const places: readonly OwnPlace[] = [
    { path: config.runBase, hidden, readable: false },
    ...(config.pod === undefined
      ? [
          // Earlier runs' logs too: a rootless agent has their owner's uid.
          { path: config.logDirectory, hidden, readable: false },
          { path: config.auditPath, hidden, readable: false },
        ]
      : // The log is the sidecar's. Who could read here could pass for the process role.
        [{ path: dirname(config.pod.controlSocket), hidden, readable: false }]),
    { path: install.root, hidden: false, readable: true },
    ...(await Promise.all(sockets.map(realSocketPath))).map((path) => ({ ...socket, path })),
    ...(hidden && manager !== undefined ? [{ path: manager, hidden, readable: false }] : []),
    ...(hidden ? (await settingsOf(config)).map((path) => ({ path, hidden, readable: false })) : []),
  ];
  // A log directory that nobody has made yet, and that this run does not make, holds nothing to protect.
  const needed = places.filter(({ path }) => hidden || path !== config.logDirectory || existsSync(path));
  return Promise.all(needed.map(async (place) => ({ ...place, path: await resolveExisting(place.path) })));
}

/**
 * Those there are, and the policy where it lies among what every program may read; elsewhere nobody reads it whom the policy itself does not
 * let.
 */
async function settingsOf({ policyPath }: RunConfig): Promise<string[]> {
  // One that came as a descriptor may have no name, and nothing to cover.
  const policy = policyPath && (await realpath(policyPath).catch(() => undefined));
  const isOpen = policy !== undefined && BASELINE_READ.some((path) => covers(path, policy));
  return [...SETTINGS, ...(isOpen ? [policy] : [])].filter((path) => existsSync(path));
}

/** A look does not open it, and its directory may be reached by a link all the same. */
async function realSocketPath(path: string): Promise<string> {
  return join(await resolveExisting(dirname(path)), basename(path));
}

/** What is not there yet will be where links on the way to it lead. */
async function resolveExisting(path: string): Promise<string> {
  return realpath(path).catch(async (error: unknown) => {
    if (errnoOf(error) !== 'ENOENT') throw error;
    return join(await resolveExisting(dirname(path)), basename(path));
  });
}

/**
 * What the agent's private mount namespace covers. Landlock does not mediate connect() to pathname Unix sockets, so
 * castellan's own sockets are hidden from everyone; and a rootless agent, which has the caller's uid, must not reach
 * the caller's session bus, container engine or agent sockets either: all of /run that the policy does not name goes.
 *
 * @param own paths to hide in any case
 * @param runEntries paths of the entries of /run; empty when castellan is root, where other uids guard them
 * @param granted the policy's paths
 */
export function mountView(
  own: readonly string[],
  runEntries: readonly string[],
  granted: readonly string[],
): MountStep[] {
  const named = (entry: string) => granted.some((path) => covers(entry, path) || covers(path, entry));
  const hidden = [...new Set([...own, ...runEntries.filter((entry) => !named(entry))])];
  // A path below another hidden one is gone already, and could not be found to be covered.
  return hidden
    .filter((path) => !hidden.some((other) => other !== path && covers(other, path)))
    .map((path) => ({ kind: 'hide', path }));
}

/** The view of one run. */
export async function viewOfRun(
  config: RunConfig,
  own: readonly OwnPlace[],
  files: PreparedFilesystem,
  cover: TrustCover | undefined,
): Promise<MountStep[]> {
  if (config.mode === 'process-only') return [];
  const entries = config.mode === 'root' ? [] : await readdir('/run').catch(() => []);
  const hidden = own.filter((place) => place.hidden).map(({ path }) => path);
  const steps = mountView(
    hidden,
    entries.map((entry) => join('/run', entry)),
    files.granted.map(({ path }) => path),
  );
  // First: what is mounted lies below a place that the others may hide.
  return cover === undefined
    ? steps
    : [{ kind: 'bind', ...cover }, ...steps.filter(({ path }) => path !== cover.path)];
}
