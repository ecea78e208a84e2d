import { describe, expect, test } from 'vitest';
import type { NetworkRule } from '../../../src/policy/document.ts';
import { parsePolicy } from '../../../src/policy/parse.ts';
import { readProposal } from '../../../src/policy/proposal.ts';
import { renderRules } from '../../../src/policy/render.ts';
import { type DenialSummary, suggestRule } from '../../../src/policy/suggest.ts';

const parse = (text: string): readonly NetworkRule[] => parsePolicy(text, 'p').network;
const rule = (endpoint: string): readonly NetworkRule[] =>
  parse(
    `version: 1\nnetwork_policies:\n  r: {endpoints: [{${endpoint}}], binaries: [{path: /usr/bin/curl}, {path: "/opt/**"}]}\n`,
  );
/** Positions are those of a text. */
const unplaced = (value: unknown): unknown =>
  JSON.parse(JSON.stringify(value, (key, item) => (key === 'position' ? undefined : item)));

const NOTHING = { rules: [], now: 0 };

describe('rules as YAML are the same rules again', () => {
  test.each([
    'host: a.test, port: 443',
    'host: "**.a.test", ports: [80, 443], protocol: tcp',
    'port: 443, allowed_ips: [10.0.0.0/8, "fd00::/8"]',
    'host: "::1", port: 1',
    'host: a.test, port: 443, protocol: rest, access: read-only',
    'host: a.test, port: 443, protocol: rest, rules: [{allow: {method: GET}}]',
    'host: a.test, port: 443, protocol: rest, enforcement: audit, path: "/v1/**", allow_encoded_slash: true, rules: [{allow: {method: GET, path: "/{a,b}/*", query: {q: "x: #y", "a b": {any: ["1", "yes", "null", "\\"", "- x"]}}}}], deny_rules: [{path: /x}, {method: POST}]',
    'host: a.test, port: 443, protocol: websocket, access: full',
    'host: a.test, port: 443, allow_encrypted_client_hello: true',
    'host: a.test, port: 443, protocol: websocket, graphql_max_body_bytes: 9, rules: [{allow: {method: GET}}, {allow: {operation_type: query}}]',
    'host: a.test, port: 443, protocol: graphql, persisted_queries: allow_registered, graphql_max_body_bytes: 9, graphql_persisted_queries: {abc: {operation_type: query, operation_name: Q, fields: [a]}, "007": {operation_type: mutation, fields: [b, c]}}, rules: [{allow: {operation_type: query, operation_name: "Q*", fields: [a, "b*"]}}, {allow: {operation_type: "*"}}], deny_rules: [{fields: [secret]}]',
    'host: a.test, port: 443, protocol: json-rpc, json_rpc: {max_body_bytes: 7}, rules: [{allow: {method: a}}]',
    'host: a.test, port: 443, protocol: mcp, rules: [{allow: {method: initialize}}, {allow: {method: tools/call, tool: {any: [a, "b_*"]}, arguments: {repo: "me/*"}}}], deny_rules: [{method: tools/call, tool: x}]',
    'host: a.test, port: 443, protocol: mcp, mcp: {allow_all_known_mcp_methods: true, strict_tool_names: false}',
  ])('%s', (endpoint) => {
    const rules = rule(endpoint);
    expect(unplaced(parse(`version: 1\n${renderRules(rules)}`)), renderRules(rules)).toEqual(unplaced(rules));
  });

  test('a text with lines in it does not look like more of the rule', () => {
    const hidden = '/x\n        - allow: harmless\n    binaries: nobody at all, or so it looks';
    const rules = rule(
      `host: a.test, port: 443, protocol: rest, rules: [{allow: {method: POST, path: ${JSON.stringify(hidden)}}}]`,
    );
    const yaml = renderRules(rules);
    expect(unplaced(parse(`version: 1\n${yaml}`))).toEqual(unplaced(rules));
    expect(yaml.split('\n').filter((line) => line.trimStart().startsWith('binaries:'))).toHaveLength(1);
  });

  test('with an end, and with programs of certain contents', () => {
    const [one, other] = ['a'.repeat(64), 'b'.repeat(64)];
    const rules = parse(
      `version: 1\nnetwork_policies:\n  r: {expires: "2030-01-01T00:00:00Z", endpoints: [{host: a.test, port: 1}], binaries: [{path: /a, sha256: ${one}}, {path: /b, sha256: [${one}, ${other}]}]}\n`,
    );
    expect(unplaced(parse(`version: 1\n${renderRules(rules)}`)), renderRules(rules)).toEqual(unplaced(rules));
  });

  test('none are none', () => {
    expect(parse(`version: 1\n${renderRules([])}`)).toEqual([]);
  });
});

