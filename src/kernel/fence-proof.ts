/**
 * Proves the fence of this process's own network namespace with real sockets, as somebody who is not exempt. The addresses are
 * documentation's (RFC 5737, RFC 3849): what a broken fence lets out reaches nobody.
 */
import { existsSync, readFileSync } from 'node:fs';
import { CastellanError, errnoOf } from '../errors.ts';
import { type Ending, openStand, type Stand } from './fence-stand.ts';
import { posix } from './posix.ts';
import { TRANSPARENT_PORT } from './sealed-namespace.ts';

export interface FamilyProof {
  readonly family: 'IPv4' | 'IPv6';
  /** Where the attempts went that need a route; undefined where there is none. */
  readonly destination: string | undefined;
  readonly proved: readonly AttemptName[];
  /** What could not be tried here, and why. */
  readonly untried: readonly { readonly attempt: AttemptName; readonly reason: string }[];
}

/** What is tried, with and without a route. */
export type AttemptName =
  | 'DNS on loopback'
  | 'DNS by TCP on loopback'
  | 'transparent port dialled directly'
  | 'inbound ports dialled from inside'
  | 'TCP'
  | 'DNS'
  | 'DNS by TCP'
  | 'UDP'
  | 'UDP-Lite'
  | 'ICMP echo';

interface Family {
  readonly version: 4 | 6;
  readonly name: FamilyProof['family'];
  readonly loopback: string;
  /** Another address of this machine that resolv.conf may name. */
  readonly localResolver: string;
  readonly echoProtocol: number;
  readonly outside: string;
  /** Of neighbours, one a link, for where there is no route to the outside. */
  readonly links: readonly string[];
}

interface Attempt {
  readonly name: AttemptName;
  readonly object: string;
  readonly want: readonly Ending[];
  readonly make: (stand: Stand) => Promise<Ending> | Ending;
}

const WEB_PORT = 443;
const NAME_SERVER_PORT = 53;
/** IP protocol numbers. */
const UDP = 17;
const UDP_LITE = 136;
const ICMP = 1;
const ICMP6 = 58;

/**
 * Gives what was proved for each family that the namespace has.
 * @param inboundPorts that only the exempt uid may reach from inside
 * @throws CastellanError `namespace_failed` when an attempt ends otherwise than it must, `address_in_use`
 */
export async function proveFence(inboundPorts: readonly number[]): Promise<readonly FamilyProof[]> {
  return await Promise.all(presentFamilies().map((family) => proveFamily(family, inboundPorts)));
}

/**
 * Where a datagram of this process leaves the namespace for, which a fence refuses to everybody but the exempt uid; undefined where none
 * leaves. Takes no privilege, and no listener.
 */
export function wayOut(): string | undefined {
  return presentFamilies()
    .flatMap((family) => [family.outside, ...family.links].map((address) => ({ family, address })))
    .filter(({ family, address }) => missingRoute(family, address) === undefined)
    .find(({ family, address }) => !REFUSALS.includes(probe(family, UDP, address).errno ?? 'sent'))?.address;
}

function presentFamilies(): readonly Family[] {
  const addresses6 = existsSync('/proc/net/if_inet6') ? readFileSync('/proc/net/if_inet6', 'utf8') : '';
  const four: Family = {
    version: 4,
    name: 'IPv4',
    loopback: '127.0.0.1',
    localResolver: '127.0.0.53',
    echoProtocol: ICMP,
    outside: '192.0.2.1',
    links: [],
  };
  const six: Family = {
    version: 6,
    name: 'IPv6',
    loopback: '::1',
    localResolver: '::1',
    echoProtocol: ICMP6,
    outside: '2001:db8::1',
    links: linkLocalDestinations(addresses6),
  };
  return addresses6 === '' ? [four] : [four, six];
}

/**
 * An address on each link on which this machine has a link-local one: where IPv6 leads nowhere, neighbours may still be reached.
 * `addresses` is the text of /proc/net/if_inet6.
 */
export function linkLocalDestinations(addresses: string): readonly string[] {
  const links = [...addresses.matchAll(/^fe80.* (\S+)$/gm)].map(([, link]) => `fe80::db8%${link}`);
  return [...new Set(links)];
}

async function proveFamily(family: Family, inboundPorts: readonly number[]): Promise<FamilyProof> {
  await using stand = await openStand(family.version, family.loopback);
  const { possible, impossible, destination } = planAttempts(family, inboundPorts);
  const proved: AttemptName[] = [];
  const untried = [...impossible];
  for (const attempt of possible) {
    const ending = await attempt.make(stand);
    if (attempt.want.includes(ending)) proved.push(attempt.name);
    else if (ending.startsWith(NO_SUCH_SOCKET)) untried.push({ attempt: attempt.name, reason: ending });
    else throw unproved(family, attempt, ending);
  }
  return { family: family.name, destination, proved, untried };
}

interface AttemptPlan {
  readonly possible: readonly Attempt[];
  readonly impossible: FamilyProof['untried'];
  readonly destination: string | undefined;
}

