/** policy.local: what the policy is, what it refused, what it would do; and rules that programs ask for. */
import type { Report } from '../../audit/event.ts';
import { CastellanError } from '../../errors.ts';
import { ANY_PROGRAM, ANY_PROGRAM_PATH } from '../../policy/any-program.ts';
import type { Decider } from '../../policy/compile.ts';
import { queryOf } from '../decide/decide.ts';
import { parseStrictJson } from '../inspect/strict-json.ts';
import type { EgressLimits } from '../limits.ts';
import { type AskedRequest, questionOf } from '../question.ts';
import { simulate } from '../simulate.ts';
import type { Outcome } from '../stages.ts';
import { answerJson, answerWhole, untilClosed } from './answer.ts';
import type { DenialBook } from './denials.ts';
import { agentGuide } from './guide.ts';
import type { LocalCall } from './local.ts';
import { createProposalStore, type Proposal, type ProposalStore } from './proposals.ts';

export interface PolicyServiceMeans {
  /** Always that in force. */
  readonly decider: Decider;
  readonly denials: Pick<DenialBook, 'recent'>;
  /** Whether programs may ask for rules. */
  readonly takesProposals: boolean;
  readonly report: Report;
  readonly limits: EgressLimits;
}

export interface PolicyService {
  /** Never rejects. */
  answer(call: LocalCall): Promise<Outcome>;
  policyChanged(): void;
}

interface Reply {
  readonly status: number;
  readonly body: object | string;
}

interface Asked {
  readonly call: LocalCall;
  readonly query: URLSearchParams;
  /** Of the path, where it has one. */
  readonly id: string;
}

type Handler = (asked: Asked) => Reply | Promise<Reply>;
type Row = readonly [method: 'GET' | 'POST', path: RegExp, handler: Handler, needsProposals?: 'proposals'];

const DEFAULT_DENIALS = 10;

export function createPolicyService(means: PolicyServiceMeans): PolicyService {
  const { decider, limits, takesProposals } = means;
  const store = createProposalStore(means);
  const rows: readonly Row[] = [
    ['GET', /^\/$/, () => ({ status: 200, body: agentGuide(takesProposals) })],
    ['GET', /^\/v1\/policy\/current$/, policyReader(decider)],
    ['GET', /^\/v1\/denials$/, ({ query }) => recentDenials(query, means)],
    ['GET', /^\/v1\/explain$/, ({ call, query }) => explain(questionIn(query), call, decider)],
    ['POST', /^\/v1\/explain$/, async ({ call }) => explain(await readJson(call, limits), call, decider)],
    [
      'POST',
      /^\/v1\/proposals$/,
      async ({ call }) => propose(await readJson(call, limits), call, store, decider),
      'proposals',
    ],
    ['GET', /^\/v1\/proposals\/(?<id>[0-9a-f-]{36})$/, ({ id }) => stateOf(store.find(id)), 'proposals'],
    [
      'GET',
      /^\/v1\/proposals\/(?<id>[0-9a-f-]{36})\/wait$/,
      (asked) => waitFor(asked, store, limits),
      'proposals',
    ],
  ];
  return {
    policyChanged: store.policyChanged,
    async answer(call) {
      const closed = untilClosed(call.exchange);
      const { status, body } = await handle(call, rows, takesProposals);
      return typeof body === 'string'
        ? answerWhole(call.exchange, status, 'text/markdown; charset=utf-8', body, closed)
        : answerJson(call, status, body, closed);
    },
  };
}

async function handle(call: LocalCall, rows: readonly Row[], takesProposals: boolean): Promise<Reply> {
  const { method } = call.intent.http;
  const target = call.content?.target ?? call.arrival.request?.target ?? '/';
  const [path = '/'] = target.split('?', 1);
  const query = new URLSearchParams(target.slice(path.length));
  const here = rows.filter(([, pattern]) => pattern.test(path));
  const [first] = here;
  if (first === undefined) return failure(404, 'not_found', 'GET http://policy.local/ tells what is here');
  if (first[3] !== undefined && !takesProposals)
    return failure(404, 'feature_disabled', 'proposals are not taken in this sandbox');
  const row = here.find(([wanted]) => wanted === (method === 'HEAD' ? 'GET' : method));
  if (row === undefined)
    return failure(405, 'method_not_allowed', `this takes ${here.map(([wanted]) => wanted).join(' or ')}`);
  try {
    return await row[2]({ call, query, id: row[1].exec(path)?.groups?.['id'] ?? '' });
  } catch (error) {
    if (error instanceof BadRequest) return failure(error.status, error.code, error.message);
    throw error;
  }
}

class BadRequest extends Error {
  readonly status: number;
  readonly code: string;

  constructor(message: string, status = 400, code = 'invalid_request') {
    super(message);
    this.status = status;
    this.code = code;
  }
}

function failure(status: number, error: string, detail: string): Reply {
  return { status, body: { error, detail } };
}

/** Rendered once for each policy: a large one takes a while. */
function policyReader(decider: Decider): () => Promise<Reply> {
  let shown: { readonly rules: Decider['rules']; readonly yaml: string } | undefined;
  return async () => {
    const { renderRules } = await import('../../policy/render.ts');
    const { rules } = decider;
    if (shown?.rules !== rules) shown = { rules, yaml: `version: 1\n${renderRules(rules)}` };
    return { status: 200, body: { format: 'yaml', policy_yaml: shown.yaml } };
  };
}

function recentDenials(query: URLSearchParams, { denials, limits }: PolicyServiceMeans): Reply {
  const last = wholeNumber(query, 'last', DEFAULT_DENIALS, limits.recentDenials);
  return { status: 200, body: { denials: denials.recent(last), log_available: true } };
}

