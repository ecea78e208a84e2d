import assert from 'node:assert/strict';
import { BlockList, isIP } from 'node:net';
import * as v from 'valibot';
import { CastellanError } from '../../../src/errors.ts';
import { parseAssertions } from '../../../src/policy/assertions.ts';
import { compilePolicy } from '../../../src/policy/compile.ts';
import { checkDestination, classifyAddress } from '../../../src/policy/destination.ts';
import {
  canonicalAddress,
  contains,
  covers,
  formatAddress,
  formatBlock,
  parseAddress,
  parseBlock,
} from '../../../src/policy/match/address.ts';
import {
  type GlobDialect,
  globsOverlap,
  HOST_GLOB,
  PATH_GLOB,
  parseGlob,
  TEXT_GLOB,
} from '../../../src/policy/match/glob.ts';
import { HostIndex, hostPatternsOverlap, parseHostPattern } from '../../../src/policy/match/host.ts';
import { PathIndex } from '../../../src/policy/match/path-index.ts';
import { checkPolicy } from '../../../src/policy/parse.ts';
import { parsePath } from '../../../src/policy/path.ts';
import { policyRules } from '../../../src/roles/parse-policy.ts';
import type { Choices } from '../choices.ts';
import { naiveGlob } from '../naive-glob.ts';
import { choiceTarget, returnsOr, type Target, textTarget } from '../target.ts';

const DIALECTS: readonly GlobDialect[] = [PATH_GLOB, HOST_GLOB, TEXT_GLOB];
const PATTERN_CHARACTERS = [...'ab/.**?[]{}\\,-!^é', '/**/', '**', '[a-b]', '{a,b}', '\u{1f600}'];
const TEXT_CHARACTERS = [...'aabb//..-*,{]\\é', '\u{1f600}', '\n'];

const glob = choiceTarget({
  name: 'glob',
  check(choices) {
    const dialect = choices.pick(DIALECTS);
    const [one, other] = [choices.text(PATTERN_CHARACTERS, 12), choices.text(PATTERN_CHARACTERS, 8)];
    const [compiled, second] = [parseGlob(one, dialect), parseGlob(other, dialect)];
    if ('problem' in compiled) return;
    const naive = naiveGlob(one, dialect);
    for (let count = 0; count < 8; count++) {
      const text = choices.text(TEXT_CHARACTERS, 10);
      const matches: boolean = compiled.matches(text);
      assert.equal(matches, naive.test(text), `${one} and ${JSON.stringify(text)}: ${naive}`);
      if (matches && !('problem' in second) && second.matches(text))
        assert.ok(
          globsOverlap(one, other, dialect),
          `${one} and ${other} both match ${JSON.stringify(text)}`,
        );
    }
  },
});

/** The longest patterns and names there may be: time has to stay within one times the other. */
const globText = textTarget({
  name: 'glob-long',
  seeds: ['/**/a/**/b/**', '{a,{b,{c,d}}}', '[a-z]*[!x]?', '/a*a*a*a*a*a*b'],
  words: ['*', '**/', '{,', '}', '{a,b}', '?', '[^]', '\\'],
  maxBytes: 1024,
  // Each character of the text is run over the states of the whole pattern.
  microsecondsPerByte: 1500,
  check(text) {
    for (const dialect of DIALECTS) {
      const compiled = parseGlob(text, dialect);
      if ('problem' in compiled) continue;
      compiled.matches(text.repeat(4).slice(0, 4096));
      compiled.matches('a'.repeat(4096));
    }
  },
});

const LABELS = ['a', 'b', 'ab', '*', '**', 'a*', '*b', 'xn--a', 'org'];

