/** The policy that what is learned is to be added to. */
import { compilePolicy, type Decider } from '../compile.ts';
import type { Endpoint, Inspection, NetworkRule } from '../document.ts';
import { specificity } from '../judge.ts';
import { globsOverlap, PATH_GLOB } from '../match/glob.ts';
import { hostPatternsOverlap, parseHostPattern } from '../match/host.ts';
import type { BodyFacts } from '../request.ts';
import type { Observation, ObservedRequest } from './observation.ts';
import { passes } from './replay.ts';

export interface Baseline {
  readonly names: ReadonlySet<string>;
  /** Whether nothing has to be added for it. */
  allows(observation: Observation): boolean;
  /** What endpoints for one destination have to agree on, as keys of the language. */
  inherited(
    host: string,
    port: number,
    endpoint: { readonly protocol?: string; readonly path?: string },
  ): Readonly<Record<string, unknown>>;
}

export function createBaseline(rules: readonly NetworkRule[]): Baseline {
  // What has ended was limited on purpose, and is not to come back without end.
  const ever = Number.NEGATIVE_INFINITY;
  const strict = compilePolicy(rules, ever);
  // The log has no queries and no arguments: where a rule asks for some, what was allowed had them.
  const loose = compilePolicy(rules.map(withoutConditions), ever);
  const endpoints = rules.flatMap((rule) => rule.endpoints);
  return {
    names: new Set(rules.map(({ name }) => name)),
    allows: (observation) => allowedBy(observation.outcome === 'allowed' ? loose : strict, observation),
    inherited(host, port, wanted) {
      const here = endpoints.filter((each) => each.ports.includes(port) && overlaps(each.host, host));
      const [first] = here;
      if (first === undefined) return {};
      const alike = here.find((each) => agrees(each, wanted))?.inspection;
      return {
        ...(wanted.protocol === undefined &&
          here.some(({ protocol }) => protocol === 'tcp') && { protocol: 'tcp' }),
        ...(first.allowedIps.length > 0 && { allowed_ips: first.allowedIps }),
        ...(alike && inheritedKeys(alike, wanted.protocol)),
      };
    },
  };
}

function allowedBy(decider: Decider, { host, port, binaries, request }: Observation): boolean {
  const verdict = decider.decide({ host, port, binaries });
  if (!verdict.allow) return false;
  if (request === undefined || verdict.requests === undefined) return true;
  const { method, path, names } = request;
  const { readings } = path;
  return passes(verdict.requests, { method, readings, protocol: names.protocol, body: bodyOf(request) });
}

/** What it asks for, as it would be judged. */
export function bodyOf({ names }: ObservedRequest): BodyFacts {
  const { protocol, operations = [], calls = [], text } = names;
  if (operations.length > 0)
    return { kind: 'graphql', operations, ...(protocol === 'websocket' && { asText: true }) };
  if (text) return { kind: 'websocket-text' };
  if (protocol !== 'json-rpc' && protocol !== 'mcp') return { kind: 'uninspected' };
  return {
    kind: protocol,
    calls: calls.map(({ method, tool }) => ({ method, role: 'call', tool, parameters: undefined })),
  };
}

function withoutConditions(rule: NetworkRule): NetworkRule {
  return {
    ...rule,
    endpoints: rule.endpoints.map((endpoint) => {
      const { inspection } = endpoint;
      if (inspection === undefined) return endpoint;
      const allow = inspection.allow.map((pattern) => {
        if (pattern.kind === 'http') return { ...pattern, query: [] };
        return pattern.kind === 'rpc' ? { ...pattern, arguments: [] } : pattern;
      });
      return { ...endpoint, inspection: { ...inspection, allow } };
    }),
  };
}

function overlaps(pattern: string, host: string): boolean {
  const [a, b] = [parseHostPattern(pattern), parseHostPattern(host)];
  return !('problem' in a) && !('problem' in b) && hostPatternsOverlap(a, b);
}

function agrees(
  { protocol, inspection }: Endpoint,
  wanted: { readonly protocol?: string; readonly path?: string },
): boolean {
  if (inspection === undefined || protocol !== wanted.protocol) return false;
  return (
    specificity(inspection) === specificity({ path: wanted.path }) &&
    globsOverlap(inspection.path ?? '**', wanted.path ?? '**', PATH_GLOB)
  );
}

function inheritedKeys(
  { enforcement, allowEncodedSlash, maxBodyBytes, strictToolNames, allowKnownMethods }: Inspection,
  protocol: string | undefined,
): Readonly<Record<string, unknown>> {
  return {
    enforcement,
    ...(allowEncodedSlash && { allow_encoded_slash: true }),
    ...(protocol === 'graphql' && { graphql_max_body_bytes: maxBodyBytes }),
    ...(protocol === 'json-rpc' && { json_rpc: { max_body_bytes: maxBodyBytes } }),
    ...(protocol === 'mcp' && {
      mcp: {
        max_body_bytes: maxBodyBytes,
        strict_tool_names: strictToolNames,
        allow_all_known_mcp_methods: allowKnownMethods,
      },
    }),
  };
}
