/** Facts as the log has them, read back as observations. */
import type { AuditFact } from '../../../../src/audit/event.ts';
import { type ReadRecord, readObservation } from '../../../../src/audit/observation.ts';
import { toOcsf } from '../../../../src/audit/ocsf/to-ocsf.ts';
import { readTarget } from '../../../../src/egress/inspect/path.ts';
import type { Identity, Intent, RequestLine } from '../../../../src/egress/stages.ts';
import { createLearner, type LearnOptions } from '../../../../src/policy/learn/learn.ts';
import type { Observation } from '../../../../src/policy/learn/observation.ts';
import { parsePolicy } from '../../../../src/policy/parse.ts';
import type { RequestNames } from '../../../../src/policy/request-names.ts';
import { CONTEXT, IDENTITY, INTENT } from '../../audit/facts.ts';

/** In nobody's registry of special addresses. */
export const PUBLIC = '93.184.215.14';
export const CURL = '/usr/bin/curl';

export function who(executable = CURL, ancestors: readonly string[] = []): Identity {
  return { ...IDENTITY, executable, ancestors };
}

export function to(destination: string, http?: Partial<RequestLine>): Intent {
  const [host = '', port = '443'] = destination.split(' ');
  const line = http && { http: { method: 'GET', path: '/', scheme: 'https', ...http } as const };
  return { ...INTENT, host, port: Number(port), ...line };
}

/** A connection that nobody looked into. */
export function connection(destination: string, executable?: string, address = PUBLIC): AuditFact {
  return {
    kind: 'connection-allowed',
    intent: to(destination),
    identity: who(executable),
    rule: 'r',
    address,
  };
}

/** `METHOD /path`, as the protocol of `names` read it. */
export function request(
  destination: string,
  line: string,
  names: RequestNames = { protocol: 'rest' },
  executable?: string,
): AuditFact {
  const [method = '', path = ''] = line.split(' ');
  const intent = to(destination, { method, path, inspected: names });
  return { kind: 'connection-allowed', intent, identity: who(executable), rule: 'r', address: PUBLIC };
}

/** The same, that no rule allows: it passes only by audit, or is refused. */
export function missing(
  kind: 'request-violation' | 'connection-denied',
  of: AuditFact,
  reason = 'request_not_listed',
) {
  if (of.kind !== 'connection-allowed') throw new TypeError('not of this kind');
  const { intent, identity } = of;
  return { kind, intent, identity, reason, detail: 'x', rule: 'r' } as AuditFact;
}

/** A message over a WebSocket. */
export function message(
  destination: string,
  path: string,
  names: RequestNames,
  executable?: string,
): AuditFact {
  const intent = to(destination, { path, inspected: names });
  if (intent.http === undefined) throw new TypeError('is a request');
  return {
    kind: 'message-allowed',
    intent: { ...intent, http: intent.http },
    identity: who(executable),
    rule: 'r',
  };
}

export function read(record: unknown): ReadRecord {
  return readObservation(record, (path) => {
    const target = readTarget(path, { encodedSlash: true });
    return target.ok ? { readings: target.path.allow, encodedSlash: target.hasEncodedSlash } : undefined;
  });
}

export function recordsOf(facts: readonly AuditFact[]): unknown[] {
  let sequence = 0;
  const next = () => ({ time: 1_795_460_536_928 + sequence * 1000, sequence: sequence++ });
  // As a reader of the file has them.
  return facts.flatMap((fact) => JSON.parse(JSON.stringify(toOcsf(fact, next, CONTEXT))));
}

export function observationsOf(facts: readonly AuditFact[]): Observation[] {
  return recordsOf(facts)
    .map(read)
    .filter((each) => each !== 'nothing' && each !== 'unusable');
}

export function learned(facts: readonly AuditFact[], options: Partial<LearnOptions> = {}): string {
  const learner = createLearner({ base: undefined, exact: false, includeDenied: false, ...options });
  for (const observation of observationsOf(facts)) learner.add(observation);
  return learner.finish();
}

/** Without comments, and in one line for each endpoint and rule. */
export function rulesIn(text: string): string[] {
  return parsePolicy(text, 'learned').network.flatMap(({ endpoints, binaries }) =>
    endpoints.map(({ host, ports, protocol, inspection, allowedIps }) => {
      const programs = binaries.map(({ path }) => path).join();
      const what = (inspection?.allow ?? []).map((pattern) => {
        if (pattern.kind === 'http') return `${pattern.method} ${pattern.path}`;
        if (pattern.kind === 'graphql') return `${pattern.operationType} {${pattern.fields}}`;
        return [pattern.method, ...pattern.tool].join(' ');
      });
      const where = [protocol, inspection?.path, allowedIps.length === 0 ? '' : `at ${allowedIps}`];
      return [`${programs} -> ${host}:${ports}`, ...where.filter(Boolean), ...what].join(' | ');
    }),
  );
}
