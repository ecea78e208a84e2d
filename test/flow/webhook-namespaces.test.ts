/** What the webhook learns of a namespace, from an API server that is well, ill, or another. */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, afterEach, beforeEach, describe, expect, it } from 'vitest';
import { type NamespaceReader, openNamespaces } from '../../src/webhook/namespaces.ts';
import { type FakeApiServer, startApiServer } from '../fakes/api-server.ts';
import { makeAuthority } from '../fakes/authority.ts';

const authority = makeAuthority('cluster');
const others = makeAuthority('another cluster');
const pair = authority.issue('127.0.0.1');
const RANGE = { 'openshift.io/sa.scc.uid-range': '1000680000/10000' };
const token = join(authority.directory, 'token');
afterAll(() => {
  authority[Symbol.dispose]();
  others[Symbol.dispose]();
});

let api: FakeApiServer;
let now: number;
let namespaces: NamespaceReader;
beforeEach(async () => {
  api = await startApiServer(pair);
  api.namespaces.set('agents', RANGE).set('plain', undefined);
  writeFileSync(token, 'token-1\n');
  now = 1_000_000;
  namespaces = readerOf(authority.path);
});
afterEach(() => api[Symbol.asyncDispose]());

function readerOf(authorityPath: string): NamespaceReader {
  return openNamespaces({ host: '127.0.0.1', port: api.port, authority: authorityPath, token }, () => now);
}

describe('the annotations of a namespace', () => {
  it('are read, and none is no failure', async () => {
    expect(await namespaces.annotationsOf('agents')).toEqual(RANGE);
    expect(await namespaces.annotationsOf('plain')).toEqual({});
    expect(api.asked).toEqual(['/api/v1/namespaces/agents', '/api/v1/namespaces/plain']);
  });

  it('are asked for once, by however many at once, until they are ten seconds old', async () => {
    await Promise.all(Array.from({ length: 50 }, () => namespaces.annotationsOf('agents')));
    expect(api.asked).toHaveLength(1);
    api.namespaces.set('agents', { 'openshift.io/sa.scc.uid-range': '5/5' });
    now += 9_999;
    expect(await namespaces.annotationsOf('agents')).toEqual(RANGE);
    now += 1;
    expect(await namespaces.annotationsOf('agents')).toEqual({ 'openshift.io/sa.scc.uid-range': '5/5' });
  });

  it('are asked for with the token of the moment', async () => {
    writeFileSync(token, 'token-2');
    api.token = 'token-2';
    expect(await namespaces.annotationsOf('agents')).toEqual(RANGE);
  });

  it('have only texts in them, and a prototype’s names are names', async () => {
    api.namespaces.set('odd', JSON.parse('{"a": 1, "b": {"c": ""}, "constructor": "x", "__proto__": "y"}'));
    expect(Object.entries(await namespaces.annotationsOf('odd'))).toEqual([
      ['constructor', 'x'],
      ['__proto__', 'y'],
    ]);
  });

  it.each([
    ['silence', /no answer within 5000 ms/],
    ['reset', /ECONNRESET|socket hang up/],
    ['huge', /too large/],
    ['garbage', /something else than the namespace agents/],
    ['another', /something else than the namespace agents/],
    ['forbidden', /may not get namespaces \(403\)/],
    ['failure', /answered 500/],
    ['redirect', /answered 302/],
  ] as const)(
    'are unknown, and not remembered, after %s',
    async (instead, message) => {
      api.instead = instead;
      await expect(namespaces.annotationsOf('agents')).rejects.toThrow(message);
      api.instead = undefined;
      expect(await namespaces.annotationsOf('agents')).toEqual(RANGE);
    },
    15_000,
  );

  const troubles: readonly [string, () => NamespaceReader | Promise<NamespaceReader>, RegExp][] = [
    ['there is none', () => namespaces, /no namespace missing \(404\)/],
    ['the API server has another authority', () => readerOf(others.path), /self-signed|unable to|issuer/],
    ['the authority is not there', () => readerOf('/nonexistent/ca.crt'), /authority .* cannot be read/],
    [
      'nobody listens',
      async () => {
        await api[Symbol.asyncDispose]();
        return namespaces;
      },
      /ECONNREFUSED/,
    ],
    [
      'the token is of somebody else',
      () => {
        writeFileSync(token, 'other');
        return namespaces;
      },
      /does not know the service account’s token \(401\)/,
    ],
    [
      'the token is no header',
      () => {
        writeFileSync(token, 'sec\r\nret: x');
        return namespaces;
      },
      /token .* is no token/,
    ],
  ];
  it.each(troubles)('are unknown where %s', async (_name, prepare, message) => {
    const reader = await prepare();
    await expect(reader.annotationsOf('missing')).rejects.toMatchObject({
      name: 'NamespaceUnavailable',
      message,
    });
  });
});
