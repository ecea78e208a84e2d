/**
 * Rules to a decision function. A decision costs one look at the name, one at the port, and the rules that name both;
 * how many other rules there are does not matter.
 */
import { CastellanError } from '../errors.ts';
import type { BinaryPattern, Endpoint, NetworkRule } from './document.ts';
import { type InspectedEndpoint, RequestIndex, requestPolicy } from './judge.ts';
import { localPort } from './local-names.ts';
import { type Glob, PATH_GLOB, parseGlob } from './match/glob.ts';
import { canonicalHost, HostIndex, parseHostPattern } from './match/host.ts';
import type { AllowVerdict, DenyReason, DenyVerdict, Query, Verdict } from './verdict.ts';

export interface Decider {
  /**
   * Whether the binary, or what started it, may reach the host on the port. Where several rules match, one that names the
   * host exactly wins over one with a wildcard, that over one without host; among equals the smallest rule name.
   */
  readonly decide: (query: Query) => Verdict;
  /** As compiled. */
  readonly rules: readonly NetworkRule[];
  /** Whether connections to some endpoint are opened, for their requests to be judged or answered here. */
  readonly inspects: boolean;
  /** Whether some rule could allow a connection to the name, whoever asks on whatever port: only such names are resolved. */
  readonly mayName: (host: string) => boolean;
}

/** One endpoint on one port. */
interface Candidate {
  readonly rule: string;
  readonly endpoint: Endpoint;
  readonly exactHost: boolean;
  readonly binaries: BinarySet;
}

interface BinarySet {
  readonly literals: ReadonlySet<string>;
  readonly globs: readonly Glob[];
  /** As written, for messages. */
  readonly patterns: readonly BinaryPattern[];
}

interface Port {
  /** Best first. */
  readonly candidates: Candidate[];
  /** Made when first asked for. */
  requests?: RequestIndex<InspectedCandidate>;
}

type Ports = Map<number, Port>;

/** More would make a message that nobody reads. */
const MAX_LISTED = 3;

/**
 * Compiles the rules of a parsed policy.
 * @throws CastellanError `policy_invalid` for a host or binary pattern that parsePolicy would have refused.
 */
export function compilePolicy(rules: readonly NetworkRule[]): Decider {
  const index = indexRules(rules);
  return {
    decide: ({ host, port, binaries }) => {
      if (rules.length === 0)
        return denial('no_policy', 'the policy has no network rules: nothing may be reached');
      const name = canonicalHost(host);
      if (name === undefined)
        return denial('host_not_listed', `"${host}" is neither a host name nor an IP address`);
      const query = { host: name, port, binaries };
      const tiers = index.find(name);
      return allowed(tiers, query) ?? nearestMiss(tiers, query);
    },
    rules,
    inspects: opensConnections(rules),
    mayName: (host) => {
      const name = canonicalHost(host);
      return name !== undefined && index.find(name).some((tier) => tier.length > 0);
    },
  };
}

/** Whether some endpoint is about requests: those are inspected, or answered by castellan itself. */
export function opensConnections(rules: readonly NetworkRule[]): boolean {
  return rules.some(({ endpoints }) =>
    endpoints.some(({ inspection, host }) => inspection !== undefined || localPort(host) !== undefined),
  );
}

function indexRules(rules: readonly NetworkRule[]): HostIndex<Ports> {
  const index = new HostIndex<Ports>();
  for (const rule of rules.toSorted((a, b) => compareText(a.name, b.name))) {
    const binaries = compileBinaries(rule);
    for (const endpoint of rule.endpoints) {
      const pattern = parseHostPattern(endpoint.host);
      if ('problem' in pattern) throw invalid(rule, `host ${endpoint.host} ${pattern.problem}`);
      const ports = index.entry(pattern, () => new Map());
      const candidate = { rule: rule.name, endpoint, exactHost: pattern.kind === 'exact', binaries };
      for (const port of endpoint.ports) {
        const entry = ports.get(port) ?? { candidates: [] };
        entry.candidates.push(candidate);
        ports.set(port, entry);
      }
    }
  }
  return index;
}

function compileBinaries(rule: NetworkRule): BinarySet {
  const literals = new Set<string>();
  const globs: Glob[] = [];
  for (const { path } of rule.binaries) {
    if (!path.includes('*')) {
      literals.add(path);
      continue;
    }
    const glob = parseGlob(path, PATH_GLOB);
    if ('problem' in glob) throw invalid(rule, `binary ${path}: ${glob.problem}`);
    globs.push(glob);
  }
  return { literals, globs, patterns: rule.binaries };
}

