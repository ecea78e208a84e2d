import { describe, expect, it } from 'vitest';
import { compilePolicy } from '../../../src/policy/compile.ts';
import type { Endpoint, NetworkRule } from '../../../src/policy/document.ts';
import { parsePolicy } from '../../../src/policy/parse.ts';
import type { Query, Verdict } from '../../../src/policy/verdict.ts';
import { type Random, seededRandom } from '../random.ts';
import { decideNaively } from './naive.ts';

const policy = parsePolicy(
  `
version: 1
network_policies:
  zeta:
    endpoints: [{host: files.example.org, port: 443}]
    binaries: [{path: "/**"}]
  pypi:
    endpoints: [{host: files.example.org, ports: [443, 80]}, {host: "*.pypi.example", port: 443, allowed_ips: [10.1.0.0/16]}]
    binaries: [{path: /usr/bin/pip}, {path: "/usr/local/bin/python3*"}]
  exact:
    endpoints: [{host: a.pypi.example, port: 443}]
    binaries: [{path: /usr/bin/curl}]
  all-pypi:
    endpoints: [{host: "**.pypi.example", port: 443, allowed_ips: [10.1.0.0/16]}]
    binaries: [{path: /usr/bin/curl}]
  lab:
    endpoints: [{port: 8443, allowed_ips: [10.2.0.0/16]}]
    binaries: [{path: /usr/bin/curl}]
  literal:
    endpoints: [{host: "2001:DB8::1", port: 443}]
    binaries: [{path: /usr/bin/curl}, {path: /a}, {path: /b}, {path: /c}, {path: /d}]
  nobody:
    endpoints: [{host: idle.example, port: 443}]
`,
  'policy.yaml',
);
const decider = compilePolicy(policy.network);

function ask(host: string, port: number, ...binaries: string[]): Verdict {
  return decider.decide({ host, port, binaries });
}

// biome-ignore format: one line a case
const allowances: readonly (readonly [string, string, number, string[], string, string])[] = [
    ['by host, port and binary', 'files.example.org', 80, ['/usr/bin/pip'], 'pypi', '/usr/bin/pip'],
    ['by the smallest rule name', 'files.example.org', 443, ['/usr/bin/pip'], 'pypi', '/usr/bin/pip'],
    ['by the rule that matches the binary', 'files.example.org', 443, ['/bin/other'], 'zeta', '/bin/other'],
    ['by an ancestor', 'files.example.org', 80, ['/bin/sh', '/usr/local/bin/python3.12'], 'pypi', '/usr/local/bin/python3.12'],
    ['an exact host before a wildcard', 'a.pypi.example', 443, ['/usr/bin/curl'], 'exact', '/usr/bin/curl'],
    ['a wildcard where the exact rule lists no such binary', 'a.pypi.example', 443, ['/usr/bin/pip'], 'pypi', '/usr/bin/pip'],
    ['by ** over several labels', 'x.y.pypi.example', 443, ['/usr/bin/curl'], 'all-pypi', '/usr/bin/curl'],
    ['any host where a rule names none', 'whatever.example', 8443, ['/usr/bin/curl'], 'lab', '/usr/bin/curl'],
    ['an address literal in any spelling', '2001:db8:0:0::1', 443, ['/usr/bin/curl'], 'literal', '/usr/bin/curl'],
    ['a name in any case', 'FILES.example.ORG', 80, ['/usr/bin/pip'], 'pypi', '/usr/bin/pip'],
];

describe('allows', () => {
  it.each(allowances)('%s', (_, host, port, binaries, rule, matchedBinary) => {
    expect(ask(host, port, ...binaries)).toMatchObject({ allow: true, rule, matchedBinary });
  });

  it('hands on the blocks of the rule that decided', () => {
    expect(ask('a.pypi.example', 443, '/usr/bin/curl')).toMatchObject({ allowedIps: [], exactHost: true });
    expect(ask('b.pypi.example', 443, '/usr/bin/pip')).toMatchObject({
      allowedIps: ['10.1.0.0/16'],
      exactHost: false,
    });
  });
});

