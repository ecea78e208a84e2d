/**
 * Endpoints that one connection or request can match at once have to agree on how it is treated: otherwise the answer would
 * hang on the names of rules. Such a policy is refused at load.
 */
import type { Endpoint, Inspection, NetworkRule } from './document.ts';
import { speaksGraphql, specificity } from './judge.ts';
import { globsOverlap, PATH_GLOB } from './match/glob.ts';
import { type HostPattern, hostPatternsOverlap, parseHostPattern } from './match/host.ts';
import { type Findings, MAX_PROBLEMS, notice, quote, refuse } from './source/findings.ts';

/** An endpoint with what every comparison needs of it, worked out once. */
interface Placed {
  readonly rule: string;
  readonly endpoint: Endpoint;
  readonly pattern: HostPattern;
  readonly addresses: string;
  readonly persistedQueries: string;
  readonly programs: Programs;
  readonly credentials: string | undefined;
}

/** Paths of a rule's binaries by whether their content matters. */
interface Programs {
  readonly pinned: readonly string[];
  readonly open: ReadonlySet<string>;
}

/** Notes every pair that cannot stand together, at the place of the later one. */
export function checkAmbiguity(rules: readonly NetworkRule[], findings: Findings): void {
  const placed = rules.flatMap(({ name, endpoints, binaries }) => {
    const programs = programsOf(binaries);
    return endpoints.flatMap((endpoint) => place(name, endpoint, programs));
  });
  for (const group of comparable(placed)) {
    for (const [index, later] of group.entries()) {
      for (const earlier of group.slice(0, index)) {
        if (findings.problems.length >= MAX_PROBLEMS) return;
        if (meet(earlier, later)) compare(earlier, later, findings);
      }
    }
  }
}

function programsOf(binaries: NetworkRule['binaries']): Programs {
  const [open, pinned] = [true, false].map((isOpen) =>
    binaries.filter(({ sha256 }) => (sha256 === undefined) === isOpen).map(({ path }) => path),
  );
  return { pinned: pinned ?? [], open: new Set(open) };
}

function place(rule: string, endpoint: Endpoint, programs: Programs): Placed[] {
  const pattern = parseHostPattern(endpoint.host);
  if ('problem' in pattern) return [];
  return [
    {
      rule,
      endpoint,
      pattern,
      programs,
      addresses: endpoint.allowedIps.toSorted().join(),
      persistedQueries: JSON.stringify(endpoint.inspection?.persistedQueries),
      credentials: endpoint.credentials && JSON.stringify(endpoint.credentials),
    },
  ];
}

/** Only endpoints of one group can meet: those of one exact host, and wildcards that end in the same two labels. */
function comparable(placed: readonly Placed[]): Placed[][] {
  const groups = Map.groupBy(placed, ({ endpoint: { host } }) => (host.includes('*') ? ending(host) : host));
  // Where the last label but one is a star itself, it meets all that share the last.
  for (const [key, members] of groups)
    if (key.startsWith('**.'))
      for (const [other, others] of groups)
        if (other !== key && other.startsWith('*.') && other.endsWith(key.slice(2))) others.push(...members);
  return [...groups.values()];
}

function ending(host: string): string {
  return `*.${host.split('.').slice(-2).join('.')}`.replace(/^\*\.\*/, '**');
}

function meet(a: Placed, b: Placed): boolean {
  return (
    a.endpoint.ports.some((port) => b.endpoint.ports.includes(port)) &&
    hostPatternsOverlap(a.pattern, b.pattern)
  );
}

