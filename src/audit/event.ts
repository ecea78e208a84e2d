/**
 * Everything worth writing down, in the words of the domain. Flows report facts; audit/ocsf turns each
 * into its OCSF class. A fact carries raw values: escaping and redaction happen where it is written.
 */
import type { RunMode } from '../config/config.ts';
import type { Caller, Intent, RequestLine, TlsFacts } from '../egress/stages.ts';
import type { DenyReason } from '../policy/verdict.ts';
import type { Control } from './controls.ts';

export const SESSION_KINDS = ['main', 'shell', 'exec', 'sftp'] as const;
export type SessionKind = (typeof SESSION_KINDS)[number];

export interface LaunchedProcess {
  readonly pid: number;
  readonly argv: readonly string[];
  readonly uid: number;
  readonly gid: number;
  readonly user: string;
  /** The main process, or the SSH session that asked. */
  readonly kind: SessionKind;
  readonly sessionId: string;
}

export type AuditFact =
  | { readonly kind: 'supervisor-started'; readonly mode: RunMode; readonly pid: number }
  | {
      readonly kind: 'supervisor-ready';
      /** Absent where no session can be opened: in the sidecar of a pod. */
      readonly sshSocket: string | undefined;
      readonly durationMs: number;
    }
  | { readonly kind: 'supervisor-stopped'; readonly exitCode: number; readonly reason: string }
  | {
      readonly kind: 'supervisor-failed';
      readonly code: string;
      readonly step: string;
      readonly message: string;
    }
  | { readonly kind: 'audit-opened'; readonly path: string }
  | { readonly kind: 'audit-closed'; readonly path: string; readonly records: number }
  | {
      readonly kind: 'policy-loaded';
      readonly path: string;
      readonly digest: string;
      readonly rules: number;
      readonly notices: readonly string[];
      /** Connections that lost their right by it; undefined for the policy of the start. */
      readonly closed?: number;
    }
  | {
      /** A policy that came later, and is not in force. */
      readonly kind: 'policy-rejected';
      readonly path: string;
      readonly reason: string;
      /** What is in force instead: the last valid policy, or nothing may be reached. */
      readonly effect: 'kept' | 'denied';
    }
  | {
      /** Rules of the policy in force whose time is over. */
      readonly kind: 'rules-expired';
      readonly rules: readonly string[];
      /** Connections that lost their right by it. */
      readonly closed: number;
    }
  | {
      readonly kind: 'identity-resolved';
      readonly user: string;
      readonly uid: number;
      readonly gid: number;
      /** Where the answer came from: the policy, the default, the calling user. */
      readonly source: string;
    }
  | { readonly kind: 'path-prepared'; readonly path: string; readonly action: 'created' | 'kept' }
  | {
      readonly kind: 'workspace-owned';
      readonly path: string;
      readonly uid: number;
      readonly gid: number;
      /** Entries met, entries changed, and what was left as it was, by reason. */
      readonly counts: OwnershipCounts;
    }
  | {
      readonly kind: 'workspace-mapped';
      readonly path: string;
      /** The owner on the disk, whom the sandbox user stands for. */
      readonly diskUid: number;
      readonly diskGid: number;
      readonly uid: number;
      readonly gid: number;
    }
  | { readonly kind: 'path-skipped'; readonly path: string; readonly reason: string }
  | { readonly kind: 'control-applied'; readonly control: Control; readonly detail: string }
  | {
      readonly kind: 'control-degraded';
      readonly control: Control;
      readonly reason: string;
      readonly remedy: string;
    }
  | { readonly kind: 'process-launched'; readonly process: LaunchedProcess }
  | {
      readonly kind: 'process-exited';
      readonly process: LaunchedProcess;
      readonly exitCode: number;
      readonly signal: string | undefined;
      readonly durationMs: number;
    }
  | {
      readonly kind: 'launch-refused';
      readonly argv: readonly string[];
      readonly sessionId: string;
      readonly step: string;
      readonly errno: string;
      readonly object: string | undefined;
    }
  | {
      readonly kind: 'connection-allowed';
      readonly intent: Intent;
      readonly identity: Caller;
      readonly rule: string;
      /** Undefined for a tunnel that is opened: its requests are dialled one by one; and where the operator's proxy was told the name. */
      readonly address: string | undefined;
      /** The operator's proxy on the way. */
      readonly proxy?: { readonly host: string; readonly port: number };
      readonly tls?: TlsFacts;
      /** Names of the credentials whose secrets took the place of placeholders; absent where none did. */
      readonly credentials?: readonly string[];
    }
  | {
      /** What a client asks for over a WebSocket that is open already: an operation, or its first text. */
      readonly kind: 'message-allowed';
      readonly intent: Intent & { readonly http: RequestLine };
      readonly identity: Caller;
      readonly rule: string;
    }
  | {
      /** A request that no rule allows, or that one refuses, and that passes because its endpoint is in audit. */
      readonly kind: 'request-violation';
      readonly intent: Intent & { readonly http: RequestLine };
      readonly identity: Caller;
      readonly reason: DenyReason;
      readonly detail: string;
      readonly rule: string;
    }
  | {
      readonly kind: 'connection-denied';
      readonly intent: Intent;
      /** Absent where it could not be established; then `detail` says why. */
      readonly identity: Caller | undefined;
      readonly reason: DenyReason;
      readonly detail: string;
      readonly rule: string | undefined;
    }
  | {
      readonly kind: 'connection-failed';
      readonly intent: Intent;
      readonly identity: Caller | undefined;
      readonly rule: string | undefined;
      readonly detail: string;
    }
  | {
      readonly kind: 'connection-closed';
      readonly intent: Intent;
      readonly identity: Caller;
      readonly rule: string;
      readonly address: string | undefined;
      readonly bytesOut: number;
      readonly bytesIn: number;
      readonly durationMs: number;
      readonly httpStatus?: number;
      /** Names of further credentials, which messages over a WebSocket brought. */
      readonly credentials?: readonly string[];
    }
  | {
      readonly kind: 'dns-answered';
      readonly name: string;
      readonly type: string;
      readonly address: string | undefined;
      readonly source: SocketAddress;
      /** Further queries alike within a short time, which are not listed singly. */
      readonly repeats?: number;
    }
  | {
      readonly kind: 'dns-refused';
      readonly name: string;
      readonly type: string;
      readonly rcode: number;
      readonly source: SocketAddress;
      /** Further queries alike within a short time, which are not listed singly. */
      readonly repeats?: number;
    }
  | {
      readonly kind: 'bypass-refused';
      /** IP protocol number, 17 for UDP. */
      readonly protocol: number;
      readonly source: SocketAddress;
      readonly destination: SocketAddress;
      readonly uid: number | undefined;
    }
  | {
      /** A request to a model by the operator's route: never what was asked, nor with which key. */
      readonly kind: 'model-called';
      readonly intent: Intent & { readonly http: RequestLine };
      readonly identity: Caller;
      readonly rule: string;
      readonly route: string;
      readonly provider: string;
      readonly model: string;
      /** The protocol, such as `openai_chat_completions`. */
      readonly operation: string;
      readonly streamed: boolean;
      readonly durationMs: number;
      readonly httpStatus?: number;
      /** Why it failed, where it did. */
      readonly detail?: string;
      /** As the provider counts. */
      readonly inputTokens?: number;
      readonly outputTokens?: number;
    }
  | {
      /** A rule that a program of the sandbox asks for, until the policy covers it or another takes its place. */
      readonly kind: 'policy-proposal';
      readonly state: ProposalState;
      readonly intent: Intent;
      readonly identity: Caller;
      readonly id: string;
      readonly ruleName: string;
      /** The program's own words. */
      readonly summary: string;
      /** As it would be pasted into the policy. */
      readonly yaml: string;
      /** What it grants that the policy does not, and what to look at twice. */
      readonly grants: readonly string[];
      readonly notes: readonly string[];
    }
  | {
      /** What was refused since the last such fact; each refusal is a fact of its own beside. */
      readonly kind: 'denials-counted';
      readonly since: number;
      readonly total: number;
      /** Refusals of destinations that found no place in the list. */
      readonly unlisted: number;
      readonly denials: readonly DenialCount[];
    }
  | { readonly kind: 'ssh-listening'; readonly path: string }
  | { readonly kind: 'ssh-opened'; readonly sessionId: string; readonly peer: PeerProcess }
  | {
      readonly kind: 'ssh-closed';
      readonly sessionId: string;
      readonly peer: PeerProcess;
      readonly durationMs: number;
    }
  | {
      /** A session of kind `attach`: somebody sees the main process, and has its input unless `readOnly`. */
      readonly kind: 'ssh-attached';
      readonly sessionId: string;
      readonly peer: PeerProcess;
      readonly readOnly: boolean;
    }
  | {
      readonly kind: 'ssh-detached';
      readonly sessionId: string;
      readonly peer: PeerProcess;
      readonly reason: DetachReason;
      readonly durationMs: number;
    }
  | {
      readonly kind: 'ssh-refused';
      readonly sessionId: string;
      readonly peer: PeerProcess;
      readonly reason: string;
    }
  | {
      /** A client has a connection to a target in the sandbox: `127.0.0.1:80`, `[::1]:80`, or a path. */
      readonly kind: 'ssh-forward-opened';
      readonly sessionId: string;
      readonly peer: PeerProcess;
      readonly target: string;
    }
  | {
      readonly kind: 'ssh-forward-closed';
      readonly sessionId: string;
      readonly peer: PeerProcess;
      readonly target: string;
      readonly reason: ForwardEnd;
      /** To the target, and from it. */
      readonly bytesIn: number;
      readonly bytesOut: number;
      readonly durationMs: number;
    }
  | {
      /** `target` as the client wrote it. */
      readonly kind: 'ssh-forward-refused';
      readonly sessionId: string;
      readonly peer: PeerProcess;
      readonly target: string;
      readonly why: ForwardRefusal;
      readonly reason: string;
    }
  | {
      /** Somebody else than the process role at the control socket of a pod. */
      readonly kind: 'control-refused';
      readonly peer: PeerProcess;
      readonly reason: string;
    }
  | { readonly kind: 'internal-error'; readonly where: string; readonly message: string };

