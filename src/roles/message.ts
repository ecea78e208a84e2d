/**
 * The wire between process role and network role: one closed union each way. Frames are a 4-byte
 * big-endian length and that many bytes of JSON, at most MAX_FRAME_BYTES.
 */
import type { AuditFact } from '../audit/event.ts';
import type { SecretFileName } from '../config/secret-files.ts';
import type { UpstreamProxy } from '../config/upstream-proxy.ts';
import type { EgressFigures } from '../egress/egress.ts';
import type { Flow, IdentityResult } from '../egress/stages.ts';
import type { ErrorCode } from '../errors.ts';
import type { NetworkRule } from '../policy/document.ts';

export const WIRE_VERSION = 6;

/** Where the network role finds its end of the wire. */
export const CONTROL_DESCRIPTOR = 3;
/** Where it finds the socket over which descriptors come, in one row and once, before `start`. */
export const HANDOVER_DESCRIPTOR = 4;
/** SCM_MAX_FD of the kernel: no message carries more. */
export const MAX_HANDED_OVER = 253;

/** The largest message is a policy of 10 000 endpoints; a frame above this is a broken peer. */
export const MAX_FRAME_BYTES = 8 * 1024 * 1024;

/** Sockets made in the sealed namespace, by descriptor number; in a message, by index into what was handed over. */
export interface ListenerDescriptors {
  readonly proxy: readonly number[];
  readonly transparent: readonly number[];
  readonly dnsUdp: readonly number[];
  readonly dnsTcp: readonly number[];
  /** Absent where refused packets cannot be read. */
  readonly nflog?: number;
}

/** Files that nobody but the network role reads, which closes them once it has; numbered like the listeners. */
export type SecretDescriptors = Readonly<Partial<Record<SecretFileName, number>>>;

/** By the names of variables. */
export type Placeholders = Readonly<Record<string, string>>;

/** What the network role may end a start with, besides the loss of itself. */
export const FATAL_CODES = ['credentials_invalid'] as const satisfies readonly ErrorCode[];
type FatalCode = (typeof FATAL_CODES)[number];

/** Generations only grow: what comes late is told from what is new. */
export interface PolicyUpdate {
  readonly generation: number;
  readonly rules: readonly NetworkRule[];
}

/** What a process takes of the machine. */
export interface ProcessFigures {
  readonly cpuSeconds: number;
  readonly residentBytes: number;
  readonly heapBytes: number;
  readonly openDescriptors?: number;
  /** By how much the event loop came late, since it was asked the last time: 99 of 100 turns, and the worst. */
  readonly lagP99Seconds: number;
  readonly lagMaxSeconds: number;
}

/** Numbers only: nothing that a taken-over role says becomes a word of a metric. */
export type NetworkFigures = ProcessFigures &
  EgressFigures & {
    readonly identificationsWaiting: number;
  };

export type ToNetworkRole =
  | {
      readonly type: 'start';
      readonly version: number;
      readonly listeners: ListenerDescriptors;
      readonly secrets: SecretDescriptors;
      /** Absent where origins are dialled from here. */
      readonly upstreamProxy?: UpstreamProxy;
      /** Programs of the sandbox may ask for rules. */
      readonly takesProposals: boolean;
      readonly policy: PolicyUpdate & {
        /** Others may follow, about requests too. */
        readonly mayChange: boolean;
      };
    }
  | ({ readonly type: 'policy' } & PolicyUpdate)
  | { readonly type: 'answer'; readonly id: number; readonly result: IdentityResult }
  /** Answered by `figures` of the same number. */
  | { readonly type: 'measure'; readonly id: number }
  | { readonly type: 'stop' };

export type ToProcessRole =
  | { readonly type: 'hello'; readonly version: number; readonly pid: number }
  | {
      readonly type: 'ready';
      /** PEM of the certificate authority that opened TLS is proved by; undefined where none is opened. */
      readonly authority: string | undefined;
      /** What processes have in the place of secrets; undefined where there are none. */
      readonly placeholders: Placeholders | undefined;
    }
  /** In force; `closed` connections lost their right by it. */
  | { readonly type: 'policy-applied'; readonly generation: number; readonly closed: number }
  | { readonly type: 'identify'; readonly id: number; readonly flow: Flow }
  | { readonly type: 'figures'; readonly id: number; readonly figures: NetworkFigures }
  | { readonly type: 'fact'; readonly fact: AuditFact }
  | { readonly type: 'fatal'; readonly message: string; readonly code?: FatalCode }
  | { readonly type: 'stopped' };