describe('a proposal', () => {
  const of = (endpoint: object, binaries: readonly string[] = ['/usr/bin/curl']) => ({
    operations: [
      {
        addRule: {
          ruleName: 'x',
          rule: { endpoints: [endpoint], binaries: binaries.map((path) => ({ path })) },
        },
      },
    ],
  });

  test('says what it grants more, and what to look at twice', () => {
    const read = readProposal(of({ host: '', ports: [443, 60_000], allowed_ips: ['10.0.0.0/8'] }), NOTHING);
    if (!read.ok) throw new Error(read.problems.join());
    expect(read.rules[0]).toMatchObject({
      isCovered: false,
      grants: ['connect       10.0.0.0/8:443,60000 by /usr/bin/curl'],
      notes: [
        '10.0.0.0/8: what is sent there is not looked at',
        '10.0.0.0/8: more than one host',
        '10.0.0.0/8: addresses of a private network',
        '10.0.0.0/8: port 60000 has no fixed owner',
      ],
    });
  });

  test('that is covered needs no new name', () => {
    const current = rule('host: a.test, port: 443');
    const read = readProposal(
      {
        operations: [
          {
            addRule: {
              ruleName: 'r',
              rule: { endpoints: [{ host: 'a.test', port: 443 }], binaries: [{ path: '/usr/bin/curl' }] },
            },
          },
        ],
      },
      { rules: current, now: 0 },
    );
    expect(read).toMatchObject({ ok: true, rules: [{ isCovered: true, grants: [] }] });
  });

  test('of many lines is told in a few', () => {
    const binaries = Array.from({ length: 20 }, (_, index) => `/b${index}`);
    const endpoints = Array.from({ length: 20 }, (_, index) => ({ host: `h${index}.test`, port: 443 }));
    const read = readProposal(
      {
        operations: [
          { addRule: { ruleName: 'x', rule: { endpoints, binaries: binaries.map((path) => ({ path })) } } },
        ],
      },
      NOTHING,
    );
    if (!read.ok) throw new Error(read.problems.join());
    expect(read.rules[0]?.grants).toHaveLength(8);
    expect(read.rules[0]?.grants.at(-1)).toBe('and 13 more');
  });

  test.each([
    null,
    7,
    [],
    'x',
    { operations: 1 },
    { operations: [null] },
    { operations: [{}] },
    { operations: [{ addRule: { ruleName: 1 } }] },
    { operations: [{ addRule: { ruleName: 'x' } }] },
    { operations: [{ addRule: { ruleName: 'x', rule: [] } }] },
    { operations: Array(9).fill({}) },
    { intent_summary: 'x'.repeat(501), operations: [] },
  ])('that is %j is none', (value) => {
    expect(readProposal(value, NOTHING)).toMatchObject({ ok: false });
  });

  test('names no file of the machine, and learns of none', () => {
    const tls_authority = '/etc/passwd';
    const endpoint = { host: 'a.test', port: 443, protocol: 'rest', access: 'full', tls_authority };
    expect(readProposal(of(endpoint), NOTHING)).toEqual({
      ok: false,
      problems: ['tls_authority "/etc/passwd" cannot be read here'],
    });
  });
});

describe('a suggestion', () => {
  const denial: DenialSummary = {
    host: 'a.test',
    port: 443,
    binary: '/usr/bin/curl',
    reason: 'host_not_listed',
    count: 1,
    requests: [],
  };

  test.each<[string, Partial<DenialSummary>, number | undefined]>([
    ['once', {}, 0.65],
    ['often', { count: 3 }, 0.75],
    ['very often', { count: 10 }, 0.85],
    ['an odd port', { port: 1234 }, 0.5],
    ['a private address', { host: '10.0.0.1', port: 1234 }, 0.3],
    ['metadata', { host: '169.254.169.254' }, undefined],
    ['the name of metadata', { host: 'metadata.google.internal' }, undefined],
    ['itself', { host: 'localhost' }, undefined],
    ['castellan’s own name', { host: 'policy.local' }, undefined],
    ['a name that is none', { host: 'a b' }, undefined],
    ['a program that reads like a pattern', { binary: '/usr/**' }, undefined],
    ['no program', { binary: '' }, undefined],
    ['a request that is refused', { reason: 'request_refused' }, undefined],
    ['another name than it dialled', { reason: 'name_mismatch' }, undefined],
  ])('%s', (_, change, confidence) => {
    expect(suggestRule({ ...denial, ...change })?.confidence).toBe(confidence);
  });

  test('is a policy, as narrow as what was seen', () => {
    const suggestion = suggestRule({
      ...denial,
      requests: ['GET /repos/*/issues', 'POST /x', 'GET /a/**', 'GET /{a,b}', 'CONNECT /x'],
    });
    expect(parse(`version: 1\n${suggestion?.yaml}`)).toMatchObject([
      {
        name: 'allow_a.test_443',
        endpoints: [
          {
            host: 'a.test',
            ports: [443],
            protocol: 'rest',
            inspection: {
              enforcement: 'enforce',
              allow: [
                { method: 'GET', path: '/repos/*/issues' },
                { method: 'POST', path: '/x' },
              ],
            },
          },
        ],
        binaries: [{ path: '/usr/bin/curl' }],
      },
    ]);
  });
});
