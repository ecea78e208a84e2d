import { readFileSync } from 'node:fs';
import * as v from 'valibot';
import { afterAll, describe, expect, it } from 'vitest';
import { compilePolicy } from '../../../src/policy/compile.ts';
import { meaningOf } from '../../../src/policy/meaning.ts';
import { checkPolicy, parsePolicy } from '../../../src/policy/parse.ts';
import type { PolicyFiles } from '../../../src/policy/tls-authority.ts';
import { policyRules } from '../../../src/roles/parse-policy.ts';
import { makeCertificate } from '../../flow/egress-world.ts';

const one = makeCertificate('one');
const other = makeCertificate('other');
afterAll(() => {
  one[Symbol.dispose]();
  other[Symbol.dispose]();
});

const FILES: Readonly<Record<string, string>> = {
  '/one.pem': `# a comment\n${one.cert}`,
  '/same.pem': one.cert,
  '/other.pem': other.cert,
  '/two.pem': `${one.cert}${other.cert}`,
  '/key.pem': `${one.cert}${readFileSync(one.path.replace('crt', 'key'), 'utf8')}`,
  '/empty.pem': 'nothing',
  '/broken.pem': '-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n',
};
const filesAt = (now: Date): PolicyFiles => ({
  read: (path) => (path in FILES ? { text: FILES[path] ?? '' } : { problem: 'cannot be read (ENOENT)' }),
  now,
});
const TODAY = filesAt(new Date());

const policy = (...endpoints: readonly string[]) =>
  `version: 1\nnetwork_policies:\n${endpoints.map((keys, index) => `  r${index}: {endpoints: [{${keys}}], binaries: [{path: /b}]}\n`).join('')}`;
const A = 'host: a.example, port: 443';
const REST = `${A}, protocol: rest, access: full, enforcement: enforce`;
const problems = (...endpoints: readonly string[]) =>
  checkPolicy(policy(...endpoints), 'p', { files: TODAY }).problems.map(({ message }) => message);

