/** The process role of a pod: its log, its policy and the network side are in the sidecar, at the other end of the control wire. */
import { realpath } from 'node:fs/promises';
import type { Report } from '../audit/event.ts';
import type { PodConfig } from '../config/pod.ts';
import { openPodDiagnosis } from '../kernel/pod-network.ts';
import { countSystemCallFilters } from '../kernel/processes.ts';
import { createIdentifier } from '../kernel/procfs.ts';
import { connectToSidecar } from '../roles/control/connect.ts';
import type { BinaryTargets } from '../roles/control/message.ts';
import { openProcessEnd } from '../roles/control/process-end.ts';
import type { RunAudit } from './audit.ts';
import type { SignalInbox } from './signals.ts';
import type { StartRequest } from './start.ts';

export interface JoinOptions extends Pick<StartRequest, 'surroundings' | 'install'> {
  readonly signals: SignalInbox;
  /** Told of each fact besides. */
  readonly observe: Report;
}

/**
 * Connects to the sidecar. What is reported goes into its log; a wire that is lost is a log that is lost.
 * @throws CastellanError `timeout`, `role_lost`, `filesystem_refused`, `namespace_failed`
 */
export async function joinSidecar(
  pod: PodConfig,
  { surroundings: { uid, pid }, install, signals, observe }: JoinOptions,
): Promise<RunAudit> {
  using undo = new DisposableStack();
  const diagnosis = undo.use(await openPodDiagnosis(install.netnsHelper));
  const ownFilters = await countSystemCallFilters('self');
  const identify = createIdentifier({
    diag: diagnosis.diag,
    inode: diagnosis.inode,
    supervisorPid: pid,
    ownFilters,
  });
  const peer = await connectToSidecar({ path: pod.controlSocket, uid, pid, signal: signals.stopping });
  const end = openProcessEnd(peer, { identify, followLinks, onStop: signals.ask });
  const kept = undo.move();
  return {
    report(fact) {
      observe(fact);
      end.report(fact);
    },
    failed: end.closed,
    counts: undefined,
    sidecar: end,
    async flush() {},
    conclude: (exitCode, reason) => end.end(exitCode, reason),
    async [Symbol.asyncDispose]() {
      peer.channel.close();
      kept.dispose();
    },
  };
}

/** The kernel names a program by the end of its links. */
async function followLinks(paths: readonly string[]): Promise<BinaryTargets> {
  const targets: Record<string, string> = {};
  for (const path of paths) {
    const target = await realpath(path).catch(() => path);
    if (target !== path) targets[path] = target;
  }
  return targets;
}
