/**
 * The control wire of a pod: between the sidecar, which has the network side, and the process role in the agent's container.
 * One closed union each way, framed as in ../channel.ts.
 */
import type { AuditFact } from '../../audit/event.ts';
import type { Flow, LookResult } from '../../egress/stages.ts';
import type { StaticPolicy } from '../../policy/static-parts.ts';
import type { Placeholders } from '../message.ts';

export const CONTROL_VERSION = 1;

/** Says who speaks, before anything else, both ways. */
export interface Greeting {
  readonly type: 'hello';
  readonly version: number;
  /** As its own pid namespace counts. */
  readonly pid: number;
  readonly uid: number;
}

/** What the agent's container has to apply. Generations only grow. */
export interface ContainerPolicy {
  readonly generation: number;
  readonly parts: StaticPolicy;
  /** Paths that rules name without a pattern: the links among them lie in the agent's container. */
  readonly binaries: readonly string[];
}

/** What links lead to, for those of the asked paths that are links. */
export type BinaryTargets = Readonly<Record<string, string>>;

export interface Setup {
  /** Where programs find the proxy, on loopback. */
  readonly proxyPort: number;
  readonly policy: ContainerPolicy;
  /** PEM of the certificate authority that opened TLS is proved by; undefined where none is opened. */
  readonly authority?: string | undefined;
  /** What processes have in the place of secrets. */
  readonly placeholders: Placeholders;
}

export type FromSidecar =
  | (Greeting & { readonly role: 'network' })
  | ({ readonly type: 'setup' } & Setup)
  /** The network side knows where links lead: the command may run. */
  | { readonly type: 'begin' }
  | ({ readonly type: 'policy' } & ContainerPolicy)
  | { readonly type: 'identify'; readonly id: number; readonly flow: Flow }
  /** The end of the command: everybody of the sandbox is to end. */
  | { readonly type: 'stop' }
  /** What `ended` told is on record. */
  | { readonly type: 'recorded' };

/** The facts that the process role may have written into the sidecar's log. */
export type ProcessFact = Extract<
  AuditFact,
  {
    readonly kind:
      | `supervisor-${'started' | 'ready' | 'stopped' | 'failed'}`
      | 'identity-resolved'
      | `path-${'prepared' | 'skipped'}`
      | `control-${'applied' | 'degraded'}`
      | `process-${'launched' | 'exited'}`
      | 'launch-refused'
      | `ssh-${'listening' | 'opened' | 'closed' | 'attached' | 'detached' | 'refused'}`
      | `ssh-forward-${'opened' | 'closed' | 'refused'}`
      | 'internal-error';
  }
>;

export type FromProcessRole =
  | (Greeting & {
      readonly role: 'process';
      /** As /proc/self/ns/pid names it: in which the pid means something. */
      readonly pidNamespace: string;
      /** From the file beside the socket, which no confined process may read. */
      readonly token: string;
    })
  /** The command runs. */
  | { readonly type: 'ready' }
  /** The answer to `setup` and `policy`. */
  | { readonly type: 'policy-applied'; readonly generation: number; readonly targets: BinaryTargets }
  | { readonly type: 'answer'; readonly id: number; readonly result: LookResult }
  | { readonly type: 'fact'; readonly fact: ProcessFact }
  /** Nobody of the sandbox is left; nothing follows. */
  | { readonly type: 'ended'; readonly exitCode: number; readonly reason: string };
