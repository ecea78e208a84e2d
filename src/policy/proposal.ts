/** A rule that somebody in the sandbox asks for: read as strictly as the policy itself, and shown as it would be in force. */
import { checkAmbiguity } from './ambiguity.ts';
import type { Decider } from './compile.ts';
import { covers, hostsMeet } from './covers.ts';
import { classifyAddress } from './destination.ts';
import type { Endpoint, NetworkRule } from './document.ts';
import { FACT_LIMITS } from './fact-limits.ts';
import { ruleMeaning } from './meaning.ts';
import { checkPolicy } from './parse.ts';
import { renderRules } from './render.ts';
import type { Findings } from './source/findings.ts';

export interface ProposedRule {
  readonly rule: NetworkRule;
  /** Ready to be pasted into a policy. */
  readonly yaml: string;
  /** What it grants, line by line, that the rules in force do not grant in the same words. */
  readonly grants: readonly string[];
  /** What whoever decides should look at twice. */
  readonly notes: readonly string[];
  /** The rules in force allow all of it already. */
  readonly isCovered: boolean;
}

export type ReadProposal =
  | { readonly ok: true; readonly summary: string; readonly rules: readonly ProposedRule[] }
  | { readonly ok: false; readonly problems: readonly string[] };

type Present = Pick<Decider, 'rules' | 'now'>;

/** A person reads them all. */
const MAX_OPERATIONS = 8;
/** As written in JSON: one text of an event holds no more. */
const MAX_YAML_BYTES = 4000;
/** Of a line of what is granted and noted; a longer one ends in an ellipsis. */
const MAX_LINE = 200;
const MAX_TOLD = 10;
/** Where RFC 6335 §6 puts what listens for a while. */
const FIRST_DYNAMIC_PORT = 49_152;

/** `value` is what strict JSON gave; `rules` are in force since `now`. Unknown keys are problems that name them. */
export function readProposal(value: unknown, { rules: current, now }: Present): ReadProposal {
  const problems: string[] = [];
  const proposal = readObject(value, 'the proposal', ['intent_summary', 'operations'], problems);
  const { intent_summary: summary = '', operations } = proposal;
  if (typeof summary !== 'string' || summary.length > FACT_LIMITS.proposalSummary)
    problems.push(`intent_summary must be a text of at most ${FACT_LIMITS.proposalSummary} characters`);
  const list: readonly unknown[] = Array.isArray(operations) ? operations : [];
  if (list.length === 0 || list.length > MAX_OPERATIONS)
    problems.push(`operations must be a list of 1 to ${MAX_OPERATIONS}`);
  const names = new Set(current.map(({ name }) => name));
  const rules = list
    .slice(0, MAX_OPERATIONS)
    .flatMap((operation) => readOperation(operation, { current, now, names }, problems));
  if (problems.length > 0) return { ok: false, problems: problems.slice(0, MAX_TOLD) };
  return { ok: true, summary: String(summary), rules };
}

interface Surroundings {
  readonly current: readonly NetworkRule[];
  readonly now: number;
  /** In use, by the policy or by an operation before. */
  readonly names: Set<string>;
}

function readOperation(value: unknown, around: Surroundings, problems: string[]): ProposedRule[] {
  const { current, now, names } = around;
  const { addRule } = readObject(value, 'an operation', ['addRule'], problems);
  const added = readObject(addRule, 'addRule', ['ruleName', 'rule'], problems);
  const { ruleName: name } = added;
  if (typeof name !== 'string') {
    problems.push('ruleName must be a text');
    return [];
  }
  const { document, problems: found } = checkPolicy(
    JSON.stringify({ version: 1, network_policies: { [name]: added['rule'] ?? null } }),
    'proposal',
  );
  problems.push(...found.map(({ message }) => message));
  const rule = document?.network[0];
  if (rule === undefined) return [];
  const label = (added['rule'] as { readonly name?: unknown } | undefined)?.name;
  if (label !== undefined && label !== name)
    problems.push('name of the rule must be its ruleName, or be left out');
  if (rule.endpoints.length === 0 || rule.binaries.length === 0)
    problems.push(`rule "${rule.name}" needs at least one endpoint and one binary`);
  const isCovered = covers(current, rule, now);
  if (!isCovered) refuseClashes(rule, around, problems);
  names.add(rule.name);
  const yaml = renderRules([rule]);
  if (jsonBytes(yaml) > MAX_YAML_BYTES)
    problems.push(`rule "${rule.name}" is longer than ${MAX_YAML_BYTES} bytes; ask for less at a time`);
  return [
    {
      rule,
      yaml,
      grants: isCovered ? [] : told(newMeaning(rule, current)),
      notes: told(rule.endpoints.flatMap(notesOn)),
      isCovered,
    },
  ];
}

