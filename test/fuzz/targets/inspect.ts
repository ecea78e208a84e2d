import assert from 'node:assert/strict';
import { posix } from 'node:path';
import { Kind, parse, print } from 'graphql';
import { readGraphql } from '../../../src/egress/inspect/graphql.ts';
import { readJsonRpc, readMcp } from '../../../src/egress/inspect/json-rpc.ts';
import { readTarget } from '../../../src/egress/inspect/path.ts';
import type { SentRequest } from '../../../src/egress/inspect/sent-request.ts';
import { parseStrictJson } from '../../../src/egress/inspect/strict-json.ts';
import type { Choices } from '../choices.ts';
import { choiceTarget, type Target, textTarget } from '../target.ts';

const path = textTarget({
  name: 'request-path',
  seeds: [
    '/a/b?x=1&y=%20z',
    '/a/../b/./c',
    '/%2e%2e/a',
    '/a;b=c/d',
    '//a///b/',
    '/a%2Fb',
    '/%25%32%65',
    '/é',
  ],
  words: [
    '%2e',
    '%2E%2e',
    '%2f',
    '%5c',
    '%252e',
    '%00',
    ';',
    '..',
    '//',
    '/./',
    '?',
    '#',
    '%',
    '+',
    '&',
    '=',
    '%c3%a9',
    '%ff',
  ],
  maxBytes: 6000,
  check(target) {
    for (const encodedSlash of [false, true]) {
      const read = readTarget(target, { encodedSlash });
      if (!read.ok) continue;
      const { forward, path: readings } = read;
      const again = readTarget(forward, { encodedSlash });
      assert.ok(again.ok, 'what is sent on could not be read');
      assert.deepEqual(again, read, 'what is sent on is read as something else');
      assert.ok(readings.allow.every((each) => readings.deny.includes(each)));
      const sentPath = forward.split('?')[0] ?? '';
      // The servers that others might have, each an independent reader of what they are sent.
      const { pathname } = new URL(`http://h${forward}`);
      assert.equal(decodeURIComponent(pathname), decodeURIComponent(sentPath));
      for (const reading of serverReadings(sentPath))
        assert.ok(readings.deny.includes(reading), `${JSON.stringify(reading)} is a reading too`);
      const query = forward.includes('?') ? forward.slice(forward.indexOf('?')) : '';
      assert.deepEqual(read.query, [...new URLSearchParams(query)]);
    }
  },
});

/** Decoded and normalised as file servers, and as servers with path parameters do. */
function serverReadings(sentPath: string): string[] {
  const decoded = decodeURIComponent(sentPath);
  const withoutParameters = decodeURIComponent(sentPath.replaceAll(/;[^/]*/g, ''));
  return [decoded, posix.normalize(decoded), withoutParameters, posix.normalize(withoutParameters)];
}

const strictJson: Target = {
  name: 'strict-json',
  seeds: [
    '{"a":[1,-2.5e3,true,null,"\\u00e9\\n"],"b":{"c":{}}}',
    '[[[[]]]]',
    '"x"',
    '{"a":1,"\\u0061":2}',
    '{"__proto__":1}',
  ],
  words: [
    '"a":1,',
    '\ufeff',
    '\\u0000',
    '{"',
    '"}',
    '[',
    ']',
    Uint8Array.of(0xff),
    '1e999',
    '__proto__',
    '\\',
  ],
  maxBytes: 64 * 1024,
  check(input) {
    const read = parseStrictJson(input);
    const text = Buffer.from(input).toString('utf8');
    if (!read.ok) return;
    assert.equal(Buffer.from(text).compare(input), 0, 'bytes that are no UTF-8 were taken');
    const value: unknown = JSON.parse(text);
    assert.deepEqual(plain(read.value), value);
    // Without white space, all that was dropped is what came twice.
    assert.equal(countKeys(text), countMembers(value), 'a key that came twice was taken');
  },
};

/** With the prototypes that JSON.parse gives. */
function plain(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(plain);
  if (typeof value !== 'object' || value === null) return value;
  // fromEntries defines, where an assignment to __proto__ would do something else.
  return Object.fromEntries(Object.entries(value).map(([key, each]) => [key, plain(each)]));
}

/** Strings followed by a colon. */
function countKeys(text: string): number {
  return (text.match(/"(?:[^"\\]|\\.)*"(?=\s*:)/g) ?? []).length;
}

function countMembers(value: unknown): number {
  if (typeof value !== 'object' || value === null) return 0;
  const own = Array.isArray(value) ? 0 : Object.keys(value).length;
  return Object.values(value).reduce<number>((sum, each) => sum + countMembers(each), own);
}

function json(choices: Choices, depth: number): unknown {
  const kind = choices.below(depth > 0 ? 7 : 5);
  if (kind === 5) return choices.list(3, () => json(choices, depth - 1));
  if (kind === 6)
    return Object.fromEntries(choices.list(3, () => [choices.text('ab_é"\\', 4), json(choices, depth - 1)]));
  return choices.pick<unknown>([
    null,
    true,
    choices.text('a"\\\n\u2028', 4),
    choices.byte(),
    choices.byte() / 7 - 9,
  ]);
}

