/**
 * Addresses in every spelling, by every way a destination is named, against the most permissive of policies: one that allows
 * each host, and lists no private address. The resolver reads numbers as the laxest of C libraries do.
 */
import { readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import type { AuditFact } from '../../src/audit/event.ts';
import type { Decider } from '../../src/policy/compile.ts';
import { checkDestination } from '../../src/policy/destination.ts';
import { type EgressWorld, rawClient, startWorld } from './egress-world.ts';

interface Spelling {
  readonly text: string;
  readonly note: string;
  /** In HTTP: `reached`, `malformed`, `unresolved`, or the special range that it was taken for. */
  readonly http: string;
  /** As a server name in TLS; the same where it is not told. */
  readonly tls?: string;
}

const spellings: readonly Spelling[] = JSON.parse(
  readFileSync(new URL('../vectors/address-spellings.json', import.meta.url), 'utf8'),
);

/** On loopback, where nobody listens. */
const NOBODY = '127.99.99.99';

const ANY_HOST: Decider = {
  decide: () => ({
    allow: true,
    rule: 'any',
    matchedBinary: '/usr/bin/curl',
    allowedIps: [],
    exactHost: false,
    protocol: '',
    requests: undefined,
  }),
  mayName: () => true,
  rules: [],
  now: 0,
  inspects: false,
};

const NAMES: Readonly<Record<string, readonly string[]>> = {
  'public.test': ['8.8.8.8', '2606:4700::1111'],
  'localtest.test': ['127.0.0.1'],
  'mapped.test': ['::ffff:127.0.0.1'],
  'both.test': ['8.8.8.8', '10.0.0.1'],
  'families.test': ['8.8.8.8', 'fd00::1'],
  'metadata.test': ['169.254.169.254'],
  localhost: ['127.0.0.1', '::1'],
  'a.localhost': ['::1'],
};

/** inet_aton(3): one to four parts, decimal, octal or hexadecimal, the last of which fills what is left. */
function readLaxly(text: string): string | undefined {
  const parts = text.split('.').map((part) => {
    if (/^0x[0-9a-f]*$/i.test(part)) return Number.parseInt(part.slice(2) || '0', 16);
    return /^0[0-7]*$/.test(part) ? Number.parseInt(part, 8) : /^\d+$/.test(part) ? Number(part) : Number.NaN;
  });
  const last = parts.pop() ?? Number.NaN;
  const value = parts.reduce((sum, part, index) => sum + part * 256 ** (3 - index), last);
  if (!Number.isInteger(value) || parts.length > 3 || value >= 2 ** 32) return undefined;
  return [24, 16, 8, 0].map((shift) => (value >>> shift) & 255).join('.');
}

async function resolve(host: string): Promise<readonly string[]> {
  const lax = readLaxly(host);
  const found = NAMES[host] ?? (lax === undefined ? undefined : [lax]);
  if (found === undefined) throw Object.assign(new Error('not found'), { code: 'ENOTFOUND' });
  return found;
}

/** A ClientHello whose server name is these bytes. */
function clientHello(name: string): Buffer {
  const vector = (size: number, ...parts: readonly Buffer[]): Buffer => {
    const data = Buffer.concat(parts);
    const length = Buffer.alloc(size);
    length.writeUIntBE(data.length, 0, size);
    return Buffer.concat([length, data]);
  };
  const entry = Buffer.concat([Buffer.from([0]), vector(2, Buffer.from(name))]);
  const extension = Buffer.concat([Buffer.from([0, 0]), vector(2, vector(2, entry))]);
  const version = Buffer.from([3, 3]);
  const ciphers = Buffer.from([0, 2, 0x13, 1]);
  const body = [
    version,
    Buffer.alloc(32, 9),
    Buffer.from([0]),
    ciphers,
    Buffer.from([1, 0]),
    vector(2, extension),
  ];
  const handshake = Buffer.concat([Buffer.from([1]), vector(3, ...body)]);
  return Buffer.concat([Buffer.from([22, 3, 1]), vector(2, handshake)]);
}

type Way = (world: EgressWorld, text: string) => [port: number, bytes: string | Buffer];

const WAYS: Readonly<Record<string, Way>> = {
  CONNECT: ({ proxyPort }, text) => [proxyPort, `CONNECT ${text}:443 HTTP/1.1\r\nHost: x\r\n\r\n`],
  'absolute form': ({ proxyPort }, text) => [proxyPort, `GET http://${text}/ HTTP/1.1\r\nHost: x\r\n\r\n`],
  'absolute form with a port': ({ proxyPort }, text) => [
    proxyPort,
    `GET http://${text}:8080/ HTTP/1.1\r\nHost: x\r\n\r\n`,
  ],
  Host: ({ transparentPort }, text) => [transparentPort, `GET / HTTP/1.1\r\nHost: ${text}\r\n\r\n`],
  'Host with a port': ({ transparentPort }, text) => [
    transparentPort,
    `GET / HTTP/1.1\r\nHost: ${text}:443\r\n\r\n`,
  ],
  'server name': ({ transparentPort }, text) => [transparentPort, clientHello(text)],
};

/** What became of a connection, as the record tells it. */
function readingOf(fact: AuditFact | undefined): string {
  switch (fact?.kind) {
    case 'connection-allowed':
      return 'reached';
    case 'connection-failed':
      if (fact.identity === undefined) return 'malformed';
      return fact.detail.includes(NOBODY) ? 'reached' : 'unresolved';
    case 'connection-denied':
      return fact.reason === 'address_not_allowed'
        ? (/ is (?:not public \()?(.+?)(?:\)|, which)/.exec(fact.detail)?.[1] ?? fact.detail)
        : fact.reason;
    default:
      return 'nothing was recorded';
  }
}

describe.each(Object.entries(WAYS))('by %s', (name, way) => {
  test('every spelling of an address is that address, or none', async () => {
    await using world = await startWorld([], {
      decider: ANY_HOST,
      resolve,
      // What the check lets pass leads to a port that is closed.
      check: (verdict, host, port, addresses) => {
        const checked = checkDestination(verdict, host, port, addresses);
        return checked.ok ? { ok: true, addresses: [NOBODY] } : checked;
      },
    });
    world.dialled = { address: '203.0.113.77', port: 443 };
    const read: Record<string, string> = {};
    const wanted: Record<string, string> = {};
    for (const { text, http, tls = http } of spellings) {
      const before = world.facts.length;
      await rawClient(...way(world, text)).end();
      const outcomes = ['connection-allowed', 'connection-failed', 'connection-denied'];
      read[text] = readingOf(world.facts.slice(before).find(({ kind }) => outcomes.includes(kind)));
      wanted[text] = name === 'server name' ? tls : http;
    }
    expect(read).toEqual(wanted);
    expect(spellings.length).toBeGreaterThan(120);
  });
});