const host = choiceTarget({
  name: 'host-pattern',
  check(choices) {
    const texts = choices.list(6, () =>
      choices
        .list(4, () => choices.pick(LABELS))
        .concat('org')
        .join('.'),
    );
    const patterns = texts
      .map(parseHostPattern)
      .flatMap((pattern) => ('problem' in pattern ? [] : [pattern]));
    const index = new HostIndex<string>();
    for (const pattern of patterns) {
      const name = pattern.kind === 'any' ? '' : pattern.host;
      assert.deepEqual(parseHostPattern(name), pattern, 'what was read is read again as the same');
      index.entry(pattern, () => name);
    }
    const asked = choices
      .list(4, () => choices.pick(['a', 'b', 'ab', 'c']))
      .concat('org')
      .join('.');
    const matching = patterns.filter(
      (pattern) => pattern.kind !== 'any' && naiveHost(pattern.host).test(asked),
    );
    const expected = new Set(matching.map((pattern) => (pattern.kind === 'any' ? '' : pattern.host)));
    assert.deepEqual(index.find(asked).flat().toSorted(), [...expected].toSorted());
    for (const a of matching)
      for (const b of matching) assert.ok(hostPatternsOverlap(a, b), 'both match one name');
  },
});

function naiveHost(pattern: string): RegExp {
  const labels = pattern
    .split('.')
    .map((label) => (label === '**' ? '.+' : label === '*' ? '[^.]+' : label.replaceAll('*', '[^.]*')));
  return new RegExp(`^${labels.join('\\.')}$`);
}

const hostText = textTarget({
  name: 'host-pattern-text',
  seeds: ['*.example.com', '**.a.b', 'api-*.example.com', '10.0.0.1', '::ffff:10.0.0.1', 'exa\u212a.com'],
  words: ['*', '**', '.', '::', '0x', '%', '\u3002', '\0'],
  maxBytes: 400,
  check(text) {
    const pattern = parseHostPattern(text);
    if ('problem' in pattern || pattern.kind === 'any') return;
    assert.match(pattern.host, /^[a-z0-9_.:*-]+$/);
    assert.deepEqual(parseHostPattern(pattern.host), pattern);
    if (pattern.kind === 'exact') assert.equal(pattern.isAddress, isIP(pattern.host) !== 0);
    // Nothing may stand for all names of a top-level domain.
    if (pattern.kind === 'wildcard') assert.doesNotMatch(pattern.host, /^[^.]*\*[^.]*\.[^.]*$|\.\*$/);
  },
});

const address = textTarget({
  name: 'address',
  seeds: [
    '10.0.0.1',
    '::1',
    '::ffff:1.2.3.4',
    '64:ff9b::7f00:1',
    '2001:db8::1/32',
    '10.0.0.0/8',
    '1:2:3:4:5:6:7.8.9.10',
    'fe80::1%eth0',
  ],
  words: ['::', ':0:', 'ffff', '/0', '/128', '255', '0', '%1'],
  maxBytes: 64,
  check(text) {
    const parsed = parseAddress(text);
    assert.equal(parsed !== undefined, isIP(text) !== 0 && !text.includes('%'));
    const block = parseBlock(text);
    if (block !== undefined) {
      assert.deepEqual(parseBlock(formatBlock(block)), block);
      assert.ok(contains(block, block) && covers(block, block));
    }
    if (parsed === undefined) return;
    const canonical = formatAddress(parsed);
    assert.deepEqual(parseAddress(canonical), parsed);
    assert.equal(canonicalAddress(canonical), canonical);
    const isMapped = isIP(text) === 6 && parsed.family === 4;
    if (!isMapped) {
      const url = new URL(`http://${isIP(text) === 6 ? `[${text}]` : text}/`);
      assert.equal(url.hostname.replace(/^\[|\]$/g, ''), canonical);
    }
  },
});

/** What no sandbox reaches without being told to, from the registries of IANA, written down apart from the table. */
const NOT_PUBLIC = new BlockList();
for (const [
  net,
  prefix,
] of [['0.0.0.0', 8], ['10.0.0.0', 8], ['100.64.0.0', 10], ['127.0.0.0', 8], ['169.254.0.0', 16], ['172.16.0.0', 12], ['192.0.2.0', 24], ['192.168.0.0', 16], ['198.18.0.0', 15], ['198.51.100.0', 24], ['203.0.113.0', 24], ['224.0.0.0', 4], ['240.0.0.0', 4], ['168.63.129.16', 32]] as const) // biome-ignore format: a table
  NOT_PUBLIC.addSubnet(net, prefix, 'ipv4');
