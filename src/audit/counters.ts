/**
 * What metrics count of facts. Names and label values are closed sets, written down here or in the types of the domain: no word of an
 * agent, an origin or a file of the operator becomes one, so that metrics tell nobody's names and cannot grow. Pure.
 */
import type { ModelProtocol } from '../egress/local/model-shapes.ts';
import { DENY_REASONS } from '../policy/verdict.ts';
import { CONTROLS } from './controls.ts';
import {
  type AuditFact,
  DETACH_REASONS,
  FORWARD_ENDS,
  FORWARD_REFUSALS,
  PROPOSAL_STATES,
  SESSION_KINDS,
} from './event.ts';

const OTHER = 'other';
const NO_LABELS = {};
const DECISIONS = ['allowed', 'denied', 'failed'] as const;
/** RFC 1035 section 4.1.1; further codes are extensions that castellan never answers with. */
const RCODES = ['NOERROR', 'FORMERR', 'SERVFAIL', 'NXDOMAIN', 'NOTIMP', 'REFUSED', OTHER] as const;
const MODEL_OPERATIONS = namesOf({
  openai_chat_completions: true,
  openai_completions: true,
  openai_responses: true,
  openai_embeddings: true,
  anthropic_messages: true,
  aws_bedrock_invoke: true,
  model_discovery: true,
  other: true,
} satisfies Readonly<Record<ModelProtocol | typeof OTHER, true>>);
/** IP protocol numbers of what bypasses are made with. */
const IP_PROTOCOLS: Readonly<Record<number, 'icmp' | 'tcp' | 'udp'>> = {
  1: 'icmp',
  6: 'tcp',
  17: 'udp',
  58: 'icmp',
};

interface CounterDefinition {
  readonly help: string;
  /** All values of each label. */
  readonly labels: Readonly<Record<string, readonly string[]>>;
}

/** Without the prefix `castellan_` and the suffix `_total`, which all of them have. */
export const COUNTERS = {
  connections: {
    help: 'Connections of the sandbox, by what was decided; one that failed after it was allowed counts twice.',
    labels: { decision: DECISIONS },
  },
  requests: {
    help: 'Requests that were judged singly, by what was decided; messages over WebSockets among them.',
    labels: { decision: DECISIONS },
  },
  denials: {
    help: 'Connections and requests that were denied, by reason.',
    labels: { reason: DENY_REASONS },
  },
  request_violations: {
    help: 'Requests that passed only because their endpoint is in audit, by the reason against them.',
    labels: { reason: DENY_REASONS },
  },
  egress_bytes: {
    help: 'Bytes of ended connections and requests; those of an opened connection are in both.',
    labels: { of: ['connection', 'request'], direction: ['in', 'out'] },
  },
  http_responses: {
    help: 'Answers to requests that were judged singly, by class of status.',
    labels: { class: ['1xx', '2xx', '3xx', '4xx', '5xx', OTHER] },
  },
  credential_uses: { help: 'Credentials whose secret went out, once a request.', labels: NO_LABELS },
  dns_queries: { help: 'DNS queries of the sandbox, by the answer.', labels: { rcode: RCODES } },
  bypass_attempts: {
    help: 'Packets that went past the proxy and were refused, as far as the kernel tells.',
    labels: { protocol: ['tcp', 'udp', 'icmp', OTHER] },
  },
  model_calls: {
    help: 'Requests to models by the operator’s routes.',
    labels: { protocol: MODEL_OPERATIONS, outcome: ['ok', 'failed'] },
  },
  model_tokens: {
    help: 'Tokens of those requests, as providers count.',
    labels: { direction: ['input', 'output'] },
  },
  policy_loads: {
    help: 'Readings of the policy, by whether it came into force.',
    labels: { result: ['loaded', 'rejected'] },
  },
  policy_expired_rules: { help: 'Rules whose time ended.', labels: NO_LABELS },
  policy_closed_connections: {
    help: 'Connections that lost their right by a change of policy.',
    labels: NO_LABELS,
  },
  policy_proposals: {
    help: 'Rules that programs asked for, by what became of them.',
    labels: { state: PROPOSAL_STATES },
  },
  launches: { help: 'Processes launched in the sandbox.', labels: { kind: SESSION_KINDS } },
  exits: {
    help: 'Ends of such processes.',
    labels: { kind: SESSION_KINDS, outcome: ['success', 'failure', 'signal'] },
  },
  launch_refusals: { help: 'Launches that failed.', labels: NO_LABELS },
  ssh_connections: { help: 'SSH connections that were let in.', labels: NO_LABELS },
  ssh_disconnections: { help: 'Ends of such connections.', labels: NO_LABELS },
  control_refusals: {
    help: 'Peers at the control socket of a pod that were not the process role.',
    labels: NO_LABELS,
  },
  ssh_refusals: { help: 'What SSH clients were refused, connections included.', labels: NO_LABELS },
  attachments: { help: 'Clients that attached to the main process.', labels: NO_LABELS },
  detachments: {
    help: 'Clients that left the main process, by why.',
    labels: { reason: DETACH_REASONS },
  },
  forwards: { help: 'Connections that SSH clients had made in the sandbox.', labels: NO_LABELS },
  forward_ends: { help: 'Ends of such connections, by why.', labels: { reason: FORWARD_ENDS } },
  forward_refusals: {
    help: 'Connections that SSH clients asked for and did not get, by why.',
    labels: { reason: FORWARD_REFUSALS },
  },
  forwarded_bytes: {
    help: 'Bytes of ended forwards: in to the sandbox, out of it.',
    labels: { direction: ['in', 'out'] },
  },
  degraded_controls: {
    help: 'Protections that this machine does not give in full.',
    labels: { control: CONTROLS },
  },
  findings: { help: 'Findings in the audit log.', labels: { type: ['bypass', 'credential', 'control'] } },
  internal_errors: { help: 'Failures of castellan itself.', labels: NO_LABELS },
} as const satisfies Readonly<Record<string, CounterDefinition>>;