/** Clamped to what there can be. */
function wholeNumber(query: URLSearchParams, key: string, fallback: number, most: number): number {
  const text = query.get(key);
  if (text === null) return fallback;
  if (!/^\d{1,9}$/.test(text)) throw new BadRequest(`${key} must be a whole number`);
  return Math.min(Math.max(Number(text), 1), most);
}

async function readJson({ arrival, content }: LocalCall, limits: EgressLimits): Promise<unknown> {
  const body = content?.body ?? (await arrival.request?.body(limits.policyRequestBytes));
  if (body === undefined)
    throw new BadRequest(
      `the body is larger than ${limits.policyRequestBytes} bytes, or did not come`,
      413,
      'body_too_large',
    );
  const parsed = parseStrictJson(body);
  if (!parsed.ok) throw new BadRequest(parsed.detail);
  return parsed.value;
}

function questionIn(query: URLSearchParams): unknown {
  return Object.fromEntries(query);
}

const QUESTION_KEYS: readonly string[] = ['url', 'method', 'headers', 'body'];

/** About the program that asks: what others may do is not its business here. */
async function explain(
  value: unknown,
  { arrival, grant: { identity } }: LocalCall,
  decider: Decider,
): Promise<Reply> {
  const executable = identity === ANY_PROGRAM ? ANY_PROGRAM_PATH : identity.executable;
  const asked = readAsked(value);
  try {
    const { binaries, hashes = [] } = queryOf(arrival, { ok: true, identity });
    const question = questionOf({ ...asked, binaries: [executable] });
    const programs = [executable, ...binaries.slice(1)] as const;
    const answer = await simulate(decider, { ...question, binaries: programs, hashes });
    return { status: 200, body: { binary: executable, ...answer } };
  } catch (error) {
    if (error instanceof CastellanError && error.code === 'usage') throw new BadRequest(error.message);
    throw error;
  }
}

function readAsked(value: unknown): Omit<AskedRequest, 'binaries'> {
  if (typeof value !== 'object' || value === null || Array.isArray(value))
    throw new BadRequest('the body must be an object');
  const unknown = Object.keys(value).find((key) => !QUESTION_KEYS.includes(key));
  if (unknown !== undefined) throw new BadRequest(`unknown key ${JSON.stringify(unknown.slice(0, 100))}`);
  const { url, method, headers = {}, body } = value as Readonly<Record<string, unknown>>;
  if (typeof url !== 'string') throw new BadRequest('url must be a text such as https://host/path');
  if (method !== undefined && (typeof method !== 'string' || !/^[A-Za-z]{1,32}$/.test(method)))
    throw new BadRequest('method must be an HTTP method');
  if (body !== undefined && typeof body !== 'string') throw new BadRequest('body must be a text');
  if (
    typeof headers !== 'object' ||
    headers === null ||
    !Object.values(headers).every((text) => typeof text === 'string')
  )
    throw new BadRequest('headers must be an object of texts');
  const lower = Object.entries(headers).map(([name, text]) => [name.toLowerCase(), String(text)]);
  return { url, method: method?.toUpperCase(), headers: Object.fromEntries(lower), body };
}

async function propose(
  value: unknown,
  { intent, grant }: LocalCall,
  store: ProposalStore,
  decider: Decider,
): Promise<Reply> {
  const tooMany = failure(
    429,
    'too_many_proposals',
    'too many proposals came within a minute, or wait; ask again later',
  );
  if (!store.admit()) return tooMany;
  // The parser of policies costs a while to load, which runs without proposals need not pay.
  const { readProposal } = await import('../../policy/proposal.ts');
  const read = readProposal(value, decider);
  if (!read.ok)
    return {
      status: 400,
      body: { error: 'invalid_proposal', detail: read.problems[0], problems: read.problems },
    };
  const asker = { summary: read.summary, intent, identity: grant.identity };
  const submitted = read.rules.map((proposed) => store.submit(proposed, asker));
  const accepted = submitted.filter((proposal) => proposal !== undefined);
  if (accepted.length === 0) return tooMany;
  const rejected = submitted.length - accepted.length;
  return {
    status: 202,
    body: {
      status: 'submitted',
      accepted_chunks: accepted.length,
      rejected_chunks: rejected,
      rejection_reasons: rejected > 0 ? ['too many proposals'] : [],
      accepted_chunk_ids: accepted.map(({ id }) => id),
      proposals: accepted.map(describe),
    },
  };
}

function describe({ id, state, proposed }: Proposal): object {
  const { rule, yaml, grants, notes } = proposed;
  return {
    chunk_id: id,
    status: state,
    rule_name: rule.name,
    rule_yaml: yaml,
    grants,
    notes,
    wait: `http://policy.local/v1/proposals/${id}/wait`,
  };
}

function stateOf(proposal: Proposal | undefined): Reply {
  if (proposal === undefined)
    return failure(404, 'chunk_not_found', 'there is no such proposal, or no longer');
  return { status: 200, body: describe(proposal) };
}

/** Approved is what the policy in force covers, so that another try succeeds. */
async function waitFor(
  { call, query, id }: Asked,
  store: ProposalStore,
  limits: EgressLimits,
): Promise<Reply> {
  const most = limits.proposalWaitMs;
  const seconds = wholeNumber(query, 'timeout', limits.proposalWaitDefaultMs / 1000, most / 1000);
  const proposal = await store.decided(id, seconds * 1000, call.signal);
  const { status, body } = stateOf(proposal);
  if (proposal === undefined) return { status, body };
  const outcome =
    proposal.state === 'pending' ? { timed_out: true } : { policy_reloaded: proposal.state === 'approved' };
  return { status, body: { ...(body as object), ...outcome } };
}