for (const [
  net,
  prefix,
] of [['::', 96], ['64:ff9b:1::', 48], ['100::', 64], ['2001::', 32], ['2001:db8::', 32], ['2002::', 16], ['fc00::', 7], ['fe80::', 10], ['fec0::', 10], ['ff00::', 8], ['4000::', 3], ['8000::', 2]] as const) // biome-ignore format: a table
  NOT_PUBLIC.addSubnet(net, prefix, 'ipv6');

function anyAddress(choices: Choices): string {
  const v4 = [
    choices.pick([0, 10, 100, 127, 169, 172, 192, 198, 224, 240, 1, 168]),
    choices.pick([0, 16, 31, 32, 63, 64, 168, 254, 18]),
    choices.byte(),
    choices.byte(),
  ].join('.');
  const groups = (count: number) =>
    Array.from({ length: count }, () => (choices.byte() * 256 + choices.byte()).toString(16)).join(':');
  return choices.pick([
    () => v4,
    () => `::ffff:${v4}`,
    () => `64:ff9b::${v4}`,
    () => `::${v4}`,
    () =>
      `${choices.pick(['2001', '2002', 'fc00', 'fe80', 'ff02', '64', '2600', '3fff', '4000', '100'])}:${groups(7)}`,
    () => groups(8),
  ])();
}

const destination = choiceTarget({
  name: 'destination',
  check(choices) {
    const ip = anyAddress(choices);
    const parsed = parseAddress(ip);
    assert.ok(parsed !== undefined);
    const { reach } = classifyAddress(ip);
    const embedded = ip.startsWith('64:ff9b::') ? (ip.split('::')[1] ?? '') : formatAddress(parsed);
    const family = isIP(embedded) === 4 ? 'ipv4' : 'ipv6';
    if (NOT_PUBLIC.check(embedded, family)) assert.notEqual(reach, 'public', `${ip} is public`);
    const port = choices.pick([80, 443, 2379, 10250]);
    const allowedIps = choices.list(2, () =>
      choices.pick(['10.0.0.0/8', 'fc00::/7', '169.254.0.0/16', '::/0']),
    );
    const verdict = { allow: true, rule: 'r', matchedBinary: '/b', allowedIps, exactHost: choices.chance(2), protocol: '', requests: undefined } as const; // biome-ignore format: as a row
    const check = checkDestination(verdict, 'a.example', port, [ip]);
    if (!check.ok) return;
    assert.deepEqual(check.addresses, [formatAddress(parsed)]);
    assert.notEqual(reach, 'blocked');
    if (allowedIps.length === 0) assert.equal(reach, 'public');
    else assert.ok(allowedIps.some((text) => isInBlock(text, formatAddress(parsed))));
  },
});

function isInBlock(block: string, ip: string): boolean {
  const [net = '', prefix] = block.split('/');
  const list = new BlockList();
  const family = isIP(net) === 4 ? 'ipv4' : 'ipv6';
  if ((isIP(ip) === 4) !== (family === 'ipv4')) return false;
  list.addSubnet(net, Number(prefix), family);
  return list.check(ip, family);
}

const pathIndex = choiceTarget({
  name: 'path-index',
  check(choices) {
    const index = new PathIndex<string>();
    const patterns = choices.list(
      6,
      () => `/${choices.text(['a', 'b', '/', '*', '**', '/**/', '{a,b/}', '[ab]', '\\a', '?'], 6)}`,
    );
    const taken = patterns.filter((pattern) => !('problem' in parseGlob(pattern, PATH_GLOB)));
    for (const pattern of taken) index.add(pattern, pattern);
    for (let count = 0; count < 4; count++) {
      const path = `/${choices.text('aab//*', 8)}`;
      const expected = taken.filter((pattern) => naiveGlob(pattern, PATH_GLOB).test(path));
      assert.deepEqual(index.find(path).toSorted(), expected.toSorted(), `${path} in ${taken.join(' ')}`);
    }
  },
});