export type CounterName = keyof typeof COUNTERS;
type Definitions = typeof COUNTERS;
type LabelsOf<Name extends CounterName> = {
  readonly [Label in keyof Definitions[Name]['labels']]: Definitions[Name]['labels'][Label] extends readonly (infer Value extends
    string)[]
    ? Value
    : never;
};

export interface Count {
  readonly name: CounterName;
  /** In the order of the definition. */
  readonly labels: Readonly<Record<string, string>>;
  readonly amount: number;
}

/** By how much a fact moves the counters. Pure. */
export function countsOf(fact: AuditFact): readonly Count[] {
  switch (fact.kind) {
    case 'connection-allowed':
      return [decided(fact.intent, 'allowed'), ...credentialsIn(fact)];
    case 'message-allowed':
      return [decided(fact.intent, 'allowed')];
    case 'request-violation':
      return [count('request_violations', { reason: fact.reason })];
    case 'connection-denied':
      return [
        decided(fact.intent, 'denied'),
        count('denials', { reason: fact.reason }),
        ...(fact.reason === 'credential_endpoint_mismatch'
          ? [count('findings', { type: 'credential' })]
          : []),
      ];
    case 'connection-failed':
      return [decided(fact.intent, 'failed')];
    case 'connection-closed':
      return [...transferred(fact), ...answered(fact), ...credentialsIn(fact)];
    case 'dns-answered':
      return [count('dns_queries', { rcode: 'NOERROR' }, 1 + (fact.repeats ?? 0))];
    case 'dns-refused':
      return [count('dns_queries', { rcode: RCODES[fact.rcode] ?? OTHER }, 1 + (fact.repeats ?? 0))];
    case 'bypass-refused':
      return [
        count('bypass_attempts', { protocol: IP_PROTOCOLS[fact.protocol] ?? OTHER }),
        count('findings', { type: 'bypass' }),
      ];
    case 'model-called':
      return modelCall(fact);
    case 'policy-loaded':
      return [count('policy_loads', { result: 'loaded' }), ...closedBy(fact.closed ?? 0)];
    case 'policy-rejected':
      return [count('policy_loads', { result: 'rejected' })];
    case 'rules-expired':
      return [count('policy_expired_rules', {}, fact.rules.length), ...closedBy(fact.closed)];
    case 'policy-proposal':
      return [count('policy_proposals', { state: fact.state })];
    case 'control-degraded':
      return [count('degraded_controls', { control: fact.control }), count('findings', { type: 'control' })];
    case 'process-launched':
      return [count('launches', { kind: fact.process.kind })];
    case 'process-exited': {
      const outcome = fact.signal !== undefined ? 'signal' : fact.exitCode === 0 ? 'success' : 'failure';
      return [count('exits', { kind: fact.process.kind, outcome })];
    }
    case 'launch-refused':
      return [count('launch_refusals', {})];
    case 'ssh-opened':
      return [count('ssh_connections', {})];
    case 'ssh-closed':
      return [count('ssh_disconnections', {})];
    case 'ssh-refused':
      return [count('ssh_refusals', {})];
    case 'ssh-attached':
      return [count('attachments', {})];
    case 'ssh-detached':
      return [count('detachments', { reason: fact.reason })];
    case 'ssh-forward-opened':
      return [count('forwards', {})];
    case 'ssh-forward-closed':
      return [
        count('forward_ends', { reason: fact.reason }),
        count('forwarded_bytes', { direction: 'in' }, fact.bytesIn),
        count('forwarded_bytes', { direction: 'out' }, fact.bytesOut),
      ];
    case 'ssh-forward-refused':
      return [count('forward_refusals', { reason: fact.why })];
    case 'control-refused':
      return [count('control_refusals', {})];
    case 'internal-error':
      return [count('internal_errors', {})];
    // Each refusal is a fact of its own besides.
    case 'denials-counted':
    case 'supervisor-started':
    case 'supervisor-ready':
    case 'supervisor-stopped':
    case 'supervisor-failed':
    case 'audit-opened':
    case 'audit-closed':
    case 'identity-resolved':
    case 'path-prepared':
    case 'path-skipped':
    case 'workspace-owned':
    case 'workspace-mapped':
    case 'control-applied':
    case 'ssh-listening':
      return [];
  }
}