/** The best candidate that matches the whole query; if any endpoint of any tier inspects requests, they are inspected. */
function allowed(tiers: readonly (readonly Ports[])[], { port, binaries }: Query): AllowVerdict | undefined {
  for (const tier of tiers) {
    const best = first(tier, (ports) =>
      ports.get(port)?.candidates.find((each) => matchedBinary(each, binaries) !== undefined),
    );
    if (best === undefined) continue;
    const { rule, endpoint, exactHost } = best;
    return {
      allow: true,
      rule,
      matchedBinary: matchedBinary(best, binaries) ?? '',
      allowedIps: endpoint.allowedIps,
      exactHost,
      protocol: endpoint.protocol,
      requests: requestsOf(tiers.flat(), port, binaries),
    };
  }
  return undefined;
}

function requestsOf(
  found: readonly Ports[],
  port: number,
  binaries: readonly string[],
): AllowVerdict['requests'] {
  const candidates = found.flatMap((ports) => ports.get(port) ?? []);
  const indexes = candidates.map((entry) => {
    entry.requests ??= new RequestIndex(entry.candidates.flatMap(inspectedEndpoint));
    return entry.requests;
  });
  const applies = (candidate: InspectedCandidate): boolean =>
    matchedBinary(candidate, binaries) !== undefined;
  return indexes.some(({ endpoints }) => endpoints.some(applies))
    ? requestPolicy(indexes, applies)
    : undefined;
}

interface InspectedCandidate extends InspectedEndpoint {
  readonly binaries: BinarySet;
}

function inspectedEndpoint({ rule, endpoint, binaries }: Candidate): InspectedCandidate[] {
  const { inspection, protocol } = endpoint;
  if (inspection === undefined || protocol === '' || protocol === 'tcp') return [];
  return [{ rule, endpoint, protocol, inspection, binaries }];
}

/** Why the query failed, told by the candidate that matched most of it. */
function nearestMiss(tiers: readonly (readonly Ports[])[], { host, port, binaries }: Query): DenyVerdict {
  const near = firstOfTiers(tiers, (ports) => ports.get(port)?.candidates[0]);
  if (near !== undefined) {
    const allows = `rule "${near.rule}" allows ${host}:${port} for ${listBinaries(near.binaries)}`;
    const [caller] = binaries;
    if (caller === undefined)
      return denial(
        'identity_unknown',
        `${allows}, but which program asked could not be established`,
        near.rule,
      );
    return denial(
      'binary_not_listed',
      `${allows}, not for ${caller}${binaries.length > 1 ? ' or what started it' : ''}`,
      near.rule,
    );
  }
  // A rule without a host names none, so its other ports are no near miss.
  const otherPort = firstOfTiers(tiers.slice(0, 2), (ports) => ports.values().next().value?.candidates[0]);
  if (otherPort === undefined) return denial('host_not_listed', `no rule names ${host}`);
  const { rule, endpoint } = otherPort;
  const listed = list(endpoint.ports.map(String));
  return denial('port_not_listed', `rule "${rule}" allows ${host} on port ${listed}, not on ${port}`, rule);
}

function firstOfTiers(
  tiers: readonly (readonly Ports[])[],
  pick: (ports: Ports) => Candidate | undefined,
): Candidate | undefined {
  for (const tier of tiers) {
    const found = first(tier, pick);
    if (found !== undefined) return found;
  }
  return undefined;
}

/** The candidate with the smallest rule name among one of each pattern. */
function first(tier: readonly Ports[], pick: (ports: Ports) => Candidate | undefined): Candidate | undefined {
  let best: Candidate | undefined;
  for (const ports of tier) {
    const candidate = pick(ports);
    if (candidate !== undefined && (best === undefined || compareCandidates(candidate, best) < 0))
      best = candidate;
  }
  return best;
}

/** By rule name; within a rule by place in the text, so that the answer does not hang on how the index is walked. */
function compareCandidates(a: Candidate, b: Candidate): number {
  const [here, there] = [a.endpoint.position, b.endpoint.position];
  return compareText(a.rule, b.rule) || here.line - there.line || here.column - there.column;
}

function matchedBinary(
  { binaries: { literals, globs } }: Pick<Candidate, 'binaries'>,
  binaries: readonly string[],
): string | undefined {
  return binaries.find((path) => literals.has(path) || globs.some((glob) => glob.matches(path)));
}

function listBinaries({ patterns }: BinarySet): string {
  return patterns.length === 0 ? 'no binary at all' : list(patterns.map(({ path }) => path));
}

function list(items: readonly string[]): string {
  const more = items.length - MAX_LISTED;
  return items.slice(0, MAX_LISTED).join(', ') + (more > 0 ? ` and ${more} more` : '');
}

function denial(reason: DenyReason, detail: string, nearest?: string): DenyVerdict {
  return { allow: false, reason, detail, nearest };
}

/** By code units: the same on every machine, whatever its locale. */
function compareText(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}

function invalid({ name }: NetworkRule, problem: string): CastellanError {
  return new CastellanError('policy_invalid', `rule ${name}: ${problem}`, { step: 'policy', object: name });
}
