import { describe, expect, it } from 'vitest';
import { readGraphql } from '../../../../src/egress/inspect/graphql.ts';
import type { SentRequest } from '../../../../src/egress/inspect/sent-request.ts';

const post = (body: unknown, parts: Partial<SentRequest> = {}): SentRequest => ({
  method: 'POST',
  query: [],
  contentType: 'application/json',
  contentEncoding: undefined,
  accept: undefined,
  body: Buffer.from(typeof body === 'string' ? body : JSON.stringify(body)),
  ...parts,
});
const get = (query: Record<string, string>): SentRequest =>
  post('', { method: 'GET', query: Object.entries(query), contentType: undefined });
const none = { persisted: {} };
const registered = { persisted: { abc: { type: 'query', name: 'Known', fields: ['me'] } } } as const;
const hash = (sha256Hash: unknown) => ({ extensions: { persistedQuery: { version: 1, sha256Hash } } });

const summary = (request: SentRequest, options: Parameters<typeof readGraphql>[1] = none) => {
  const read = readGraphql(request, options);
  return read.ok
    ? read.body.operations.map(({ type, name, fields }) => `${type} ${name}(${fields.join()})`)
    : read.detail;
};

describe('reads', () => {
  it.each<[string, SentRequest, readonly string[]]>([
    ['a query', post({ query: '{ a b }' }), ['query (a,b)']],
    ['a named query', post({ query: 'query Q($x: Int) { a(x: $x) { deep } }' }), ['query Q(a)']],
    ['a mutation', post({ query: 'mutation M { drop }' }), ['mutation M(drop)']],
    ['a subscription', post({ query: 'subscription { ticks }' }), ['subscription (ticks)']],
    ['what is asked for under another name', post({ query: '{ harmless: secrets }' }), ['query (secrets)']],
    ['inline fragments', post({ query: '{ ... on Query { a ... { b } } }' }), ['query (a,b)']],
    [
      'fragments',
      post({ query: '{ ...F } fragment F on Query { a ...G } fragment G on Query { b }' }),
      ['query (a,b)'],
    ],
    [
      'fragments that go round',
      post({ query: '{ ...F } fragment F on Query { a ...G } fragment G on Query { ...F }' }),
      ['query (a)'],
    ],
    ['a field twice', post({ query: '{ a a x: a }' }), ['query (a)']],
    [
      'the one that is named',
      post({ query: 'query A { a } mutation B { b }', operationName: 'B' }),
      ['mutation B(b)'],
    ],
    ['no name given', post({ query: '{ a }', operationName: null }), ['query (a)']],
    ['an empty name', post({ query: '{ a }', operationName: '' }), ['query (a)']],
    ['a batch', post([{ query: '{ a }' }, { query: 'mutation { b }' }]), ['query (a)', 'mutation (b)']],
    ['GET', get({ query: '{ a }' }), ['query (a)']],
    ['GET with a name', get({ query: 'query A { a } query B { b }', operationName: 'A' }), ['query A(a)']],
    ['directives', post({ query: '{ a @skip(if: true) }' }), ['query (a)']],
    ['strings with brackets', post({ query: '{ a(x: "}}}{{{") }' }), ['query (a)']],
    ['comments', post({ query: '# mutation { x }\n{ a }' }), ['query (a)']],
    ['the text before the hash', post({ query: '{ a }', ...hash('abc') }), ['query (a)']],
    ['other members', post({ query: '{ a }', variables: { query: 'x' } }), ['query (a)']],
  ])('%s', (_, request, operations) => {
    expect(summary(request)).toEqual(operations);
  });

  it.each<[string, SentRequest]>([
    ['a hash', post(hash('abc'))],
    ['an id', post({ id: 'abc' })],
    ['a documentId', post({ documentId: 'abc' })],
    ['a hash by GET', get({ extensions: JSON.stringify(hash('abc').extensions) })],
  ])('a registered query by %s', (_, request) => {
    expect(summary(request, registered)).toEqual(['query Known(me)']);
  });
});

describe('refuses', () => {
  it.each<[string, SentRequest, string]>([
    ['another method', post({ query: '{ a }' }, { method: 'PUT' }), 'by GET or POST'],
    ['another type', post('{ a }', { contentType: 'application/graphql' }), 'Content-Type'],
    ['multipart', post('x', { contentType: 'multipart/form-data; boundary=x' }), 'Content-Type'],
    ['an encoding', post({ query: '{ a }' }, { contentEncoding: 'br' }), 'Content-Encoding'],
    ['nothing', post({}), 'no query'],
    ['null', post('null'), 'no object'],
    ['an empty batch', post([]), 'empty'],
    ['a huge batch', post(Array.from({ length: 65 }, () => ({ query: '{ a }' }))), 'more than'],
    ['a query that is no text', post({ query: 1 }), 'no text'],
    ['a broken query', post({ query: '{ a' }), 'not GraphQL'],
    ['an empty selection', post({ query: '{}' }), 'not GraphQL'],
    ['a schema', post({ query: '{ a } type A { b: Int }' }), 'defines types'],
    ['only fragments', post({ query: 'fragment F on Q { a }' }), 'several operations'],
    ['several without a name', post({ query: 'query A { a } query B { b }' }), 'several operations'],
    ['a name of none', post({ query: 'query A { a }', operationName: 'B' }), 'the name asked for'],
    ['two of one name', post({ query: 'query A { a } mutation A { b }', operationName: 'A' }), 'of one name'],
    ['two anonymous', post({ query: '{ a } mutation { b }' }), 'of one name'],
    [
      'a fragment twice',
      post({ query: '{ ...F } fragment F on Q { a } fragment F on Q { b }' }),
      'a fragment twice',
    ],
    ['an unknown fragment', post({ query: '{ ...F }' }), 'not defined'],
    ['a deep query', post({ query: `${'{ a '.repeat(200)}${'}'.repeat(200)}` }), 'nested'],
    ['a long query', post({ query: `{ ${'a '.repeat(20_001)}}` }), 'not GraphQL'],
    ['a key twice', post('{"query":"{ a }","query":"mutation { b }"}'), 'same key'],
    [
      'the query in the URL too',
      post({ query: '{ a }' }, { query: [['query', 'mutation { b }']] }),
      'stands in the URL',
    ],
    [
      'the name in the URL too',
      post(
        { query: 'query A { a } mutation B { b }', operationName: 'A' },
        { query: [['operationName', 'B']] },
      ),
      'stands in the URL',
    ],
    ['text and id', post({ query: '{ a }', id: 'abc' }), 'both a query and the id'],
    ['two ids', post({ id: 'abc', documentId: 'def' }), 'more than one id'],
    ['an unknown hash', post(hash('def')), 'not registered'],
    ['a hash of the prototype', post(hash('toString')), 'not registered'],
    ['a hash that is no text', post(hash(1)), 'no sha256Hash'],
    ['extensions that are no object', post({ extensions: 'x' }), 'no object'],
    [
      'a parameter twice',
      post('', {
        method: 'GET',
        query: [
          ['query', '{ a }'],
          ['query', '{ b }'],
        ],
      }),
      'comes twice',
    ],
    [
      'GET with a body',
      post({ query: 'mutation { b }' }, { method: 'GET', query: [['query', '{ a }']] }),
      'has a body',
    ],
  ])('%s', (_, request, detail) => {
    expect(summary(request, registered)).toEqual(expect.stringContaining(detail));
  });
});
