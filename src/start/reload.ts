/** A policy that changes during a run: read again, checked as at the start, and put in force as a whole or not at all. */
import { type FSWatcher, watch } from 'node:fs';
import { realpath } from 'node:fs/promises';
import { dirname } from 'node:path';
import { isDeepStrictEqual } from 'node:util';
import type { Report } from '../audit/event.ts';
import type { ReloadConfig, RunConfig } from '../config/config.ts';
import { CastellanError } from '../errors.ts';
import { compilePolicy } from '../policy/compile.ts';
import type { PolicyDocument } from '../policy/document.ts';
import { parsePolicy } from '../policy/parse.ts';
import { changedStaticParts } from '../policy/static-parts.ts';
import type { GrantedPath } from './filesystem.ts';
import type { NetworkRole } from './network.ts';
import { policyFiles, readPolicyFile, refuseWritableFiles, reportPolicy, writableAbove } from './policy.ts';

export interface PolicyReloadOptions {
  readonly config: RunConfig;
  readonly policy: PolicyDocument;
  /** What the agent may touch: a policy that it may write is none. */
  readonly granted: readonly Pick<GrantedPath, 'path' | 'access'>[];
  readonly network: Pick<NetworkRole, 'replacePolicy'> | undefined;
  readonly report: Report;
}

export interface PolicyReload extends Disposable {
  /** Reads the file again soon; several requests at once are one. */
  readonly request: () => void;
}

/** Editors and volume managers change a file in several steps. */
const SETTLE_MS = 100;

/**
 * Undefined where the policy is not to change.
 * @throws CastellanError `usage` where there is nothing to read again, `filesystem_refused` where the agent may write the policy
 */
export async function openPolicyReload(options: PolicyReloadOptions): Promise<PolicyReload | undefined> {
  const { config, policy, granted, network, report } = options;
  const { reload, policyPath: path } = config;
  if (reload === undefined) return undefined;
  if (path === undefined) throw usage('--reload takes a policy file');
  if (network === undefined) throw usage('--reload takes the network role');
  await refuseWritable(path, granted);
  const file = { path, granted, reload };
  let inForce: PolicyDocument | undefined = policy;
  let wanted = false;
  let running = false;
  let timer: NodeJS.Timeout | undefined;

  const reloadOnce = async (): Promise<void> => {
    const read = await readCandidate(file, policy);
    if (read.ok && inForce !== undefined && isSame(read.candidate, inForce)) return;
    const next = read.ok ? read.candidate : reload.invalid === 'deny' ? undefined : inForce;
    const closed = next === inForce ? 0 : await network.replacePolicy(next?.network ?? []);
    inForce = next;
    if (read.ok) reportPolicy(read.candidate, path, report, closed);
    else {
      const effect = next === undefined ? 'denied' : 'kept';
      report({ kind: 'policy-rejected', path, reason: read.reason, effect });
    }
  };
  const run = async (): Promise<void> => {
    if (running) return;
    running = true;
    try {
      while (wanted) {
        wanted = false;
        await reloadOnce();
      }
    } catch {
      // The network role is lost, which ends the run with a reason of its own.
    } finally {
      running = false;
    }
  };
  const request = (): void => {
    wanted = true;
    void run();
  };
  const settle = (): void => {
    clearTimeout(timer);
    timer = setTimeout(request, SETTLE_MS);
  };
  const watchers = reload.when === 'watch' ? await watchFile(path, settle, report) : [];
  return {
    request,
    [Symbol.dispose]() {
      clearTimeout(timer);
      for (const watcher of watchers) watcher.close();
    },
  };
}

/** The text may be the same, and a file that it names another. */
function isSame(candidate: PolicyDocument, inForce: PolicyDocument): boolean {
  return candidate.digest === inForce.digest && isDeepStrictEqual(candidate.network, inForce.network);
}

interface PolicyFile {
  readonly path: string;
  readonly granted: PolicyReloadOptions['granted'];
  readonly reload: ReloadConfig;
}

type Candidate =
  | { readonly ok: true; readonly candidate: PolicyDocument }
  | { readonly ok: false; readonly reason: string };

/** Everything that can be wrong with a policy is found here, before anything of it is in force. */
async function readCandidate({ path, granted }: PolicyFile, first: PolicyDocument): Promise<Candidate> {
  try {
    await refuseWritable(path, granted);
    const candidate = parsePolicy(await readPolicyFile(path), path, policyFiles());
    await refuseWritableFiles(candidate, granted);
    const changed = changedStaticParts(first, candidate);
    if (changed.length > 0)
      return { ok: false, reason: `${changed.join(', ')} cannot change during a run; start another` };
    compilePolicy(candidate.network);
    return { ok: true, candidate };
  } catch (error) {
    if (error instanceof CastellanError) return { ok: false, reason: error.message };
    throw error;
  }
}

/** By its name or by what its name leads to; a directory above that the agent may write would do to exchange it. */
async function refuseWritable(path: string, granted: PolicyReloadOptions['granted']): Promise<void> {
  const hole = await writableAbove(path, granted);
  if (hole === undefined) return;
  throw new CastellanError(
    'filesystem_refused',
    `the agent may write ${hole}, and so the policy ${path}, which is to be read again`,
    { step: 'reload', object: path },
  );
}

/** Directories, because files are replaced: that of the name and that of what it leads to. */
async function watchFile(path: string, changed: () => void, report: Report): Promise<FSWatcher[]> {
  const places = new Set([dirname(path), dirname(await realpath(path))]);
  return [...places].map((place) => {
    const watcher = watch(place, { persistent: false }, changed);
    watcher.on('error', (error) =>
      report({
        kind: 'internal-error',
        where: 'reload',
        message: `${place} is no longer watched: ${error.message}`,
      }),
    );
    return watcher;
  });
}

function usage(message: string): CastellanError {
  return new CastellanError('usage', message, { step: 'reload' });
}
