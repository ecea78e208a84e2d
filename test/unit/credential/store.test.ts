import { describe, expect, it } from 'vitest';
import type { Place } from '../../../src/credential/credential.ts';
import { parseCredentials } from '../../../src/credential/parse.ts';
import { REDACTED } from '../../../src/credential/redact.ts';
import { CredentialStore, type Destination } from '../../../src/credential/store.ts';

const HANDLE = 'a'.repeat(64);
const file = (value: string) => `version: 1
credentials:
  OWN: { value: ${value}, endpoints: [{ host: "*.a.example", path: "/v1/**" }, { host: b.example, port: 8443 }] }
  BOUND: { value: bound-secret, provider: p, expires: 2027-01-01T00:00:00Z }
  BOTH: { value: both-secret, provider: p, endpoints: [{ host: b.example, port: 8443 }], places: [header] }
`;
const at = (
  host: string,
  port: number,
  provider?: string,
  paths: readonly string[] = ['/'],
): Destination => ({
  host,
  port,
  provider,
  paths: () => paths,
});
const BEFORE = Date.UTC(2026, 11, 31);
const store = (now = BEFORE) => new CredentialStore(parseCredentials(file('own-secret')), () => now);
const named = (name: string, handle?: string) => ({ name, handle });

describe('where a secret may go', () => {
  it.each([
    ['OWN', at('x.a.example', 443, undefined, ['/v1/x']), true],
    ['OWN', at('x.a.example', 443, undefined, ['/v1/x', '/v2/x']), false],
    ['OWN', { ...at('x.a.example', 443), paths: () => undefined }, false],
    ['OWN', at('x.a.example', 443, undefined, []), true],
    ['OWN', at('a.example', 443, undefined, ['/v1/x']), false],
    ['OWN', at('x.a.example', 444, undefined, ['/v1/x']), false],
    ['OWN', at('b.example', 8443), true],
    ['OWN', at('b.example', 443), false],
    ['OWN', at('z.example', 443, 'p'), false],
    ['BOUND', at('z.example', 443, 'p'), true],
    ['BOUND', at('z.example', 443, 'q'), false],
    ['BOUND', at('z.example', 443), false],
    ['BOTH', at('b.example', 8443), true],
    ['BOTH', at('z.example', 1, 'p'), true],
    ['BOTH', at('z.example', 1), false],
    ['NOBODY', at('b.example', 8443, 'p'), false],
  ])('%s', (name, destination, expected) => {
    expect(store().mayUse(name, destination)).toBe(expected);
    expect(store().resolve(named(name), destination, 'header:x').ok).toBe(expected);
  });

  it.each([
    ['authorization', true],
    ['x-api-key', true],
    ['private-token', true],
    ['content-type', false],
    ['content-disposition', false],
    ['cache-control', false],
    ['accept', false],
    ['if-none-match', false],
    ['x-amz-meta-note', false],
    ['x-request-id', false],
    ['idempotency-key', false],
  ])('into the header %s: %s, by default', (name, expected) => {
    const there = at('b.example', 8443);
    expect(store().resolve(named('OWN'), there, `header:${name}`).ok).toBe(expected);
  });

  it('opens what credentials name, and nothing for providers', () => {
    expect([
      store().opens('x.a.example', 443),
      store().opens('b.example', 443),
      store().opens('z.example', 443),
    ]).toEqual([true, false, false]);
  });
});

describe('a secret is not there', () => {
  const there = at('b.example', 8443, 'p');
  it.each([
    ['when it has expired', Date.UTC(2027, 0, 1), named('BOUND'), 'header:x', 'unavailable', 'has expired'],
    ['for another handle', BEFORE, named('BOUND', HANDLE), 'header:x', 'unavailable', 'no credential'],
    ['in another place', BEFORE, named('BOTH'), 'query', 'unbound', '(query)'],
    ['under another name', BEFORE, named('bound'), 'header:x', 'unavailable', 'no credential'],
  ] as const)('%s', (_, now, placeholder, place, problem, detail) => {
    const found = store(now).resolve(placeholder, there, place);
    expect(found).toEqual({ ok: false, problem, detail: expect.stringContaining(detail) });
  });
});

it('headers that come back carry none, unless they are named', () => {
  const there = at('z.example', 443, 'p');
  const ask = (places: string, place: Place) =>
    new CredentialStore(
      parseCredentials(
        `version: 1\ncredentials: { A: { value: a-secret, provider: p, places: [${places}] } }`,
      ),
    ).resolve(named('A'), there, place).ok;
  expect(ask('header', 'header:authorization')).toBe(true);
  for (const name of ['origin', 'x-request-id', 'sec-websocket-protocol', 'user-agent'])
    expect(ask('header', `header:${name}`), name).toBe(false);
  expect(ask('header, "header:X-Request-ID"', 'header:x-request-id')).toBe(true);
  expect(ask('"header:x-a"', 'header:x-b')).toBe(false);
  expect(ask('"header:x-a"', 'query')).toBe(false);
});

it('a handle has to be the credential’s own', () => {
  const set = parseCredentials(file('own-secret'));
  const [own] = set.credentials;
  if (own === undefined) throw new Error('no credential');
  const known = new CredentialStore({ ...set, credentials: [{ ...own, handle: HANDLE }] });
  expect(known.resolve(named('OWN', HANDLE), at('b.example', 8443), 'query').ok).toBe(true);
  expect(known.resolve(named('OWN'), at('b.example', 8443), 'query').ok).toBe(true);
  expect(known.resolve(named('OWN', 'b'.repeat(64)), at('b.example', 8443), 'query').ok).toBe(false);
});

it('what replaces it is in force at once, and redacted', () => {
  const known = store();
  known.replace(parseCredentials(file('newer-secret')));
  expect(known.resolve(named('OWN'), at('b.example', 8443), 'query')).toMatchObject({
    value: 'newer-secret',
  });
  expect(known.redact('own-secret newer-secret')).toBe(`own-secret ${REDACTED}`);
});

it.each([
  ['GET /own-secret/x', `GET /${REDACTED}/x`],
  ['own-secretown-secret', `${REDACTED}${REDACTED}`],
  ['OWN-SECRET', 'OWN-SECRET'],
  ['openshell:resolve:env:OWN and xoxb-OPENSHELL-RESOLVE-ENV-X', `${REDACTED} and ${REDACTED}`],
  [Buffer.from('own-secret').toString('base64'), REDACTED],
  ['nothing', 'nothing'],
])('%s is written down as %s', (text, expected) => {
  expect(store().redact(text)).toBe(expected);
});

it('a secret is written down in no form that URLs give it', () => {
  const odd = new CredentialStore(parseCredentials(file('"Odd/se+cret"')));
  for (const form of ['Odd/se+cret', 'Odd%2Fse%2Bcret', 'Odd%2fse%2bcret', 'odd/se+cret'])
    expect(odd.redact(`x${form}y`), form).toBe(`x${REDACTED}y`);
});