function compare(earlier: Placed, later: Placed, findings: Findings): void {
  const { endpoint: a } = earlier;
  const { endpoint: b } = later;
  const [tcpA, tcpB] = [a.protocol === 'tcp', b.protocol === 'tcp'];
  if (tcpA !== tcpB) clash(earlier, later, 'whether the connection is raw TCP (protocol)', findings);
  else if (earlier.addresses !== later.addresses)
    clash(earlier, later, 'the addresses it may lead to (allowed_ips)', findings);
  comparePins(earlier, later, findings);
  comparePins(later, earlier, findings);
  const [one, other] = [a.inspection, b.inspection];
  if (credentialsClash(earlier, later)) clash(earlier, later, 'how credentials are used', findings);
  if (one !== undefined && other !== undefined) {
    // A connection is verified once, whatever the paths of its requests.
    if (a.tlsAuthority?.digest !== b.tlsAuthority?.digest)
      clash(earlier, later, 'whom it has to be certified by (tls_authority)', findings);
    // Whether paths meet costs far more to find out, and most endpoints agree.
    const difference = differing(earlier, one, later, other);
    if (difference !== undefined && pathsMeet(one, other)) clash(earlier, later, difference, findings);
  } else if (one !== other)
    notice(
      findings,
      b.position,
      `rules ${quote(earlier.rule)} and ${quote(later.rule)} name the same destination and only one inspects: all its requests are inspected`,
    );
  else if (a.allowsEncryptedHello !== b.allowsEncryptedHello)
    clash(earlier, later, 'allow_encrypted_client_hello', findings);
}

/** Rules add up, so that a pin holds only where no other rule lets the same program pass without one. */
function comparePins(pinning: Placed, open: Placed, findings: Findings): void {
  const path = pinning.programs.pinned.find((each) => open.programs.open.has(each));
  if (path !== undefined)
    notice(
      findings,
      pinning.endpoint.position,
      `the sha256 of ${quote(path)} in rule ${quote(pinning.rule)} does not hold here: rule ${quote(open.rule)} names the same destination, and takes any content of it`,
    );
}

/**
 * What an endpoint without inspection says is about every request of its connections; what one with inspection says, only about
 * requests that are routed to it, and these are compared with the rest.
 */
function credentialsClash(a: Placed, b: Placed): boolean {
  if (a.credentials === b.credentials) return false;
  if (a.endpoint.inspection !== undefined && b.endpoint.inspection !== undefined) return false;
  const open = a.endpoint.inspection === undefined ? a : b;
  const other = open === a ? b : a;
  return (
    open.credentials !== undefined &&
    (other.credentials !== undefined || other.endpoint.inspection !== undefined)
  );
}

/** Of two paths the more specific one decides; only equals have to agree. */
function pathsMeet(a: Inspection, b: Inspection): boolean {
  if (specificity(a) !== specificity(b)) return false;
  return globsOverlap(a.path ?? '**', b.path ?? '**', PATH_GLOB);
}

/** What a request of both would have to be, as the key of the policy names it. */
function differing(a: Placed, one: Inspection, b: Placed, other: Inspection): string | undefined {
  if (a.endpoint.protocol !== b.endpoint.protocol) return 'how requests are read (protocol)';
  if (one.enforcement !== other.enforcement) return 'what a violation leads to (enforcement)';
  if (one.allowEncodedSlash !== other.allowEncodedSlash) return 'allow_encoded_slash';
  if (one.maxBodyBytes !== other.maxBodyBytes) return 'the limit of bodies';
  if (one.strictToolNames !== other.strictToolNames) return 'strict_tool_names';
  if (a.endpoint.protocol === 'websocket' && speaksGraphql(one) !== speaksGraphql(other))
    return 'whether the WebSocket carries operations of GraphQL';
  if (a.persistedQueries !== b.persistedQueries) return 'the persisted queries';
  if (a.credentials !== b.credentials) return 'how credentials are used';
  return undefined;
}

function clash(earlier: Placed, later: Placed, what: string, findings: Findings): void {
  const { line } = earlier.endpoint.position;
  refuse(
    findings,
    later.endpoint.position,
    `an endpoint of rule ${quote(later.rule)} and one of rule ${quote(earlier.rule)} (line ${line}) can match the same request and differ in ${what}`,
  );
}
