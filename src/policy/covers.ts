/**
 * Whether rules allow all that one more rule would: then whoever asked for it can try again. The answer is no where that would
 * take more than a look at each endpoint to tell.
 */
import type { BinaryPattern, Endpoint, Inspection, NetworkRule, RequestPattern } from './document.ts';
import { isAboutTools, specificity } from './judge.ts';
import { contains, parseAddress, parseBlock } from './match/address.ts';
import { globsOverlap, PATH_GLOB, parseGlob } from './match/glob.ts';
import { hostPatternsOverlap, parseHostPattern } from './match/host.ts';

/**
 * A yes holds for every program of the rule by itself; what started a program may bring in rules that inspect more. It says
 * nothing of whom origins have to be certified by, and holds at `now` (milliseconds since the epoch), as compilePolicy has it.
 */
export function covers(
  rules: readonly NetworkRule[],
  wanted: NetworkRule,
  now = Number.POSITIVE_INFINITY,
): boolean {
  const live = rules.filter(({ expires }) => expires === undefined || expires > now);
  return wanted.binaries.every((binary) =>
    wanted.endpoints.every((endpoint) =>
      endpoint.ports.every(
        (port) =>
          isInspectedBy(wanted, endpoint, port) || coversEndpoint({ rules, live }, endpoint, port, binary),
      ),
    ),
  );
}

/** Where the rule inspects itself what one of its endpoints leaves alone, the endpoint that inspects speaks for both. */
function isInspectedBy({ endpoints }: NetworkRule, { host, inspection }: Endpoint, port: number): boolean {
  return (
    inspection === undefined &&
    endpoints.some(
      (each) => each.inspection !== undefined && each.ports.includes(port) && hostWithin(host, each.host),
    )
  );
}

interface Present {
  readonly rules: readonly NetworkRule[];
  /** Those that are not over: the others grant nothing, and inspect and refuse as before. */
  readonly live: readonly NetworkRule[];
}

function coversEndpoint(
  { rules, live }: Present,
  wanted: Endpoint,
  port: number,
  binary: BinaryPattern,
): boolean {
  const onPort = ({ ports }: Endpoint): boolean => ports.includes(port);
  // All that some connection of the wanted endpoint could meet: each has a say in how it is treated.
  const meeting = rules
    .filter(({ binaries }) => binaries.some(({ path }) => binariesMeet(path, binary.path)))
    .flatMap(({ endpoints }) => endpoints)
    .filter((each) => onPort(each) && hostsMeet(each.host, wanted.host));
  if (!meeting.every((each) => sameAddresses(each, wanted))) return false;
  const whole = live
    .filter(({ binaries }) => binaries.some((each) => binaryWithin(binary, each)))
    .flatMap(({ endpoints }) => endpoints)
    .filter((each) => onPort(each) && hostWithin(wanted.host, each.host));
  const inspecting = meeting.flatMap(({ inspection, protocol }) =>
    inspection ? [{ inspection, protocol }] : [],
  );
  if (inspecting.length === 0) return whole.length > 0 && meeting.every((each) => isAsOpen(each, wanted));
  const { inspection, protocol } = wanted;
  if (inspection === undefined) return false;
  const about = whole
    .flatMap((each) => each.inspection ?? [])
    .filter(({ path }) => path === undefined || path === inspection.path);
  // The most specific endpoint for a path decides how it is read: none that is less specific than one for this very path.
  const least = Math.min(specificity(inspection), ...about.map(specificity));
  return (
    inspecting.every(
      (each) =>
        each.protocol === protocol &&
        (specificity(each.inspection) < least || isAsWide(each.inspection, inspection)) &&
        (each.inspection.deny.length === 0 || sameDeny(each.inspection, inspection)),
    ) &&
    allowsAll(about, inspection) &&
    !narrowsTools(
      inspecting.map((each) => each.inspection),
      inspection,
    )
  );
}

/** What is inspected no more can be anything; raw TCP is no more than that where it was asked for. */
function isAsOpen(found: Endpoint, wanted: Endpoint): boolean {
  if (wanted.allowsEncryptedHello && !found.allowsEncryptedHello) return false;
  return wanted.protocol === 'tcp' ? found.protocol === 'tcp' : found.protocol === '';
}

/** The same limits, or wider ones. */
function isAsWide(found: Inspection, wanted: Inspection): boolean {
  return (
    (found.enforcement === wanted.enforcement || found.enforcement === 'audit') &&
    (found.allowEncodedSlash || !wanted.allowEncodedSlash) &&
    found.maxBodyBytes >= wanted.maxBodyBytes &&
    (!found.strictToolNames || wanted.strictToolNames) &&
    JSON.stringify(found.persistedQueries) === JSON.stringify(wanted.persistedQueries)
  );
}

