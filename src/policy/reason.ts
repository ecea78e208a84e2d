/** A refusal in the form a program can act on: the body of the 403 answer. */
import { ANY_PROGRAM_PATH } from './any-program.ts';
import type { DenyReason, DenyVerdict, Query } from './verdict.ts';

export interface DenialBody {
  readonly error: 'policy_denied';
  readonly reason: DenyReason;
  /** One sentence for a person. */
  readonly detail: string;
  readonly host: string;
  readonly port: number;
  /** The executable that asked; null where it could not be established. */
  readonly binary: string | null;
  /** The rule that came nearest; null if none did. */
  readonly nearest_rule: string | null;
  /** What a rule would have to list; null where no rule can help. */
  readonly rule_missing: MissingRule | null;
  readonly next_steps: readonly NextStep[];
}

export interface MissingRule {
  readonly type: 'l4_allow' | 'rest_allow';
  readonly host: string;
  readonly port: number;
  readonly binary: string | null;
  /** Of rest_allow. */
  readonly method?: string;
  readonly path?: string;
}

/** What was asked of the destination, where requests are inspected. */
export interface DeniedRequest {
  readonly method: string;
  readonly path: string;
}

export interface NextStep {
  readonly action:
    | 'ask_operator'
    | 'change_request'
    | 'retry'
    | 'give_up'
    | 'submit_proposal'
    | 'read_guide'
    | 'inspect_recent_denials';
  readonly detail: string;
  /** Where it is done. */
  readonly url?: string;
}

/** What the program that was refused can reach at policy.local. */
export interface Advisor {
  readonly takesProposals: boolean;
}

interface Advice {
  readonly ruleHelps: boolean;
  readonly steps: readonly NextStep[];
}

const ASK_FOR_RULE: NextStep = {
  action: 'ask_operator',
  detail: 'Ask whoever runs this sandbox to add what rule_missing says under network_policies.',
};
const DO_NOT_CIRCUMVENT: NextStep = {
  action: 'give_up',
  detail: 'If the answer is no, go on without this destination; every other way out is closed and recorded.',
};
const A_RULE_HELPS: Advice = { ruleHelps: true, steps: [ASK_FOR_RULE, DO_NOT_CIRCUMVENT] };

const ADVICE: Readonly<Record<DenyReason, Advice>> = {
  no_policy: A_RULE_HELPS,
  host_not_listed: A_RULE_HELPS,
  port_not_listed: A_RULE_HELPS,
  binary_not_listed: A_RULE_HELPS,
  binary_hash_differs: {
    ruleHelps: false,
    steps: [
      {
        action: 'ask_operator',
        detail:
          'The policy pins this program to another content (sha256). If it was updated on purpose, ask for the new hash in its rule.',
      },
      DO_NOT_CIRCUMVENT,
    ],
  },
  rule_expired: {
    ruleHelps: false,
    steps: [
      {
        action: 'ask_operator',
        detail: 'The right to this has ended at the time that detail names; only the operator can extend it.',
      },
      DO_NOT_CIRCUMVENT,
    ],
  },
  identity_unknown: {
    ruleHelps: false,
    steps: [
      {
        action: 'retry',
        detail:
          'Connect again from a process that stays alive, and does not share the connection, until it is open.',
      },
    ],
  },
  address_not_allowed: {
    ruleHelps: false,
    steps: [
      {
        action: 'ask_operator',
        detail:
          'The name leads to an address that is not public. If that is meant, ask for the address in allowed_ips of the rule.',
      },
      DO_NOT_CIRCUMVENT,
    ],
  },
  name_mismatch: {
    ruleHelps: false,
    steps: [
      {
        action: 'change_request',
        detail: 'Use one and the same name for the connection, its TLS and its HTTP host.',
      },
    ],
  },
  request_not_listed: A_RULE_HELPS,
  request_refused: {
    ruleHelps: false,
    steps: [
      {
        action: 'ask_operator',
        detail: 'A deny_rule is about this very request; only the operator can change it.',
      },
      DO_NOT_CIRCUMVENT,
    ],
  },
  request_unreadable: {
    ruleHelps: false,
    steps: [
      {
        action: 'change_request',
        detail:
          'Requests to this destination are read before they pass: send it in the plain form that detail asks for.',
      },
    ],
  },
  credential_endpoint_mismatch: {
    ruleHelps: false,
    steps: [
      {
        action: 'change_request',
        detail:
          'Use the placeholder only where its credential belongs: detail says which, and in which part of a request.',
      },
      DO_NOT_CIRCUMVENT,
    ],
  },
  protocol_not_inspected: {
    ruleHelps: false,
    steps: [
      {
        action: 'change_request',
        detail: 'Requests to this destination are inspected: speak HTTP to it, inside TLS or without.',
      },
    ],
  },
  destination_unknown: {
    ruleHelps: false,
    steps: [
      {
        action: 'change_request',
        detail:
          'Connect by name: through the proxy that HTTPS_PROXY names, or with TLS or HTTP that states the host.',
      },
    ],
  },
};

const SUBMIT_PROPOSAL: NextStep = {
  action: 'submit_proposal',
  detail: 'Ask for the rule, as narrowly as the work allows: a person decides. The guide shows how.',
  url: 'http://policy.local/v1/proposals',
};
const LOOK_UP: readonly NextStep[] = [
  {
    action: 'inspect_recent_denials',
    detail: 'See what else was refused.',
    url: 'http://policy.local/v1/denials',
  },
  { action: 'read_guide', detail: 'Read what can be done about refusals here.', url: 'http://policy.local/' },
];

/** Whether a rule would have prevented it; not where `reason` is none. */
export function ruleHelps(reason: string): boolean {
  return Object.hasOwn(ADVICE, reason) && ADVICE[reason as DenyReason].ruleHelps;
}

function nextSteps({ ruleHelps, steps }: Advice, advisor: Advisor | undefined): readonly NextStep[] {
  if (advisor === undefined) return steps;
  const asking = ruleHelps && advisor.takesProposals ? [SUBMIT_PROPOSAL] : [];
  return [...asking, ...steps, ...LOOK_UP];
}

/** What a refused client is told. The values are raw; JSON keeps them apart from the text. */
export function denialBody(
  verdict: DenyVerdict,
  query: Query,
  request?: DeniedRequest,
  advisor?: Advisor,
): DenialBody {
  const { reason, detail, nearest } = verdict;
  const { host, port, binaries } = query;
  const [caller] = binaries;
  const binary = caller === undefined || caller === ANY_PROGRAM_PATH ? null : caller;
  const advice = ADVICE[reason];
  return {
    error: 'policy_denied',
    reason,
    detail,
    host,
    port,
    binary,
    nearest_rule: nearest ?? null,
    rule_missing: advice.ruleHelps ? missingRule(reason, { host, port, binary }, request) : null,
    next_steps: nextSteps(advice, advisor),
  };
}

function missingRule(
  reason: DenyReason,
  destination: Omit<MissingRule, 'type'>,
  request: DeniedRequest | undefined,
): MissingRule {
  if (reason !== 'request_not_listed' || request === undefined) return { type: 'l4_allow', ...destination };
  return { type: 'rest_allow', ...destination, ...request };
}
