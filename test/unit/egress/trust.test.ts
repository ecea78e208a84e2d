import { afterAll, describe, expect, test } from 'vitest';
import { createTrust } from '../../../src/egress/relay/trust.ts';
import type { TlsAuthority } from '../../../src/policy/document.ts';
import { makeCertificate } from '../../flow/egress-world.ts';

const certificate = makeCertificate('one');
afterAll(() => certificate[Symbol.dispose]());
const authority = (digest: string): TlsAuthority => ({
  path: '/x',
  certificates: [certificate.cert],
  digest,
});
const HOUR_MS = 60 * 60_000;

describe('contexts', () => {
  test('are made once for the same certificates, and not without end', () => {
    const trust = createTrust([]);
    const first = trust.contextFor(authority('0'));
    expect(trust.contextFor({ ...authority('0'), path: '/elsewhere' })).toBe(first);
    expect(trust.contextFor(undefined)).toBe(trust.contextFor(undefined));
    expect(trust.contextFor(undefined)).not.toBe(first);
    for (let index = 1; index <= 64; index += 1) trust.contextFor(authority(String(index)));
    expect(trust.contextFor(authority('0'))).not.toBe(first);
  });
});

describe('sessions', () => {
  const session = (text: string) => Buffer.from(text);

  test('are of one context and one place', () => {
    const trust = createTrust([]);
    const [one, other] = [trust.contextFor(authority('1')), trust.contextFor(authority('2'))];
    trust.keepSession(one, 'a', session('x'), false);
    expect(trust.sessionFor(one, 'a')).toEqual(session('x'));
    expect(trust.sessionFor(one, 'b')).toBeUndefined();
    expect(trust.sessionFor(other, 'a')).toBeUndefined();
    trust.forgetSession(one, 'a');
    expect(trust.sessionFor(one, 'a')).toBeUndefined();
  });

  test('end an hour after the certificate was looked at, however often they are renewed', () => {
    let now = 0;
    const trust = createTrust([], { now: () => now });
    const context = trust.contextFor(undefined);
    trust.keepSession(context, 'a', session('full'), false);
    now = HOUR_MS - 1;
    trust.keepSession(context, 'a', session('renewed'), true);
    expect(trust.sessionFor(context, 'a')).toEqual(session('renewed'));
    now = HOUR_MS;
    expect(trust.sessionFor(context, 'a')).toBeUndefined();
    trust.keepSession(context, 'a', session('full again'), false);
    expect(trust.sessionFor(context, 'a')).toEqual(session('full again'));
  });

  test('are not kept where nothing is known of a full handshake, or where they are too large', () => {
    const trust = createTrust([]);
    const context = trust.contextFor(undefined);
    trust.keepSession(context, 'a', session('x'), true);
    trust.keepSession(context, 'b', Buffer.alloc(20_000), false);
    expect([trust.sessionFor(context, 'a'), trust.sessionFor(context, 'b')]).toEqual([undefined, undefined]);
  });

  test('are so many, and the oldest go', () => {
    const trust = createTrust([], { sessions: 2 });
    const context = trust.contextFor(undefined);
    for (const place of ['a', 'b', 'a', 'c']) trust.keepSession(context, place, session(place), false);
    expect(['a', 'b', 'c'].map((place) => trust.sessionFor(context, place) !== undefined)).toEqual([
      true,
      false,
      true,
    ]);
  });
});
