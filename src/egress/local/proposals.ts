/** The rules that programs have asked for. Whoever runs the sandbox decides, by the policy: one that it covers is approved. */
import { randomUUID } from 'node:crypto';
import type { ProposalState, Report } from '../../audit/event.ts';
import type { Decider } from '../../policy/compile.ts';
import { covers } from '../../policy/covers.ts';
import type { ProposedRule } from '../../policy/proposal.ts';
import type { EgressLimits } from '../limits.ts';
import type { Caller, Intent } from '../stages.ts';

export interface Proposal {
  readonly id: string;
  readonly state: ProposalState;
  readonly proposed: ProposedRule;
  readonly summary: string;
  readonly intent: Intent;
  readonly identity: Caller;
}

export interface Asker {
  readonly summary: string;
  readonly intent: Intent;
  readonly identity: Caller;
}

/** Where proposals go. A gateway may take the place of this one. */
export interface ProposalStore {
  /** Whether another may be read: false where there have been too many of late, good or bad, for reading costs time. */
  admit(): boolean;
  /** Undefined where too many wait. */
  submit(proposed: ProposedRule, asker: Asker): Proposal | undefined;
  find(id: string): Proposal | undefined;
  /** Settles when the proposal is no longer pending, or after `ms`, or with the signal; with what it is by then. */
  decided(id: string, ms: number, signal: AbortSignal): Promise<Proposal | undefined>;
  /** Another policy is in force. */
  policyChanged(): void;
}

export interface ProposalStoreOptions {
  /** Always that in force. */
  readonly decider: Pick<Decider, 'rules' | 'now'>;
  readonly report: Report;
  readonly limits: Pick<EgressLimits, 'proposals' | 'proposalsPerMinute'>;
  readonly now?: () => number;
}

const MINUTE_MS = 60_000;

export function createProposalStore({
  decider,
  report,
  limits,
  now = () => performance.now(),
}: ProposalStoreOptions): ProposalStore {
  /** In the order in which they came. */
  const proposals = new Map<string, Proposal>();
  const waiting = new Set<() => void>();
  let times: number[] = [];
  const set = (proposal: Proposal): void => {
    proposals.set(proposal.id, proposal);
    const { id, state, intent, identity, summary, proposed } = proposal;
    const { rule, yaml, grants, notes } = proposed;
    report({
      kind: 'policy-proposal',
      state,
      intent,
      identity,
      id,
      ruleName: rule.name,
      summary,
      yaml,
      grants,
      notes,
    });
  };
  const changed = (): void => {
    for (const look of [...waiting]) look();
  };
  const makeRoom = (): boolean => {
    for (const { id, state } of proposals.values())
      if (proposals.size >= limits.proposals && state !== 'pending') proposals.delete(id);
    return proposals.size < limits.proposals;
  };
  return {
    admit() {
      times = times.filter((time) => time > now() - MINUTE_MS);
      if (times.length >= limits.proposalsPerMinute) return false;
      times.push(now());
      return true;
    },
    submit(proposed, asker) {
      if (!makeRoom()) return undefined;
      for (const earlier of [...proposals.values()])
        if (earlier.state === 'pending' && earlier.proposed.rule.name === proposed.rule.name)
          set({ ...earlier, state: 'superseded' });
      const id = randomUUID();
      const proposal = {
        ...asker,
        id,
        proposed,
        state: proposed.isCovered ? 'approved' : 'pending',
      } as const;
      set(proposal);
      changed();
      return proposal;
    },
    find: (id) => proposals.get(id),
    decided(id, ms, signal) {
      const { promise, resolve } = Promise.withResolvers<Proposal | undefined>();
      const look = (): void => {
        if (proposals.get(id)?.state !== 'pending') finish();
      };
      const finish = (): void => {
        clearTimeout(timer);
        waiting.delete(look);
        signal.removeEventListener('abort', finish);
        resolve(proposals.get(id));
      };
      const timer = setTimeout(finish, ms);
      signal.addEventListener('abort', finish, { once: true });
      waiting.add(look);
      look();
      return promise;
    },
    policyChanged() {
      for (const proposal of [...proposals.values()])
        if (proposal.state === 'pending' && covers(decider.rules, proposal.proposed.rule, decider.now))
          set({ ...proposal, state: 'approved' });
      changed();
    },
  };
}