describe('tls_authority', () => {
  it.each([
    ['a missing file', `${REST}, tls_authority: /missing.pem`, '"/missing.pem" cannot be read (ENOENT)'],
    ['no certificate', `${REST}, tls_authority: /empty.pem`, 'holds no PEM certificate'],
    ['a broken one', `${REST}, tls_authority: /broken.pem`, 'certificate 1 of tls_authority "/broken.pem" cannot be read'],
    ['a private key', `${REST}, tls_authority: /key.pem`, 'holds a private key'],
    ['a relative path', `${REST}, tls_authority: one.pem`, '"one.pem"'],
    ['a list', `${REST}, tls_authority: [/one.pem]`, 'must be a text, not a list'],
    ['an endpoint that is not opened', `${A}, tls_authority: /one.pem`, 'needs TLS to be opened'],
    ['a raw endpoint', `${A}, protocol: tcp, tls_authority: /one.pem`, 'needs TLS to be opened'],
    ['a name that castellan answers', `${REST.replace('a.example', 'inference.local')}, tls_authority: /one.pem`, 'has no origin for tls_authority'],
    ['a misspelt key', `${REST}, tls_authorty: /one.pem`, 'did you mean "tls_authority"?'],
  ])('refuses %s, at its place', (_, endpoint, message) => {
    const found = checkPolicy(policy(endpoint), 'p', { files: TODAY }).problems;
    expect(found).toEqual([
      { file: 'p', position: { line: 3, column: expect.any(Number) }, message: expect.stringContaining(message) },
    ]);
    expect(found[0]?.position.column).toBeGreaterThan(19);
  }); // biome-ignore format: a table

  it('cannot be judged without the machine', () => {
    expect(checkPolicy(policy(`${REST}, tls_authority: /one.pem`), 'p').problems).toHaveLength(1);
  });

  it.each([
    ['has expired', new Date('2100-01-01')],
    ['is not valid before', new Date('2000-01-01')],
  ])('says of a certificate that it %s, and goes on', (message, now) => {
    const { notices } = parsePolicy(policy(`${REST}, tls_authority: /one.pem`), 'p', filesAt(now));
    expect(notices[0]?.message).toContain(message);
  });

  it('goes with the decision, and over the wire', () => {
    const { network } = parsePolicy(policy(`${REST}, tls_authority: /two.pem`), 'p', TODAY);
    const wired = v.parse(policyRules, JSON.parse(JSON.stringify(network)));
    expect(wired).toEqual(JSON.parse(JSON.stringify(network)));
    const verdict = compilePolicy(wired).decide({ host: 'a.example', port: 443, binaries: ['/b'] });
    expect(verdict).toMatchObject({ allow: true, tlsAuthority: { path: '/two.pem' } });
    const { tlsAuthority } = verdict as Extract<typeof verdict, { allow: true }>;
    expect(tlsAuthority?.certificates).toHaveLength(2);
  });

  it('is in force for a program whose rule comes second, and for no other destination', () => {
    const text = policy(A, `${REST}, tls_authority: /one.pem`, 'host: a.example, port: 444');
    const decider = compilePolicy(parsePolicy(text, 'p', TODAY).network);
    const at = (port: number) => decider.decide({ host: 'a.example', port, binaries: ['/b'] });
    expect(at(443)).toMatchObject({ tlsAuthority: { path: '/one.pem' } });
    expect(at(444)).toMatchObject({ tlsAuthority: undefined });
  });

  it.each([
    ['a wildcard', 'host: "*.b.example", port: 443'],
    ['a rule without a host', 'allowed_ips: [10.0.0.0/8], port: 443'],
  ])('of %s says nothing of a name that has a rule of its own', (_, wide) => {
    const REST_OF = (keys: string) => `${keys}, protocol: rest, access: full, enforcement: enforce`;
    const named = 'host: a.b.example, port: 443';
    const pinned = `${REST_OF(wide)}, tls_authority: /one.pem`;
    const authority = (...endpoints: readonly string[]) => {
      const decider = compilePolicy(parsePolicy(policy(...endpoints), 'p', TODAY).network);
      const verdict = decider.decide({ host: 'a.b.example', port: 443, binaries: ['/b'] });
      return verdict.allow ? verdict.tlsAuthority?.path : verdict.reason;
    };
    expect(authority(REST_OF(named), pinned)).toBeUndefined();
    expect(authority(`${REST_OF(named)}, tls_authority: /other.pem`, pinned)).toBe('/other.pem');
    // It is inspected as the wide rule says.
    expect(authority(named, pinned)).toBe('/one.pem');
  });

  it('of a wildcard holds for programs that the named rule is not about', () => {
    const wide = `${REST.replace('a.example', '"*.b.example"')}, tls_authority: /one.pem`;
    const text = policy(REST.replace('a.example', 'a.b.example'), wide).replace('/b}', '/other}');
    const decider = compilePolicy(parsePolicy(text, 'p', TODAY).network);
    const at = (binary: string) => decider.decide({ host: 'a.b.example', port: 443, binaries: [binary] });
    expect(at('/b')).toMatchObject({ tlsAuthority: { path: '/one.pem' } });
    expect(at('/other')).toMatchObject({ allow: true, tlsAuthority: undefined });
  });

  it('is never empty on the wire', () => {
    const { network } = parsePolicy(policy(`${REST}, tls_authority: /one.pem`), 'p', TODAY);
    const text = JSON.stringify(network).replace(/"certificates":\[.*?\]/, '"certificates":[]');
    expect(() => v.parse(policyRules, JSON.parse(text))).toThrow();
  });

  it('has to be the same wherever one request can match', () => {
    const clash = expect.stringContaining('tls_authority');
    expect(problems(`${REST}, tls_authority: /one.pem`, REST)).toEqual([clash]);
    expect(problems(`${REST}, tls_authority: /one.pem`, `${REST}, tls_authority: /other.pem`)).toEqual([
      clash,
    ]);
    expect(problems(`${REST}, path: /x, tls_authority: /one.pem`, `${REST}, path: /y`)).toEqual([clash]);
    expect(problems(`${REST}, tls_authority: /one.pem`, `${REST}, tls_authority: /same.pem`)).toEqual([]);
    expect(problems(`${REST}, tls_authority: /one.pem`, REST.replace('443', '444'))).toEqual([]);
    expect(problems(`${REST}, tls_authority: /one.pem`, A)).toEqual([]);
  });

  it('is part of what a policy means: another certificate is another meaning', () => {
    const meaning = (path: string) =>
      meaningOf(parsePolicy(policy(`${REST}, tls_authority: ${path}`), 'p', TODAY)).join('\n');
    expect(meaning('/one.pem')).toMatch(/certified by \/one\.pem \(sha256:[0-9a-f]{12}\)/);
    expect(meaning('/one.pem').replace('/one', '/other')).not.toBe(meaning('/other.pem'));
  });
});

describe('allow_encrypted_client_hello', () => {
  it('goes with the decision, over the wire, and into the meaning', () => {
    const document = parsePolicy(policy(`${A}, allow_encrypted_client_hello: true`), 'p');
    const wired = v.parse(policyRules, JSON.parse(JSON.stringify(document.network)));
    expect(compilePolicy(wired).decide({ host: 'a.example', port: 443, binaries: ['/b'] })).toMatchObject({
      allowsEncryptedHello: true,
    });
    expect(meaningOf(document).join()).toContain('may hide its name');
    const plain = parsePolicy(policy(`${A}, allow_encrypted_client_hello: false`), 'p').network;
    expect(compilePolicy(plain).decide({ host: 'a.example', port: 443, binaries: ['/b'] })).toMatchObject({
      allowsEncryptedHello: false,
    });
  });

  it('says that it does nothing where TLS is opened', () => {
    const { notices } = parsePolicy(policy(`${REST}, allow_encrypted_client_hello: true`), 'p');
    expect(notices[0]?.message).toContain('no effect');
  });
});
