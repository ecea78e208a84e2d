/** The tools for policies, as their user calls them. */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { CASTELLAN } from '../fakes/world.ts';

const directory = mkdtempSync(join(tmpdir(), 'castellan-policy-'));
afterAll(() => rmSync(directory, { recursive: true }));

function file(name: string, text: string): string {
  const path = join(directory, name);
  writeFileSync(path, text);
  return path;
}

const HASH = '5e'.repeat(32);
const POLICY = file(
  'policy.yaml',
  `version: 1
network_policies:
  tickets:
    endpoints:
      - host: tickets.example.org
        port: 443
        protocol: rest
        rules: [{ allow: { method: GET, path: "/api/**" } }]
        deny_rules: [{ path: "/api/admin/**" }]
    binaries: [{ path: /usr/bin/curl }]
  watched:
    endpoints: [{ host: watched.example.org, port: 443, protocol: graphql, enforcement: audit, access: read-only }]
    binaries: [{ path: /usr/bin/curl }]
  db:
    endpoints: [{ host: pg.example.org, port: 5432, protocol: tcp }]
    binaries: [{ path: /usr/bin/psql }]
  pinned:
    endpoints: [{ host: pinned.example.org, port: 443 }]
    binaries: [{ path: /usr/bin/curl, sha256: ${HASH} }]
`,
);
const BROKEN = file(
  'broken.yaml',
  'version: 1\nlandlok: {}\nnetwork_policies: {a: {endpoints: [{host: "*.com", port: 1}]}}\n',
);

function policy(...argv: string[]): { code: number | null; out: string; err: string } {
  const { status, stdout, stderr } = spawnSync(CASTELLAN, ['policy', ...argv], { encoding: 'utf8' });
  return { code: status, out: stdout, err: stderr };
}

const explain = (...argv: string[]) => {
  const { code, out } = policy('explain', POLICY, '--json', ...argv);
  return { code, ...JSON.parse(out) };
};
const CURL = ['--binary', '/usr/bin/curl'];

describe('policy lint', () => {
  it('tells all problems at once, where they stand', () => {
    const { code, out } = policy('lint', BROKEN);
    expect(code).toBe(102);
    expect(out).toMatch(/broken\.yaml:2:1: error: unknown key "landlok".*did you mean "landlock"/);
    expect(out).toMatch(/broken\.yaml:3:\d+: error: host "\*\.com" covers a whole top-level domain/);
  });

  it('tells what a valid policy does otherwise than its author may think', () => {
    expect(policy('lint', POLICY)).toMatchObject({
      code: 0,
      out: expect.stringMatching(/policy\.yaml:5:9: notice: .*castellan enforces/),
    });
  });
});

describe('policy explain', () => {
  it.each<[string, readonly string[], object]>([
    ['a request that passes', [...CURL, '--url', 'https://tickets.example.org/api/x'], { code: 0, verdict: 'allow', level: 'request', rule: 'tickets', at: `${POLICY}:3` }],
    ['one that a rule refuses', [...CURL, '--url', 'https://tickets.example.org/api/x/../admin/'], { code: 1, verdict: 'deny', reason: 'request_refused', detail: expect.stringContaining('line 9') }],
    ['one that none allows', [...CURL, '--url', 'https://tickets.example.org/api/x', '--method', 'PUT'], { code: 1, reason: 'request_not_listed' }],
    ['one that only audit lets pass', [...CURL, '--url', 'https://watched.example.org/graphql', '--body', file('m.json', '{"query":"mutation { a }"}')], { code: 0, verdict: 'audit', reason: 'request_not_listed' }],
    ['another program', ['--binary', '/bin/sh', '--url', 'https://tickets.example.org/api/x'], { code: 1, level: 'connection', reason: 'binary_not_listed' }],
    ['what an allowed program started', ['--binary', '/bin/sh', ...CURL, '--url', 'https://tickets.example.org/api/x'], { code: 0 }],
    ['a connection', ['--binary', '/usr/bin/psql', '--url', 'tcp://pg.example.org:5432'], { code: 0, level: 'connection', rule: 'db' }],
    ['a pinned program', ['--binary', '/bin/sh', '--binary', `/usr/bin/curl@sha256:${HASH.toUpperCase()}`, '--url', 'https://pinned.example.org/'], { code: 0, rule: 'pinned' }],
    ['another content', ['--binary', `/usr/bin/curl@sha256:${'0'.repeat(64)}`, '--url', 'https://pinned.example.org/'], { code: 1, reason: 'binary_hash_differs', rule: 'pinned', detail: expect.stringMatching(`${HASH}; what asked has 0000`) }],
    ['a content that is not told', [...CURL, '--url', 'https://pinned.example.org/'], { code: 1, reason: 'binary_hash_differs', detail: expect.stringContaining('is not known') }],
    ['another port', [...CURL, '--url', 'http://tickets.example.org/'], { code: 1, reason: 'port_not_listed' }],
  ])('%s', (_, argv, expected) => {
    expect(explain(...argv)).toMatchObject(expected);
  }); // biome-ignore format: a table

  it.each([
    [['--binary', '/x'], 'needs --binary and --url'],
    [[...CURL, '--url', 'ftp://x/'], 'is no URL such as'],
    [[...CURL, '--url', 'https://x y/'], 'is no URL such as'],
    [[...CURL, '--url', 'https://a.example/', '--header', 'x'], 'write NAME: VALUE'],
  ])('refuses %j', (argv, message) => {
    expect(policy('explain', POLICY, ...argv)).toMatchObject({
      code: 100,
      err: expect.stringContaining(message),
    });
  });
});