// biome-ignore format: one line a case
const denials: readonly (readonly [string, number, string[], string, string | undefined, string])[] = [
    ['evil.example', 443, ['/usr/bin/pip'], 'host_not_listed', undefined, 'no rule names evil.example'],
    ['pypi.example', 443, ['/usr/bin/pip'], 'host_not_listed', undefined, 'no rule names pypi.example'],
    ['10.0.0.1', 443, ['/usr/bin/pip'], 'host_not_listed', undefined, 'no rule names 10.0.0.1'],
    ['files.example.org.', 443, ['/usr/bin/pip'], 'host_not_listed', undefined, '"files.example.org." is neither a host name nor an IP address'],
    ['x\0.pypi.example', 443, ['/usr/bin/pip'], 'host_not_listed', undefined, '"x\0.pypi.example" is neither a host name nor an IP address'],
    ['files.example.org', 8080, ['/usr/bin/pip'], 'port_not_listed', 'pypi', 'rule "pypi" allows files.example.org on port 443, 80, not on 8080'],
    ['files.example.org', 80, ['/usr/bin/curl'], 'binary_not_listed', 'pypi', 'rule "pypi" allows files.example.org:80 for /usr/bin/pip, /usr/local/bin/python3*, not for /usr/bin/curl'],
    ['files.example.org', 80, ['/usr/bin/curl', '/bin/sh'], 'binary_not_listed', 'pypi', 'rule "pypi" allows files.example.org:80 for /usr/bin/pip, /usr/local/bin/python3*, not for /usr/bin/curl or what started it'],
    ['files.example.org', 80, [], 'identity_unknown', 'pypi', 'rule "pypi" allows files.example.org:80 for /usr/bin/pip, /usr/local/bin/python3*, but which program asked could not be established'],
    ['2001:db8::1', 443, ['/x'], 'binary_not_listed', 'literal', 'rule "literal" allows 2001:db8::1:443 for /usr/bin/curl, /a, /b and 2 more, not for /x'],
    ['idle.example', 443, ['/usr/bin/curl'], 'binary_not_listed', 'nobody', 'rule "nobody" allows idle.example:443 for no binary at all, not for /usr/bin/curl'],
    ['whatever.example', 8443, ['/usr/bin/pip'], 'binary_not_listed', 'lab', 'rule "lab" allows whatever.example:8443 for /usr/bin/curl, not for /usr/bin/pip'],
];

describe('denies, and names the nearest rule', () => {
  it.each(denials)('%j:%i by %j', (host, port, binaries, reason, nearest, detail) => {
    expect(ask(host, port, ...binaries)).toEqual({ allow: false, reason, nearest, detail });
  });

  it('everything where there are no rules', () => {
    const verdict = compilePolicy([]).decide({
      host: 'files.example.org',
      port: 443,
      binaries: ['/usr/bin/pip'],
    });
    expect(verdict).toMatchObject({ allow: false, reason: 'no_policy' });
  });
});