/** A rule that could not be pasted beside those in force is of no use to whoever decides. */
function refuseClashes(rule: NetworkRule, { current, names }: Surroundings, problems: string[]): void {
  if (names.has(rule.name)) problems.push(`there is a rule "${rule.name}" already; give it another ruleName`);
  const findings: Findings = { file: 'proposal', problems: [], notices: [] };
  // Those in force agree with each other.
  checkAmbiguity([...current.filter((each) => mayMeet(each, rule)), rule], findings);
  problems.push(...findings.problems.map(({ message }) => message));
}

function mayMeet(a: NetworkRule, b: NetworkRule): boolean {
  return a.endpoints.some(({ host }) => b.endpoints.some((other) => hostsMeet(host, other.host)));
}

function newMeaning(rule: NetworkRule, current: readonly NetworkRule[]): string[] {
  const lines = (each: NetworkRule): string[] =>
    ruleMeaning({ ...each, name: '' }).map((line) => line.replace(/ {2}\(\)$/, ''));
  const known = new Set(current.flatMap(lines));
  return lines(rule).filter((line) => !known.has(line));
}

/** As an event holds them. */
function told(lines: readonly string[]): string[] {
  const cut = lines.map((line) => (line.length > MAX_LINE ? `${line.slice(0, MAX_LINE)}…` : line));
  return cut.length > FACT_LIMITS.proposalLines
    ? [
        ...cut.slice(0, FACT_LIMITS.proposalLines - 1),
        `and ${cut.length - FACT_LIMITS.proposalLines + 1} more`,
      ]
    : cut;
}

/** At most: line ends, and characters that a log escapes, take six. */
function jsonBytes(text: string): number {
  return [...text].reduce((sum, character) => sum + (/[ -!#-[\]-~]/.test(character) ? 1 : 6), 0);
}

function notesOn({ host, ports, allowedIps, protocol, inspection }: Endpoint): string[] {
  const where = host === '' ? allowedIps.join(', ') : host;
  const isPrivate = allowedIps.length > 0 || classifyAddress(host).name === 'private use';
  return [
    ...(protocol === '' || protocol === 'tcp' ? [`${where}: what is sent there is not looked at`] : []),
    ...(host.includes('*') || host === '' ? [`${where}: more than one host`] : []),
    ...(isPrivate ? [`${where}: addresses of a private network`] : []),
    ...(inspection?.enforcement === 'audit' ? [`${where}: audit lets everything pass`] : []),
    ...ports
      .filter((port) => port >= FIRST_DYNAMIC_PORT)
      .map((port) => `${where}: port ${port} has no fixed owner`),
  ];
}

/** The members of an object, all of whose keys must be among `keys`. */
function readObject<Key extends string>(
  value: unknown,
  where: string,
  keys: readonly Key[],
  problems: string[],
): Readonly<Partial<Record<Key, unknown>>> {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    problems.push(`${where} must be an object`);
    return {} as Partial<Record<Key, unknown>>;
  }
  for (const key of Object.keys(value))
    if (!keys.some((known) => known === key))
      problems.push(`unknown key ${JSON.stringify(key.slice(0, 100))} in ${where}`);
  return value as Partial<Record<Key, unknown>>;
}
