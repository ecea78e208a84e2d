/**
 * Rules to a decision function. A decision costs one look at the name, one at the port, and the rules that name both;
 * how many other rules there are does not matter.
 */
import { CastellanError } from '../errors.ts';
import { opensTls } from './credential-use.ts';
import type { BinaryPattern, Endpoint, NetworkRule } from './document.ts';
import { denial, type InspectedEndpoint, RequestIndex, requestPolicy } from './judge.ts';
import { localPort } from './local-names.ts';
import { type Glob, PATH_GLOB, parseGlob } from './match/glob.ts';
import { canonicalHost, HostIndex, parseHostPattern } from './match/host.ts';
import type { AllowVerdict, DenyVerdict, Query, Verdict } from './verdict.ts';

export interface Decider {
  /**
   * Whether the binary, or what started it, may reach the host on the port. Where several rules match, one that names the
   * host exactly wins over one with a wildcard, that over one without host; among equals the smallest rule name.
   */
  readonly decide: (query: Query) => Verdict;
  /** As compiled, with when that was: rules that had ended by then are over. */
  readonly rules: readonly NetworkRule[];
  readonly now: number;
  /** Whether connections to some endpoint are opened, for their requests to be judged, given credentials, or answered here. */
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
  readonly expires: number | undefined;
  readonly isOver: boolean;
}

/** Contents of which one has to be met; undefined where any will do. */
type Pins = readonly string[] | undefined;

interface BinarySet {
  readonly literals: ReadonlyMap<string, Pins>;
  readonly globs: readonly { readonly glob: Glob; readonly pins: Pins }[];
  /** As written, for messages. */
  readonly patterns: readonly BinaryPattern[];
}

interface Port {
  /** Best first. */
  readonly candidates: Candidate[];
  /** Those that say something about credentials. */
  readonly credentialed: Candidate[];
  /** Made when first asked for. */
  requests?: RequestIndex<InspectedCandidate>;
}

type Ports = Map<number, Port>;

/** More would make a message that nobody reads. */
const MAX_LISTED = 3;
const SHA256_DIGITS = 64;

/**
 * Compiles the rules of a parsed policy, as they are at `now` (milliseconds since the epoch); to who does not say when it is,
 * every rule that ends is over.
 * @throws CastellanError `policy_invalid` for a host or binary pattern that parsePolicy would have refused.
 */
export function compilePolicy(rules: readonly NetworkRule[], now = Number.POSITIVE_INFINITY): Decider {
  const index = indexRules(rules, now);
  return {
    decide: ({ host, port, binaries, hashes = [] }) => {
      if (rules.length === 0)
        return denial('no_policy', 'the policy has no network rules: nothing may be reached');
      const name = canonicalHost(host);
      if (name === undefined)
        return denial('host_not_listed', `"${host}" is neither a host name nor an IP address`);
      const query = { host: name, port, binaries, hashes };
      const tiers = index.find(name);
      return allowed(tiers, query) ?? nearestMiss(tiers, query);
    },
    rules,
    now,
    inspects: opensConnections(rules),
    mayName: (host) => {
      const name = canonicalHost(host);
      return name !== undefined && index.find(name).some((tier) => tier.some(hasLive));
    },
  };
}

function hasLive(ports: Ports): boolean {
  return [...ports.values()].some(({ candidates }) => candidates.some(isLive));
}

/** Whether some endpoint is about requests: those are inspected, given credentials, or answered by castellan itself. */
export function opensConnections(rules: readonly NetworkRule[]): boolean {
  return rules.some(({ endpoints }) =>
    endpoints.some((each) => opensTls(each) || localPort(each.host) !== undefined),
  );
}