/** Without a route the kernel refuses before any rule is asked. */
function planAttempts(family: Family, inboundPorts: readonly number[]): AttemptPlan {
  const { outside, links } = family;
  const local = [...localAttempts(family), ...inboundAttempts(family, inboundPorts)];
  const missing = missingRoute(family, outside);
  if (missing === undefined) {
    const possible = [...local, ...divertedAttempts(outside), ...refusedAttempts(family, outside)];
    return { possible, impossible: [], destination: outside };
  }
  // A socket for such a neighbour is bound to the link by the kernel, so that it can be refused but not diverted.
  const link = links.find((address) => missingRoute(family, address) === undefined);
  const onLink = link === undefined ? [] : refusedAttempts(family, link);
  const possible = [...local, ...onLink];
  const impossible = [...divertedAttempts(outside), ...refusedAttempts(family, outside)]
    .filter(({ name }) => possible.every((attempt) => attempt.name !== name))
    .map(({ name }) => ({ attempt: name, reason: `no route (${missing})` }));
  return { possible, impossible, destination: link };
}

function localAttempts({ loopback, localResolver }: Family): readonly Attempt[] {
  return [
    queryAttempt('DNS on loopback', localResolver),
    connectAttempt('DNS by TCP on loopback', localResolver, NAME_SERVER_PORT, 'resolver'),
    connectAttempt('transparent port dialled directly', loopback, TRANSPARENT_PORT, 'ECONNREFUSED'),
  ];
}

function inboundAttempts({ loopback }: Family, ports: readonly number[]): readonly Attempt[] {
  if (ports.length === 0) return [];
  const want = 'ECONNREFUSED';
  const make = async (stand: Stand): Promise<Ending> => {
    for (const port of ports) {
      const ending = await visit(stand, port);
      if (ending !== want) return ending;
    }
    return want;
  };
  const object = `${loopback} port ${ports.join(', ')}`;
  return [{ name: 'inbound ports dialled from inside', object, want: [want], make }];
}

/** A low port takes CAP_NET_BIND_SERVICE in some clusters: without a listener nothing would be proved. */
async function visit(stand: Stand, port: number): Promise<Ending> {
  try {
    return await stand.visit(port);
  } catch (error) {
    if (error instanceof CastellanError && error.errno === 'EACCES') return `${NO_SUCH_SOCKET} (EACCES)`;
    throw error;
  }
}

function divertedAttempts(destination: string): readonly Attempt[] {
  return [
    connectAttempt('TCP', destination, WEB_PORT, `transparent ${destination} ${WEB_PORT}`),
    queryAttempt('DNS', destination),
    connectAttempt('DNS by TCP', destination, NAME_SERVER_PORT, 'resolver'),
  ];
}

function refusedAttempts(family: Family, destination: string): readonly Attempt[] {
  return [
    refusedAttempt('UDP', family, UDP, destination),
    refusedAttempt('UDP-Lite', family, UDP_LITE, destination),
    refusedAttempt('ICMP echo', family, family.echoProtocol, destination),
  ];
}

function connectAttempt(name: AttemptName, address: string, port: number, want: Ending): Attempt {
  return {
    name,
    object: `${address} port ${port}`,
    want: [want],
    make: (stand) => stand.connect(address, port),
  };
}

function queryAttempt(name: AttemptName, address: string): Attempt {
  const object = `${address} port ${NAME_SERVER_PORT}`;
  return { name, object, want: ['resolver'], make: (stand) => stand.query(address, NAME_SERVER_PORT) };
}

/** Where the kernel has no such socket, or lets this process have none (net.ipv4.ping_group_range). */
const NO_SUCH_SOCKET = 'no such socket';

/** By send(2), and by the ICMP error where send(2) does not tell. */
const REFUSALS: readonly Ending[] = ['EPERM', 'EACCES'];

function refusedAttempt(name: AttemptName, family: Family, protocol: number, address: string): Attempt {
  return {
    name,
    object: address,
    want: REFUSALS,
    make() {
      const { syscall, errno } = probe(family, protocol, address);
      return syscall === 'socket' ? `${NO_SUCH_SOCKET} (${errno})` : (errno ?? 'sent');
    },
  };
}

/** Why nothing can be sent there; undefined where something can. */
function missingRoute(family: Family, address: string): string | undefined {
  const { syscall, errno } = probe(family, UDP, address);
  return syscall === 'connect' ? errno : undefined;
}

interface Probed {
  readonly syscall?: string;
  readonly errno?: string;
}

function probe({ version }: Family, protocol: number, address: string): Probed {
  try {
    posix().probeDatagram(version, protocol, address, WEB_PORT);
    return {};
  } catch (error) {
    const errno = errnoOf(error);
    if (errno === undefined) throw error;
    return { errno, syscall: (error as NodeJS.ErrnoException).syscall ?? '' };
  }
}

function unproved({ name }: Family, attempt: Attempt, ending: Ending): CastellanError {
  const object = `${attempt.name} over ${name} to ${attempt.object}`;
  const message = `the fence does not hold: ${object} ended with ${ending}, not with ${attempt.want.join(' or ')}`;
  return new CastellanError('namespace_failed', message, {
    step: 'fence/proof',
    object,
    ...(/^E[A-Z0-9]+$/.test(ending) && { errno: ending }),
    remedy: 'see what else filters or translates in this network namespace: nft list ruleset, iptables-save',
  });
}