describe('hash pins', () => {
  const [one, two, three] = ['1', '2', '3'].map((digit) => digit.repeat(64)) as [string, string, string];
  const pinned = compilePolicy(
    parsePolicy(
      `version: 1
network_policies:
  file: {endpoints: [{host: a.example, port: 1}], binaries: [{path: /bin/a, sha256: "${one}"}, {path: /bin/b, sha256: ["${one}", "${two}"]}]}
  place: {endpoints: [{host: b.example, port: 1}], binaries: [{path: "/opt/**", sha256: "${one}"}]}
  mixed: {endpoints: [{host: c.example, port: 1}], binaries: [{path: /bin/a, sha256: "${one}"}, {path: /bin/c}]}
  first: {endpoints: [{host: d.example, port: 1}], binaries: [{path: /bin/a, sha256: "${one}"}]}
  second: {endpoints: [{host: d.example, port: 1}], binaries: [{path: /bin/a, sha256: "${two}"}]}
`,
      'p',
    ).network,
  );
  const ask = (host: string, ...callers: (readonly [string, string | undefined])[]): Verdict =>
    pinned.decide({
      host,
      port: 1,
      binaries: callers.map(([path]) => path),
      hashes: callers.map(([, hash]) => hash),
    });

  it.each<[string, string, readonly (readonly [string, string])[], string]>([
    ['the pinned content', 'a.example', [['/bin/a', one]], 'file'],
    ['either of two', 'a.example', [['/bin/b', two]], 'file'],
    ['an ancestor by its own content', 'a.example', [['/bin/x', three], ['/bin/a', one]], 'file'],
    ['a place and a content', 'b.example', [['/opt/x/y', one]], 'place'],
    ['a program beside it that has no pin', 'c.example', [['/bin/a', three], ['/bin/c', three]], 'mixed'],
    ['what another rule pins', 'd.example', [['/bin/a', two]], 'second'],
  ])('let pass: %s', (_, host, callers, rule) => {
    expect(ask(host, ...callers)).toMatchObject({ allow: true, rule });
  }); // biome-ignore format: a table

  it.each<[string, string, readonly (readonly [string, string | undefined])[], string]>([
    ['another content', 'a.example', [['/bin/a', two]], `rule "file" pins /bin/a to sha256 ${one}; what asked has ${two}`],
    ['none of two', 'a.example', [['/bin/b', three]], `rule "file" pins /bin/b to sha256 ${one}, ${two}; what asked has ${three}`],
    ['a content that is not known', 'a.example', [['/bin/a', undefined]], `rule "file" pins /bin/a to sha256 ${one}; that of what asked is not known`],
    ['the content of its child', 'a.example', [['/bin/x', one], ['/bin/a', two]], `rule "file" pins /bin/a to sha256 ${one}; what asked has ${two}`],
    ['another content in the place', 'b.example', [['/opt/x', two]], `rule "place" pins /opt/x to sha256 ${one}; what asked has ${two}`],
  ])('refuse %s', (_, host, callers, detail) => {
    expect(ask(host, ...callers)).toMatchObject({ allow: false, reason: 'binary_hash_differs', detail });
  }); // biome-ignore format: a table

  it('say nothing of programs that are not listed at all', () => {
    expect(ask('a.example', ['/bin/x', one])).toMatchObject({ reason: 'binary_not_listed' });
  });

  it('are not met by a caller whose hashes are not told', () => {
    expect(pinned.decide({ host: 'a.example', port: 1, binaries: ['/bin/a'] })).toMatchObject({
      reason: 'binary_hash_differs',
    });
  });
});

describe('mayName', () => {
  it.each([
    ['files.example.org', true],
    ['a.pypi.example', true],
    ['a.b.pypi.example', true],
  ])('%s: %s', (host, expected) => {
    expect(decider.mayName(host)).toBe(expected);
  });

  it('is true for any name where a rule has no host, and only there', () => {
    expect(decider.mayName('evil.example')).toBe(true);
    const withoutLab = compilePolicy(policy.network.filter(({ name }) => name !== 'lab'));
    expect(['evil.example', 'pypi.example', 'not a name', ''].map(withoutLab.mayName)).toEqual([
      false,
      false,
      false,
      false,
    ]);
    expect(compilePolicy([]).mayName('files.example.org')).toBe(false);
  });
});

