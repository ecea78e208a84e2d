import type { DetachReason, ForwardEnd, ForwardRefusal, PeerProcess, Report } from '../audit/event.ts';

/** What one SSH connection puts on record. */
export interface ConnectionReport {
  readonly sessionId: string;
  readonly peer: PeerProcess;
  opened(): void;
  /** Reported only for a connection that was opened. */
  closed(): void;
  /** The whole connection, or one request in it when `channel` names it. */
  refused(reason: string, channel?: string): void;
  /** To the main process; the result reports the end of it. */
  attached(channel: string, readOnly: boolean): (reason: DetachReason) => void;
  /** A forward to a target; the result reports the end of it. */
  forwarded(channel: string, target: string): (reason: ForwardEnd, bytes: ForwardedBytes) => void;
  forwardRefused(channel: string, target: string, why: ForwardRefusal, reason: string): void;
}

/** To the target, and from it. */
export interface ForwardedBytes {
  readonly bytesIn: number;
  readonly bytesOut: number;
}

/** Facts of one connection, all under its session id. */
export function connectionReport(report: Report, sessionId: string, peer: PeerProcess): ConnectionReport {
  let openedAt: number | undefined;
  return {
    sessionId,
    peer,
    opened() {
      openedAt = performance.now();
      report({ kind: 'ssh-opened', sessionId, peer });
    },
    closed() {
      if (openedAt !== undefined)
        report({ kind: 'ssh-closed', sessionId, peer, durationMs: performance.now() - openedAt });
    },
    refused(reason, channel = sessionId) {
      report({ kind: 'ssh-refused', sessionId: channel, peer, reason });
    },
    attached(channel, readOnly) {
      const attachedAt = performance.now();
      report({ kind: 'ssh-attached', sessionId: channel, peer, readOnly });
      return (reason) => {
        const durationMs = performance.now() - attachedAt;
        report({ kind: 'ssh-detached', sessionId: channel, peer, reason, durationMs });
      };
    },
    forwarded(channel, target) {
      const forward = { sessionId: channel, peer, target };
      const openedAt = performance.now();
      report({ kind: 'ssh-forward-opened', ...forward });
      return (reason, bytes) => {
        const durationMs = performance.now() - openedAt;
        report({ kind: 'ssh-forward-closed', ...forward, reason, ...bytes, durationMs });
      };
    },
    forwardRefused(channel, target, why, reason) {
      report({ kind: 'ssh-forward-refused', sessionId: channel, peer, target, why, reason });
    },
  };
}