describe('policy test', () => {
  const tests = (text: string) => file('tests.yaml', `tests:\n${text}`);

  it('takes the hash of a program beside its path', () => {
    const path =
      tests(`  - {binary: "/usr/bin/curl@sha256:${HASH}", url: "https://pinned.example.org/", expect: allow}
  - {binary: /bin/sh, ancestors: ["/usr/bin/curl@sha256:${HASH}"], url: "https://pinned.example.org/", expect: allow}
  - {binary: /usr/bin/curl, url: "https://pinned.example.org/", expect: deny, reason: binary_hash_differs}
`);
    expect(policy('test', POLICY, path)).toMatchObject({ code: 0 });
  });

  it('counts, and points at what does not hold', () => {
    const path =
      tests(`  - {binary: /usr/bin/curl, url: "https://tickets.example.org/api/x", expect: allow, rule: tickets}
  - {name: wrong, binary: /usr/bin/curl, url: "https://tickets.example.org/x", expect: allow}
  - {binary: /usr/bin/curl, url: "https://tickets.example.org/x", expect: deny, reason: request_not_listed}
`);
    const { code, out } = policy('test', POLICY, path);
    expect(code).toBe(1);
    expect(out).toMatch(/FAIL {2}wrong\n.*tests\.yaml:3: deny by tickets/);
    expect(out).toMatch(/2 passed, 1 failed\n$/);
  });

  it.each([
    ['  - {binary: /x, url: "tcp://a.example:1"}\n', 'needs binary, url and expect'],
    ['  - {binary: /x, url: "tcp://a.example:1", expect: alow}\n', 'did you mean "allow"'],
    ['  - {binry: /x}\n', 'did you mean "binary"'],
  ])('refuses %j', (text, message) => {
    expect(policy('test', POLICY, tests(text))).toMatchObject({
      code: 102,
      err: expect.stringContaining(message),
    });
  });
});

it('policy diff tells what changed in meaning, not in text', () => {
  const same = file(
    'same.yaml',
    `# a comment\nversion: 1\nnetwork_policies: {db: {binaries: [{path: /usr/bin//psql}], endpoints: [{ports: [5432], protocol: tcp, host: PG.example.org}]}}\n`,
  );
  const plain = file(
    'plain.yaml',
    `version: 1\nnetwork_policies:\n  db:\n    endpoints: [{host: pg.example.org, port: 5432, protocol: tcp}]\n    binaries: [{path: /usr/bin/psql}]\n`,
  );
  expect(policy('diff', plain, same)).toEqual({ code: 0, out: '', err: '' });
  const unpinned = file('unpinned.yaml', readFileSync(POLICY, 'utf8').replace(`, sha256: ${HASH}`, ''));
  expect(policy('diff', unpinned, POLICY).out).toContain(`by /usr/bin/curl@sha256:${HASH}  (pinned)`);
  const { code, out } = policy('diff', plain, POLICY);
  expect(code).toBe(1);
  expect(out).toMatch(/^\+ {3}allow {7}tickets\.example\.org:443 GET \/api\/\*\* {2}\(tickets\)$/m);
  expect(out).not.toMatch(/^- /m);
});