/** A request that the wanted rule itself refuses need not pass. */
function sameDeny(found: Inspection, wanted: Inspection): boolean {
  const refused = new Set(wanted.deny.map(textOf));
  return found.path === wanted.path && found.deny.every((pattern) => refused.has(textOf(pattern)));
}

function allowsAll(found: readonly Inspection[], wanted: Inspection): boolean {
  if (wanted.allowKnownMethods && !found.some(({ allowKnownMethods }) => allowKnownMethods)) return false;
  const patterns = found.flatMap(({ allow }) => allow);
  return wanted.allow.every((pattern) => patterns.some((each) => includes(each, pattern)));
}

/** Rules that are over do too. */
function narrowsTools(meeting: readonly Inspection[], wanted: Inspection): boolean {
  const isNarrow = ({ allow }: Inspection): boolean => allow.some(isAboutTools);
  return wanted.allowKnownMethods && meeting.some(isNarrow) && !isNarrow(wanted);
}

/** The same pattern; or for HTTP one of the same or any method, whose path takes in the other's, and that asks nothing of the query. */
function includes(found: RequestPattern, wanted: RequestPattern): boolean {
  if (textOf(found) === textOf(wanted)) return true;
  if (found.kind !== 'http' || wanted.kind !== 'http' || found.query.length > 0) return false;
  const method =
    found.method === '*' ||
    found.method === wanted.method ||
    (found.method === 'GET' && wanted.method === 'HEAD');
  return method && within(wanted.path ?? '**', found.path ?? '**');
}

/** Without its place in the text. */
function textOf({ position: _, ...pattern }: RequestPattern): string {
  return JSON.stringify(pattern);
}

/** Whether one path pattern, of files or of URLs, matches nothing that the other does not. */
function within(inner: string, outer: string): boolean {
  if (outer === '**' || inner === outer) return true;
  const directory = /^[^*?[\]{}\\]*(?=\/\*\*$)/.exec(outer)?.[0];
  // Braces and dots may lead out of what a pattern begins with; a plain beginning does not.
  if (directory !== undefined && /^[A-Za-z0-9_*/-]*$/.test(inner)) return inner.startsWith(`${directory}/`);
  if (/[*?[\]{}\\]/.test(inner)) return false;
  const glob = parseGlob(outer, PATH_GLOB);
  return !('problem' in glob) && glob.matches(inner);
}

/** Binaries without a star are no patterns, whatever else is in them. */
function binaryWithin(inner: BinaryPattern, outer: BinaryPattern): boolean {
  const { sha256: pins } = outer;
  if (pins !== undefined && !inner.sha256?.every((pin) => pins.includes(pin))) return false;
  return inner.path === outer.path || (outer.path.includes('*') && within(inner.path, outer.path));
}

function binariesMeet(one: string, other: string): boolean {
  if (one === other) return true;
  if (one.includes('*') && other.includes('*')) return globsOverlap(one, other, PATH_GLOB);
  const [pattern, path] = one.includes('*') ? [one, other] : [other, one];
  const glob = pattern.includes('*') ? parseGlob(pattern, PATH_GLOB) : undefined;
  return glob !== undefined && ('problem' in glob || glob.matches(path));
}

/** Whether some host is one of both. */
export function hostsMeet(one: string, other: string): boolean {
  const [a, b] = [parseHostPattern(one), parseHostPattern(other)];
  if ('problem' in a || 'problem' in b) return true;
  // A rule without a host is about every host.
  return a.kind === 'any' || b.kind === 'any' || hostPatternsOverlap(a, b);
}

function hostWithin(inner: string, outer: string): boolean {
  if (inner === outer) return true;
  return inner !== '' && outer !== '' && !inner.includes('*') && hostsMeet(outer, inner);
}

function sameAddresses(found: Endpoint, wanted: Endpoint): boolean {
  if (wanted.allowedIps.length === 0) return found.allowedIps.length === 0 || listsHost(found, wanted.host);
  const [here, there] = [found.allowedIps, wanted.allowedIps];
  return here.length > 0 && there.every((block) => here.includes(block));
}

/** An address as host means itself. */
function listsHost({ allowedIps }: Endpoint, host: string): boolean {
  const address = parseAddress(host);
  return (
    address !== undefined &&
    allowedIps.some((text) => {
      const block = parseBlock(text);
      return block !== undefined && contains(block, address);
    })
  );
}