/** Why somebody is no longer attached: the keys, the client is gone, it fell behind, the process ended. */
export const DETACH_REASONS = ['keys', 'gone', 'lagged', 'exited'] as const;
export type DetachReason = (typeof DETACH_REASONS)[number];

/** Why a forward is over: both sides ended, the target was reset, the client closed its channel, or its connection is gone. */
export const FORWARD_ENDS = ['ended', 'reset', 'closed', 'gone'] as const;
export type ForwardEnd = (typeof FORWARD_ENDS)[number];

/** Not a destination of forwards, nobody took the connection, or too many at once. */
export const FORWARD_REFUSALS = ['prohibited', 'failed', 'shortage'] as const;
export type ForwardRefusal = (typeof FORWARD_REFUSALS)[number];

export const PROPOSAL_STATES = ['pending', 'approved', 'superseded'] as const;
export type ProposalState = (typeof PROPOSAL_STATES)[number];

/** Refusals of one destination to one program. Times are milliseconds since the epoch. */
export interface DenialCount {
  readonly host: string;
  readonly port: number;
  /** Undefined where it could not be established. */
  readonly binary: string | undefined;
  readonly reason: DenyReason;
  readonly count: number;
  readonly firstSeen: number;
  readonly lastSeen: number;
  /** `METHOD /path` of some, without query, ids replaced by `*`. */
  readonly requests: readonly string[];
}

/** As the addon's ownTree() gives them. */
export interface OwnershipCounts {
  readonly seen: number;
  readonly changed: number;
  readonly mounts: number;
  readonly readOnlyMounts: number;
  readonly readOnly: number;
  readonly linked: number;
  readonly devices: number;
  readonly moved: number;
}

export interface SocketAddress {
  readonly address: string;
  /** 0 where the protocol has none. */
  readonly port: number;
}

/** Who connected to a Unix socket, from SO_PEERCRED. */
export interface PeerProcess {
  readonly pid: number;
  readonly uid: number;
  readonly gid: number;
}

/** Where flows put facts. Never throws and never blocks: a strict sink ends the sandbox by other means. */
export type Report = (fact: AuditFact) => void;