const jsonValues = choiceTarget({
  name: 'json-values',
  check(choices) {
    const value = json(choices, 6);
    const text = JSON.stringify(value, undefined, choices.below(3));
    const read = parseStrictJson(Buffer.from(text));
    assert.ok(read.ok, 'what JSON.stringify wrote was refused');
    assert.deepEqual(plain(read.value), value);
  },
});

function request(body: Uint8Array): SentRequest {
  return {
    method: 'POST',
    query: [],
    contentType: 'application/json',
    contentEncoding: undefined,
    accept: undefined,
    body,
  };
}

const RPC_SEEDS = [
  '{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"read","arguments":{"path":"x"}}}',
  '[{"jsonrpc":"2.0","id":"a","method":"ping"},{"jsonrpc":"2.0","method":"notifications/initialized"}]',
  '{"jsonrpc":"2.0","id":1,"result":{}}',
  `[${Array.from({ length: 257 }, () => '{"jsonrpc":"2.0","method":"a"}').join()}]`,
];

const rpc: Target = {
  name: 'json-rpc',
  seeds: RPC_SEEDS,
  words: [
    '"method":',
    '"params":',
    '"result":',
    'null',
    '[]',
    '"id":',
    '"jsonrpc":"2.0"',
    'tools/call',
    '"name":',
  ],
  maxBytes: 64 * 1024,
  check(input) {
    for (const read of [
      readJsonRpc(request(input)),
      readMcp(request(input), { strictToolNames: (input[0] ?? 0) % 2 === 0 }),
    ]) {
      if (!read.ok) continue;
      const value: unknown = JSON.parse(Buffer.from(input).toString('utf8'));
      const items = (Array.isArray(value) ? value : [value]) as Record<string, unknown>[];
      assert.equal(read.body.calls.length, items.length);
      assert.ok(items.length > 0 && items.length <= 256);
      for (const [index, call] of read.body.calls.entries()) {
        const { method, params } = items[index] as { method?: unknown; params?: { name?: unknown } | null };
        assert.equal(call.role === 'call' ? call.method : undefined, method);
        if (call.tool !== undefined) assert.equal(call.tool, params?.name);
        if (read.body.kind === 'mcp' && method === 'tools/call') assert.equal(typeof call.tool, 'string');
      }
    }
  },
};

const GRAPHQL_SEEDS = [
  'query Q($a: Int = 1) { user(id: $a) { name ...F } other: viewer { id } } fragment F on User { x y }',
  'mutation { a b(c: "}") { d } }',
  'query A { a } query B { ... on Query { b } ...C } fragment C on Query { c ...C }',
  '{ a(text: """block "quoted" text""") }',
];

const graphql = textTarget({
  name: 'graphql',
  seeds: GRAPHQL_SEEDS,
  words: [
    '{',
    '}',
    '...',
    'fragment F on X',
    'query ',
    'mutation ',
    '"""',
    '#',
    '\ufeff',
    '@include(if: true)',
    'subscription ',
    ',',
  ],
  maxBytes: 32 * 1024,
  microsecondsPerByte: 8,
  check(text) {
    const read = readGraphql(request(Buffer.from(JSON.stringify({ query: text }))), { persisted: {} });
    if (!read.ok) return;
    const [operation] = read.body.operations;
    const document = parse(text);
    const defined = document.definitions.filter((each) => each.kind === Kind.OPERATION_DEFINITION);
    assert.equal(defined.length, 1, 'without a name there is only one to run');
    assert.equal(operation?.type, defined[0]?.operation);
    assert.ok((operation?.fields.length ?? 0) > 0 || text.includes('...'));
    // Written anew by the library, as some servers' caches do, it is the same operation.
    const printed = readGraphql(request(Buffer.from(JSON.stringify({ query: print(document) }))), {
      persisted: {},
    });
    assert.deepEqual(printed, read);
  },
});

const graphqlBody: Target = {
  name: 'graphql-body',
  seeds: [
    ...GRAPHQL_SEEDS.map((query) => JSON.stringify({ query, variables: {} })),
    '[{"query":"{a}"},{"query":"{b}"}]',
    '{"id":"abc"}',
    '{"extensions":{"persistedQuery":{"version":1,"sha256Hash":"abc"}}}',
  ],
  words: [
    '"operationName":"A"',
    '"id":',
    '"extensions":{}',
    '"documentId":"abc"',
    'null',
    '__proto__',
    'constructor',
    'abc',
  ],
  maxBytes: 32 * 1024,
  microsecondsPerByte: 8,
  check(input) {
    const persisted = { abc: { type: 'query', name: '', fields: ['a'] } } as const;
    const read = readGraphql(request(input), { persisted });
    if (read.ok) assert.ok(read.body.operations.length > 0 && read.body.operations.length <= 64);
    const text = Buffer.from(input).toString('utf8');
    readGraphql(
      {
        ...request(new Uint8Array(0)),
        method: 'GET',
        query: [
          ['query', text],
          ['extensions', text],
        ],
      },
      { persisted },
    );
  },
};

export const INSPECT_TARGETS: readonly Target[] = [path, strictJson, jsonValues, rpc, graphql, graphqlBody];