function indexRules(rules: readonly NetworkRule[], now: number): HostIndex<Ports> {
  const index = new HostIndex<Ports>();
  for (const rule of rules.toSorted((a, b) => compareText(a.name, b.name))) {
    const binaries = compileBinaries(rule);
    const { expires } = rule;
    const isOver = expires !== undefined && expires <= now;
    for (const endpoint of rule.endpoints) {
      const pattern = parseHostPattern(endpoint.host);
      if ('problem' in pattern) throw invalid(rule, `host ${endpoint.host} ${pattern.problem}`);
      const ports = index.entry(pattern, () => new Map());
      const exactHost = pattern.kind === 'exact';
      const candidate = { rule: rule.name, endpoint, exactHost, binaries, expires, isOver };
      for (const port of endpoint.ports) {
        const entry = ports.get(port) ?? { candidates: [], credentialed: [] };
        entry.candidates.push(candidate);
        if (endpoint.credentials !== undefined) entry.credentialed.push(candidate);
        ports.set(port, entry);
      }
    }
  }
  return index;
}

function compileBinaries(rule: NetworkRule): BinarySet {
  const literals = new Map<string, Pins>();
  const globs: { glob: Glob; pins: Pins }[] = [];
  for (const { path, sha256: pins } of rule.binaries) {
    if (!path.includes('*')) {
      const before = literals.has(path) ? literals.get(path) : [];
      literals.set(path, before && pins && [...before, ...pins]);
      continue;
    }
    const glob = parseGlob(path, PATH_GLOB);
    if ('problem' in glob) throw invalid(rule, `binary ${path}: ${glob.problem}`);
    globs.push({ glob, pins });
  }
  return { literals, globs, patterns: rule.binaries };
}

/** The best candidate that matches the whole query; if any endpoint of any tier inspects requests, they are inspected. */
function allowed(tiers: readonly (readonly Ports[])[], query: Query): AllowVerdict | undefined {
  const { port } = query;
  for (const tier of tiers) {
    const best = first(tier, (ports) =>
      ports.get(port)?.candidates.find((each) => !each.isOver && matchedBinary(each, query) !== undefined),
    );
    if (best === undefined) continue;
    const { rule, endpoint, exactHost } = best;
    const all = tiers.flat();
    return {
      allow: true,
      rule,
      matchedBinary: matchedBinary(best, query) ?? '',
      allowedIps: endpoint.allowedIps,
      exactHost,
      protocol: endpoint.protocol,
      requests: requestsOf(all, query),
      tlsAuthority: tlsAuthorityOf(tiers, query),
      allowsEncryptedHello: endpoint.allowsEncryptedHello === true,
      credentials: credentialsOf(all, query),
      skipsTls: endpoint.skipsTls || endpoint.protocol === 'tcp' || undefined,
    };
  }
  return undefined;
}

/** Of the closest host that is inspected for the program, by rules that are over too; among equals all agree, the parser has seen to it. */
function tlsAuthorityOf(tiers: readonly (readonly Ports[])[], query: Query): AllowVerdict['tlsAuthority'] {
  for (const tier of tiers)
    for (const ports of tier)
      for (const each of ports.get(query.port)?.candidates ?? [])
        if (isInspecting(each, query)) return each.endpoint.tlsAuthority;
  return undefined;
}

function isInspecting(candidate: Candidate, query: Query): boolean {
  return candidate.endpoint.inspection !== undefined && matchedBinary(candidate, query) !== undefined;
}

function requestsOf(found: readonly Ports[], query: Query): AllowVerdict['requests'] {
  const candidates = found.flatMap((ports) => ports.get(query.port) ?? []);
  const indexes = candidates.map((entry) => {
    entry.requests ??= new RequestIndex(entry.candidates.flatMap(inspectedEndpoint));
    return entry.requests;
  });
  const applies = (candidate: InspectedCandidate): boolean => matchedBinary(candidate, query) !== undefined;
  return indexes.some(({ endpoints }) => endpoints.some(applies))
    ? requestPolicy(indexes, applies)
    : undefined;
}

/** Endpoints that can meet have been seen to agree. */
function credentialsOf(found: readonly Ports[], query: Query): AllowVerdict['credentials'] {
  const candidates = found.flatMap((ports) => ports.get(query.port)?.credentialed ?? []);
  const applies = (each: Candidate): boolean => !each.isOver && matchedBinary(each, query) !== undefined;
  return candidates.find(applies)?.endpoint.credentials;
}

interface InspectedCandidate extends InspectedEndpoint {
  readonly binaries: BinarySet;
}

