/** How the sidecar of a pod tells programs apart: by the process role's look, by its own, or not at all. */
import type { PeerProcess, Report } from '../audit/event.ts';
import type { PodConfig } from '../config/pod.ts';
import type { NetworkEntrance } from '../kernel/network-entrance.ts';
import { createIdentifier } from '../kernel/procfs.ts';
import { ANY_PROGRAM, forAnyProgram, pinningRules } from '../policy/any-program.ts';
import { addBinaryTargets, literalBinaries } from '../policy/binaries.ts';
import type { NetworkRule, PolicyDocument } from '../policy/document.ts';
import { staticParts } from '../policy/static-parts.ts';
import type { Identify } from '../roles/answer.ts';
import type { ContainerPolicy } from '../roles/control/message.ts';
import type { SidecarEnd } from '../roles/control/sidecar-end.ts';
import type { NetworkRole } from './network.ts';

export interface ProgramsOptions {
  readonly pod: PodConfig;
  readonly entrance: Pick<NetworkEntrance, 'diag' | 'inode'>;
  readonly policy: PolicyDocument;
  readonly report: Report;
}

type Rules = readonly NetworkRule[];
type Container = Pick<SidecarEnd, 'identify' | 'replacePolicy'>;

export interface Programs {
  readonly identify: Identify;
  readonly resolveRules: (rules: Rules) => Promise<Rules>;
  /** What the agent's container has to apply now. */
  readonly policy: Omit<ContainerPolicy, 'generation'>;
  /** The role, with note of what is put in force. */
  follow(network: NetworkRole): Pick<NetworkRole, 'replacePolicy'>;
  /** The process role is here: settles once the rules in force know where its links lead. Rejects when a role is lost. */
  accept(container: Container, peer: PeerProcess): Promise<void>;
}

/** More would make a finding that nobody reads. */
const MAX_NAMED = 16;

/** Once for each policy, because a later one may have other pins. */
function tellUnjudged(rules: Rules, report: Report): void {
  const pinning = pinningRules(rules);
  const more = pinning.length > MAX_NAMED ? ` and ${pinning.length - MAX_NAMED} more` : '';
  const pins =
    pinning.length === 0 ? '' : `; so do the sha256 pins of ${pinning.slice(0, MAX_NAMED).join(', ')}${more}`;
  report({
    kind: 'control-degraded',
    control: 'binary-identity',
    reason: `nobody looks which program asks: the binaries of rules decide nothing, and every program has the rights of all${pins}`,
    remedy: 'use --binary-identity process or sidecar',
  });
}

const NOT_HERE = { ok: false, reason: 'the agent’s container is not there yet' } as const;

export function judgePrograms({ pod, entrance, policy, report }: ProgramsOptions): Programs {
  const parts = staticParts(policy);
  let rules: Rules = policy.network;
  let container: Container | undefined;
  const isJudged = pod.binaryIdentity !== 'none';
  let identify: Identify = async () => (isJudged ? NOT_HERE : { ok: true, identity: ANY_PROGRAM });
  let network: NetworkRole | undefined;
  const policyOf = (next: Rules) => ({ parts, binaries: literalBinaries(next) });
  return {
    identify: (flow) => identify(flow),
    async resolveRules(next) {
      if (!isJudged) {
        tellUnjudged(next, report);
        return forAnyProgram(next);
      }
      if (container === undefined) return next;
      return addBinaryTargets(next, new Map(Object.entries(await container.replacePolicy(policyOf(next)))));
    },
    get policy() {
      return policyOf(rules);
    },
    follow(role) {
      network = role;
      return {
        replacePolicy(next) {
          rules = next;
          return role.replacePolicy(next);
        },
      };
    },
    async accept(arrived, { pid }) {
      container = arrived;
      if (!isJudged) return;
      identify =
        pod.binaryIdentity === 'sidecar'
          ? createIdentifier({ diag: entrance.diag, inode: entrance.inode, supervisorPid: pid })
          : arrived.identify;
      await network?.replacePolicy(rules);
    },
  };
}
