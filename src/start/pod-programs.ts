/** How the sidecar of a pod tells programs apart: by the process role's look, by its own, or not at all. */
import type { PeerProcess, Report } from '../audit/event.ts';
import type { PodConfig } from '../config/pod.ts';
import { errnoOf } from '../errors.ts';
import { type ForeignRoot, openForeignRoot } from '../kernel/foreign-root.ts';
import type { NetworkEntrance } from '../kernel/network-entrance.ts';
import { createIdentifier } from '../kernel/procfs.ts';
import { within } from '../launch/process.ts';
import { ANY_PROGRAM, forAnyProgram, pinningRules } from '../policy/any-program.ts';
import { addBinaryTargets, literalBinaries } from '../policy/binaries.ts';
import type { NetworkRule, PolicyDocument } from '../policy/document.ts';
import { staticParts } from '../policy/static-parts.ts';
import type { Identify } from '../roles/answer.ts';
import { roleLost } from '../roles/channel.ts';
import type { BinaryTargets, ContainerPolicy } from '../roles/control/message.ts';
import type { SidecarEnd } from '../roles/control/sidecar-end.ts';
import type { NetworkRole } from './network.ts';

export interface ProgramsOptions {
  readonly pod: PodConfig;
  readonly entrance: Pick<NetworkEntrance, 'diag' | 'inode'>;
  readonly policy: PolicyDocument;
  readonly report: Report;
}

type Rules = readonly NetworkRule[];
type Container = Pick<SidecarEnd, 'identify' | 'prepared' | 'replacePolicy'>;
type Network = Pick<NetworkRole, 'replacePolicy'>;

export interface Programs extends Disposable {
  readonly identify: Identify;
  /** The rules as they are judged by, with the programs that names lead to as far as that is known. Always of the rules that came last. */
  readonly resolveRules: (rules: Rules) => Promise<Rules>;
  /** What the agent's container has to apply now. */
  readonly policy: Omit<ContainerPolicy, 'generation'>;
  /** The process role is here: settles once the rules in force know where links lead. Rejects when a role is lost. */
  accept(container: Container, peer: PeerProcess, network: Network): Promise<void>;
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

/** A look at each link takes far less. Who does not answer must not keep a right in force that the policy has taken away. */
const LINKS_MS = 1000;

export function judgePrograms(options: ProgramsOptions): Programs {
  const { binaryIdentity } = options.pod;
  const parts = staticParts(options.policy);
  if (binaryIdentity === 'none') return judgeNobody(parts, options.report);
  const looks = binaryIdentity === 'sidecar';
  const held = new DisposableStack();
  let rules: Rules = options.policy.network;
  let targets: BinaryTargets = {};
  let identify: Identify = async () => NOT_HERE;
  let follow = async (_paths: readonly string[]): Promise<BinaryTargets> => ({});
  let again: () => Promise<unknown> = async () => {};
  /** Whose links `targets` tells of. */
  let followed: Rules | undefined;
  const find = async (look = follow): Promise<void> => {
    const asked = rules;
    const found = await look(literalBinaries(asked));
    // Later rules may have been answered first.
    if (asked !== rules) return;
    followed = asked;
    targets = found;
  };
  return {
    identify: (flow) => identify(flow),
    async resolveRules(next) {
      rules = next;
      if (next !== followed) {
        const found = find();
        // Whoever is lost meanwhile ends the run with a reason of its own.
        if (!(await within(found, LINKS_MS))) found.then(again).catch(() => {});
      }
      return addBinaryTargets(rules, new Map(Object.entries(targets)));
    },
    get policy() {
      return { parts, binaries: looks ? [] : literalBinaries(rules) };
    },
    async accept(container, { pid }, network) {
      again = () => network.replacePolicy(rules);
      if (looks) {
        const root = held.use(openRootOf(pid));
        follow = (paths) => targetsBelow(root, paths);
        identify = createIdentifier({ ...options.entrance, supervisorPid: pid });
      } else {
        follow = (binaries) => container.replacePolicy({ parts, binaries });
        identify = container.identify;
      }
      // The command waits for all of them.
      await find(looks ? follow : () => container.prepared);
      await again();
    },
    [Symbol.dispose]: () => held.dispose(),
  };
}

function judgeNobody(parts: ContainerPolicy['parts'], report: Report): Programs {
  return {
    identify: async () => ({ ok: true, identity: ANY_PROGRAM }),
    async resolveRules(rules) {
      tellUnjudged(rules, report);
      return forAnyProgram(rules);
    },
    policy: { parts, binaries: [] },
    async accept() {},
    [Symbol.dispose]() {},
  };
}

/** @throws CastellanError `role_lost` where the process role cannot be looked into */
function openRootOf(pid: number): ForeignRoot {
  try {
    return openForeignRoot(pid);
  } catch (error) {
    throw roleLost(`the files of the process role cannot be seen: ${errnoOf(error)}`, error);
  }
}

/** Nobody's word is taken for where a link leads: the process role could send a right to any program. */
async function targetsBelow(root: ForeignRoot, paths: readonly string[]): Promise<BinaryTargets> {
  const targets: Record<string, string> = {};
  for (const path of paths) {
    const target = await root.follow(path);
    if (target !== undefined && target !== path) targets[path] = target;
  }
  return targets;
}