function inspectedEndpoint({ rule, endpoint, binaries, isOver }: Candidate): InspectedCandidate[] {
  const { inspection, protocol } = endpoint;
  if (inspection === undefined || protocol === '' || protocol === 'tcp') return [];
  return [{ rule, endpoint, protocol, inspection, binaries, isOver }];
}

/** Why the query failed, told by the candidate that matched most of it. */
function nearestMiss(tiers: readonly (readonly Ports[])[], query: Query): DenyVerdict {
  const { host, port, binaries } = query;
  const over = firstOfTiers(tiers, (ports) =>
    ports.get(port)?.candidates.find((each) => each.isOver && matchedBinary(each, query) !== undefined),
  );
  if (over !== undefined) {
    const until = new Date(over.expires ?? 0).toISOString();
    return denial('rule_expired', `rule "${over.rule}" allowed ${host}:${port} until ${until}`, over.rule);
  }
  const pinned = firstOfTiers(tiers, (ports) =>
    ports.get(port)?.candidates.find((each) => isLive(each) && unmetPin(each, query) !== undefined),
  );
  const unmet = pinned && unmetPin(pinned, query);
  if (unmet !== undefined)
    return denial('binary_hash_differs', `rule "${pinned?.rule}" pins ${unmet}`, pinned?.rule);
  const near = firstOfTiers(tiers, (ports) => ports.get(port)?.candidates.find(isLive));
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
  const otherPort = firstOfTiers(tiers.slice(0, 2), (ports) =>
    [...ports.values()].flatMap(({ candidates }) => candidates).find(isLive),
  );
  if (otherPort === undefined) return denial('host_not_listed', `no rule names ${host}`);
  const { rule, endpoint } = otherPort;
  const listed = list(endpoint.ports.map(String));
  return denial('port_not_listed', `rule "${rule}" allows ${host} on port ${listed}, not on ${port}`, rule);
}

function isLive({ isOver }: Candidate): boolean {
  return !isOver;
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

type Caller = Pick<Query, 'binaries' | 'hashes'>;

/** The first of the caller's programs that is listed, with a content that the rule takes. */
function matchedBinary({ binaries: set }: Pick<Candidate, 'binaries'>, caller: Caller): string | undefined {
  return caller.binaries.find((path, index) => {
    const hash = caller.hashes?.[index];
    const isMet = (pins: Pins): boolean => pins === undefined || (hash !== undefined && pins.includes(hash));
    return pinsOf(set, path).some(isMet);
  });
}

/** Of each pattern that the path matches. */
function pinsOf({ literals, globs }: BinarySet, path: string): Pins[] {
  const literal = literals.has(path) ? [literals.get(path)] : [];
  if (globs.length === 0) return literal;
  return [...literal, ...globs.filter(({ glob }) => glob.matches(path)).map(({ pins }) => pins)];
}

/** The first of the caller's programs that is listed with other contents only, and which they are, for a person. */
function unmetPin({ binaries: set }: Candidate, { binaries, hashes = [] }: Caller): string | undefined {
  for (const [index, path] of binaries.entries()) {
    const pins = pinsOf(set, path).flatMap((each) => each ?? []);
    if (pins.length === 0) continue;
    const hash = hashes[index];
    const found =
      hash?.length === SHA256_DIGITS ? `what asked has ${hash}` : 'that of what asked is not known';
    return `${path} to sha256 ${list(pins)}; ${found}`;
  }
  return undefined;
}

function listBinaries({ patterns }: BinarySet): string {
  return patterns.length === 0 ? 'no binary at all' : list(patterns.map(({ path }) => path));
}

function list(items: readonly string[]): string {
  const more = items.length - MAX_LISTED;
  return items.slice(0, MAX_LISTED).join(', ') + (more > 0 ? ` and ${more} more` : '');
}

/** By code units: the same on every machine, whatever its locale. */
function compareText(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}

function invalid({ name }: NetworkRule, problem: string): CastellanError {
  return new CastellanError('policy_invalid', `rule ${name}: ${problem}`, { step: 'policy', object: name });
}
