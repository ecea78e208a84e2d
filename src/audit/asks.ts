/** What programs of a sandbox ask for, from its log: rules that wait for somebody, and what was refused. */
import { at, parsedJson } from '../lib/json.ts';
import type { DenialSummary } from '../policy/suggest.ts';

export interface OpenProposal {
  readonly id: string;
  readonly rule: string;
  readonly binary: string;
  readonly summary: string;
  /** Empty where the log has not all of it. */
  readonly yaml: string;
  readonly grants: readonly string[];
  readonly notes: readonly string[];
}

/** Of one destination and program, over all sums. */
const MAX_REQUESTS = 20;

export interface OpenAsks {
  readonly proposals: readonly OpenProposal[];
  readonly denials: readonly DenialSummary[];
}

/** Of lines of one log, or of several runs after each other. A line that is no event of these kinds is passed over. */
export async function asksFrom(lines: AsyncIterable<string>): Promise<OpenAsks> {
  const proposals = new Map<string, OpenProposal>();
  const denials = new Map<string, DenialSummary>();
  for await (const line of lines) {
    if (!line.includes('"policy_proposal"') && !line.includes('"denials"')) continue;
    // The last line of a log that is still being written, or of a run that was killed, is none.
    const event = parsedJson(line);
    const unmapped = at(event, 'unmapped');
    const id = at(unmapped, 'proposal');
    if (at(unmapped, 'setting') === 'policy_proposal' && typeof id === 'string') {
      if (at(unmapped, 'state') === 'pending') proposals.set(id, proposalOf(event, unmapped, id));
      else proposals.delete(id);
    }
    if (at(event, 'class_uid') === 4001)
      for (const denial of list(at(unmapped, 'denials'))) addDenial(denial, denials);
  }
  return { proposals: [...proposals.values()], denials: [...denials.values()] };
}

function proposalOf(event: unknown, unmapped: unknown, id: string): OpenProposal {
  return {
    id,
    rule: text(at(unmapped, 'rule')),
    binary: text(at(event, 'actor', 'process', 'path')),
    summary: text(at(unmapped, 'summary')),
    // A rule that is not whole may say more than the whole one.
    yaml: at(event, 'metadata', 'is_truncated') === true ? '' : text(at(unmapped, 'yaml')),
    grants: list(at(unmapped, 'grants')).map(text),
    notes: list(at(unmapped, 'notes')).map(text),
  };
}

function addDenial(denial: unknown, denials: Map<string, DenialSummary>): void {
  const [host, port, binary, count] = ['host', 'port', 'binary', 'count'].map((key) => at(denial, key));
  if (
    typeof host !== 'string' ||
    typeof port !== 'number' ||
    typeof binary !== 'string' ||
    typeof count !== 'number'
  )
    return;
  const key = JSON.stringify([host, port, binary]);
  const before = denials.get(key);
  const requests = new Set([...(before?.requests ?? []), ...list(at(denial, 'requests')).map(text)]);
  denials.set(key, {
    host,
    port,
    binary,
    reason: text(at(denial, 'reason')),
    count: (before?.count ?? 0) + count,
    requests: [...requests].slice(0, MAX_REQUESTS),
  });
}

function list(value: unknown): readonly unknown[] {
  return Array.isArray(value) ? value : [];
}

function text(value: unknown): string {
  return typeof value === 'string' ? value : '';
}