describe('compilePolicy', () => {
  it.each([
    ['a host', { host: '*.com' }, [{ path: '/x' }]],
    ['a binary', { host: 'a.example' }, [{ path: '/x[*' }]],
  ])('refuses %s that the parser would have refused', (_, endpoint, binaries) => {
    const rule = {
      name: 'r',
      position: { line: 1, column: 1 },
      binaries,
      endpoints: [makeEndpoint(endpoint, 1)],
    };
    expect(() => compilePolicy([rule])).toThrow(expect.objectContaining({ code: 'policy_invalid' }));
  });

  it('agrees with the naive evaluator on random policies', () => {
    const random = seededRandom(20_260_821);
    const reasons = new Map<string, number>();
    for (let round = 0; round < 400; round++) {
      const rules = randomRules(random);
      const { decide } = compilePolicy(rules);
      for (let question = 0; question < 25; question++) {
        const query = randomQuery(random);
        const expected = decideNaively(rules, query);
        const verdict = decide(query);
        const answer = verdict.allow
          ? verdict
          : { allow: false, reason: verdict.reason, rule: verdict.nearest };
        expect(answer, JSON.stringify({ rules, query })).toMatchObject(expected);
        const outcome = verdict.allow ? 'allowed' : verdict.reason;
        reasons.set(outcome, (reasons.get(outcome) ?? 0) + 1);
      }
    }
    const outcomes = [
      'allowed',
      'no_policy',
      'host_not_listed',
      'port_not_listed',
      'binary_not_listed',
      'binary_hash_differs',
      'identity_unknown',
    ];
    for (const outcome of outcomes) expect(reasons.get(outcome) ?? 0, outcome).toBeGreaterThan(50);
  });
});

const LABELS = ['a', 'b', 'ab', 'org'];
const BINARIES = ['/a', '/b', '/bin/a', '/bin/ab', '/bin/x/a'];
const BINARY_PATTERNS = [...BINARIES, '/bin/*', '/bin/**', '/*', '/**', '/bin/*b'];
const HASHES = ['a'.repeat(64), 'b'.repeat(64)] as const;
const ADDRESSES = ['10.0.0.1', 'fd00::1'];

function randomName(random: Random, labels: readonly string[]): string {
  return Array.from({ length: 1 + random.below(3) }, () => random.pick(labels)).join('.');
}

function randomHost(random: Random): string {
  const kind = random.below(10);
  if (kind === 0) return '';
  if (kind === 1) return random.pick(ADDRESSES);
  if (kind < 5) return `${randomName(random, LABELS)}.org`;
  const first = random.pick(['*', '**', 'a*', '*b', 'a']);
  const middle = random.pick(['', 'a.', '*.', 'b.*.']);
  return `${first}.${middle}${random.pick(LABELS)}.org`;
}

function randomRules(random: Random): NetworkRule[] {
  return Array.from({ length: random.below(7) }, (_, index) => ({
    name: `${random.pick(['r', 'R', 'x'])}${9 - index}`,
    position: { line: index + 1, column: 1 },
    binaries: Array.from({ length: random.below(3) }, () => ({
      path: random.pick(BINARY_PATTERNS),
      ...(random.below(3) === 0 && { sha256: random.pick([[HASHES[0]], [HASHES[1]], HASHES]) }),
    })),
    endpoints: Array.from({ length: 1 + random.below(3) }, (_, place) =>
      makeEndpoint(
        {
          host: randomHost(random),
          ports: random.pick([[80], [443], [80, 443]]),
          allowedIps: [`10.${index}.${place}.0/24`],
        },
        place + 1,
      ),
    ),
  }));
}

function makeEndpoint(parts: Partial<Endpoint>, line: number): Endpoint {
  return { host: '', ports: [443], protocol: '', allowedIps: [], position: { line, column: 1 }, ...parts };
}

function randomQuery(random: Random): Query {
  const host = random.below(8) === 0 ? random.pick(ADDRESSES) : `${randomName(random, LABELS)}.org`;
  const binaries = Array.from({ length: random.below(4) }, () => random.pick(BINARIES));
  const hashes = binaries.map(() => random.pick(['', ...HASHES]));
  return { host, port: random.pick([80, 443, 8080]), binaries, hashes };
}