const POLICY_SEED = `version: 1
filesystem_policy: {include_workdir: true, read_only: [/usr, /etc], read_write: [/tmp]}
landlock: {compatibility: best_effort}
process: {run_as_user: sandbox, run_as_group: "1000"}
network_policies:
  api: &api
    endpoints:
      - host: "*.example.com"
        ports: [443, 8443]
        protocol: rest
        enforcement: enforce
        path: /v1/**
        rules: [{allow: {method: GET, path: "/v1/{a,b}/*", query: {q: {any: [x*, y]}}}}]
        deny_rules: [{path: /v1/secret}]
      - {host: 10.1.2.3, port: 80, allowed_ips: [10.0.0.0/8]}
    binaries: [{path: /usr/bin/curl}, {path: "/opt/**"}]
  mcp:
    endpoints:
      - {host: m.example, port: 443, protocol: mcp, rules: [{allow: {method: tools/call, tool: [r]}}]}
      - {host: g.example, port: 443, protocol: graphql, access: full, persisted_queries: allow_registered, graphql_persisted_queries: {abc: {operation_type: query, fields: [a]}}}
    binaries: *api
`;
const POLICY_WORDS = [
  '&a',
  '*a',
  '? ',
  '- ',
  ': ',
  '\n',
  '{',
  '[',
  '"',
  '|',
  '!!',
  '<<: *a',
  '%',
  '__proto__',
  'constructor',
  'host: ',
  'port: ',
  '0x1bb',
  '1e9',
  '~',
  '\u2028',
  '"\\x1b"',
];

const policyText = textTarget({
  name: 'policy-text',
  weight: 4,
  seeds: [
    POLICY_SEED,
    POLICY_SEED.replace('*api', '[{path: /b}]').replace('tool: [r]', 'tool: r'),
    'version: 1',
    'version: 1\nnetwork_policies: {a: {endpoints: [{host: a.example, port: 1}], binaries: [{path: /b}]}}',
  ],
  words: POLICY_WORDS,
  maxBytes: 32 * 1024,
  microsecondsPerByte: 20,
  check(text) {
    const { document, problems } = checkPolicy(text, 'p');
    assert.equal(document === undefined, problems.length > 0);
    for (const { message, position } of [...problems, ...(document?.notices ?? [])]) {
      assert.match(message, /^[^\p{Cc}\u2028\u2029\u202e]+$/u, 'a message is one line');
      if (position !== undefined) assert.ok(position.line >= 1 && position.column >= 1);
    }
    if (document === undefined) return;
    assert.deepEqual(checkPolicy(text, 'p').document, document);
    compilePolicy(document.network).decide({ host: 'a.example.com', port: 443, binaries: ['/usr/bin/curl'] });
    const wired = v.parse(policyRules, JSON.parse(JSON.stringify(document.network)));
    const sent: unknown = JSON.parse(JSON.stringify(document.network));
    assert.deepEqual(JSON.parse(JSON.stringify(wired)), sent, 'the wire changes the policy');
    for (const path of [...document.filesystem.readOnly, ...document.filesystem.readWrite])
      assert.deepEqual(parsePath(path), { path });
  },
});

const assertionText = textTarget({
  name: 'policy-assertions',
  seeds: [
    'tests:\n  - {host: a.example, port: 443, binary: /b, method: GET, path: /x, expect: allow}\n  - {host: b, port: 1, binary: /b, expect: deny}\n',
  ],
  words: POLICY_WORDS,
  maxBytes: 8 * 1024,
  microsecondsPerByte: 20,
  check(text) {
    returnsOr(() => parseAssertions(text, 'p'), isPolicyInvalid);
  },
});

function isPolicyInvalid(error: unknown): boolean {
  return error instanceof CastellanError && error.code === 'policy_invalid';
}

export const POLICY_TARGETS: readonly Target[] = [
  glob,
  globText,
  host,
  hostText,
  address,
  destination,
  pathIndex,
  policyText,
  assertionText,
];