type FactOf<Kind extends AuditFact['kind']> = Extract<AuditFact, { readonly kind: Kind }>;

function decided(
  { http }: FactOf<'connection-allowed'>['intent'],
  decision: (typeof DECISIONS)[number],
): Count {
  return count(http === undefined ? 'connections' : 'requests', { decision });
}

function transferred({ intent, bytesIn, bytesOut }: FactOf<'connection-closed'>): Count[] {
  const of = intent.http === undefined ? 'connection' : 'request';
  return [
    count('egress_bytes', { of, direction: 'in' }, bytesIn),
    count('egress_bytes', { of, direction: 'out' }, bytesOut),
  ];
}

function answered({ httpStatus }: FactOf<'connection-closed'>): Count[] {
  if (httpStatus === undefined) return [];
  const wanted = `${Math.floor(httpStatus / 100)}xx`;
  const known = COUNTERS.http_responses.labels.class.find((name) => name === wanted);
  return [count('http_responses', { class: known ?? OTHER })];
}

function credentialsIn({ credentials }: { readonly credentials?: readonly string[] }): Count[] {
  return credentials === undefined ? [] : [count('credential_uses', {}, credentials.length)];
}

function closedBy(closed: number): Count[] {
  return closed > 0 ? [count('policy_closed_connections', {}, closed)] : [];
}

function modelCall(fact: FactOf<'model-called'>): Count[] {
  const protocol = MODEL_OPERATIONS.find((known) => known === fact.operation) ?? OTHER;
  const failed = fact.detail !== undefined || (fact.httpStatus ?? 0) >= 400;
  return [
    count('model_calls', { protocol, outcome: failed ? 'failed' : 'ok' }),
    count('model_tokens', { direction: 'input' }, fact.inputTokens ?? 0),
    count('model_tokens', { direction: 'output' }, fact.outputTokens ?? 0),
  ];
}

function count<Name extends CounterName>(name: Name, labels: LabelsOf<Name>, amount = 1): Count {
  return { name, labels, amount };
}

function namesOf<Name extends string>(table: Readonly<Record<Name, true>>): readonly Name[] {
  return Object.keys(table) as Name[];
}
