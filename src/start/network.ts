/** The network role as the process role sees it: started confined, wired, given the policy, watched. */
import { statSync } from 'node:fs';
import { mkdir, rmdir } from 'node:fs/promises';
import { Socket } from 'node:net';
import { dirname, join, relative } from 'node:path';
import type { Report } from '../audit/event.ts';
import type { RunConfig } from '../config/config.ts';
import type { InstallPaths } from '../config/install.ts';
import type { Flow, IdentityResult } from '../egress/stages.ts';
import { CastellanError } from '../errors.ts';
import { posix } from '../kernel/posix.ts';
import type { SealedNamespace } from '../kernel/sealed-namespace.ts';
import { confineRole } from '../launch/confine.ts';
import { landlockSpec } from '../launch/landlock.ts';
import type { Launcher, RunningProcess } from '../launch/launch.ts';
import type { LandlockSpec, MountStep } from '../launch/spec.ts';
import type { PolicyDocument } from '../policy/document.ts';
import { type ProcessSide, openProcessSide } from '../roles/process-side.ts';
import { CONTROL_DESCRIPTOR, type ListenerDescriptors } from '../roles/message.ts';
import { type GrantedPath, openReadable } from './filesystem.ts';
import { covers } from './path-plan.ts';

export interface NetworkRoleOptions {
  readonly config: RunConfig;
  readonly install: InstallPaths;
  readonly namespace: SealedNamespace;
  readonly policy: PolicyDocument;
  readonly landlockAbi: number;
  readonly launcher: Launcher;
  readonly identify: (flow: Flow) => Promise<IdentityResult>;
  readonly report: Report;
}

export interface NetworkRole extends AsyncDisposable {
  /** Settles when the role is gone without having been asked to stop. */
  readonly lost: Promise<CastellanError>;
}

/** What Node and name resolution read; the role writes nothing. */
const ROLE_READS: readonly string[] = [
  '/usr/lib', '/usr/lib64', '/lib', '/lib64', '/etc', '/usr/share', '/proc', '/sys/fs/cgroup', '/sys/devices/system/cpu',
  '/dev/null', '/dev/urandom', '/run/systemd/resolve', '/run/resolvconf', '/run/NetworkManager',
]; // biome-ignore format: one list

/** Node's own start takes some 100 ms; a loaded machine may need far longer. */
const READY_DEADLINE_MS = 20_000;
/** The relays drain within their own limit; after this the role is killed. */
const STOP_DEADLINE_MS = 5000;

/**
 * Starts the role and resolves once it listens.
 * @throws CastellanError `launch_failed`, `role_lost`, `timeout`
 */
export async function startNetworkRole(options: NetworkRoleOptions): Promise<NetworkRole> {
  await using undo = new AsyncDisposableStack();
  const { config, install, launcher } = options;
  const code = undo.use(await reachableCode(config, install));
  const [ours, theirs] = posix().socketPair();
  const socket = new Socket({ fd: ours, readable: true, writable: true });
  undo.defer(() => void socket.destroy());
  const process = await launchRole(options, code, theirs).finally(() => posix().close(theirs));
  undo.defer(() => endRole(process));
  const side = openProcessSide(socket, options);
  await ready(side, process, options);
  options.report({ kind: 'control-applied', control: 'network-role', detail: `pid ${process.pid}, uid ${roleUid(config) ?? 'of the caller'}` });
  const kept = undo.move();
  return {
    lost: lostReason(side, process),
    async [Symbol.asyncDispose]() {
      side.stop();
      await Promise.race([process.exited, deadline(STOP_DEADLINE_MS)]);
      await kept.disposeAsync();
    },
  };
}
