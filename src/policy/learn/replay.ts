/** What was learned from, asked of the policy that was learned. */
import { compilePolicy } from '../compile.ts';
import type { NetworkRule } from '../document.ts';
import type { RequestPolicy } from '../judge.ts';
import type { BodyFacts } from '../request.ts';
import type { Bodies, Cell } from './table.ts';

/** How many of the things that were seen the rules do not allow. */
export function countRefused(cells: Iterable<Cell>, rules: readonly NetworkRule[]): number {
  const { decide } = compilePolicy(rules, Number.NEGATIVE_INFINITY);
  let refused = 0;
  for (const cell of cells) {
    const { host, port, binary } = cell;
    const verdict = decide({ host, port, binaries: [binary] });
    const seen = requestsIn(cell);
    if (!verdict.allow) refused += Math.max(seen.length, 1);
    else if (verdict.requests !== undefined) {
      const { requests } = verdict;
      refused += seen.filter((request) => !passes(requests, request)).length;
    }
  }
  return refused;
}

export interface Seen {
  readonly method: string;
  /** Of its path. */
  readonly readings: readonly string[];
  readonly protocol: string;
  readonly body: BodyFacts;
}

function requestsIn({ rest, bodies }: Cell): Seen[] {
  const plain = [...rest].flatMap(([method, paths]) =>
    [...paths].map(
      (path): Seen => ({ method, readings: [path], protocol: 'rest', body: { kind: 'uninspected' } }),
    ),
  );
  return [...plain, ...[...bodies.values()].flatMap(bodiesSeen)];
}

function bodiesSeen({ protocol, path, fields, methods, tools, opened, text }: Bodies): Seen[] {
  const seen = (body: BodyFacts): Seen => ({
    method: opened ? 'GET' : 'POST',
    readings: [path],
    protocol,
    body,
  });
  const call = (method: string, tool?: string) =>
    seen({ kind: 'mcp', calls: [{ method, role: 'call', tool, parameters: undefined }] });
  return [
    ...(opened ? [seen({ kind: 'uninspected' })] : []),
    ...(text ? [seen({ kind: 'websocket-text' })] : []),
    ...[...fields].map(([type, names]) =>
      seen({
        kind: 'graphql',
        operations: [{ type, name: '', fields: [...names] }],
        ...(opened && { asText: true }),
      }),
    ),
    ...[...methods].map((method) => call(method)),
    ...[...tools].map((tool) => call('tools/call', tool)),
  ];
}

/** Allowed, and without a violation. */
export function passes(requests: RequestPolicy, { method, readings, protocol, body }: Seen): boolean {
  const route = requests.route({ allow: readings, deny: readings });
  if (!('judge' in route) || route.protocol !== protocol) return false;
  const judged = route.judge({ method, query: [], body });
  return judged.allow && judged.violation === undefined;
}
