import { describe, expect, it } from 'vitest';
import { readJsonRpc, readMcp } from '../../../../src/egress/inspect/json-rpc.ts';
import type { SentRequest } from '../../../../src/egress/inspect/sent-request.ts';

const sent = (body: unknown, parts: Partial<SentRequest> = {}): SentRequest => ({
  method: 'POST',
  query: [],
  contentType: 'application/json',
  contentEncoding: undefined,
  accept: undefined,
  body: Buffer.from(typeof body === 'string' ? body : JSON.stringify(body)),
  ...parts,
});
const call = (method: unknown, params?: unknown, id: unknown = 1) => ({ jsonrpc: '2.0', id, method, params });
const tool = (name: unknown, args?: unknown) => call('tools/call', { name, arguments: args });

describe('json-rpc', () => {
  it.each<[string, SentRequest, readonly string[]]>([
    ['a call', sent(call('a')), ['a']],
    ['a notification', sent({ jsonrpc: '2.0', method: 'a' }), ['a']],
    ['a batch', sent([call('a'), call('b')]), ['a', 'b']],
    ['a charset', sent(call('a'), { contentType: 'Application/JSON; charset=UTF-8' }), ['a']],
    ['params of any kind', sent(call('a', [1, { b: 2 }])), ['a']],
    ['identity', sent(call('a'), { contentEncoding: 'identity' }), ['a']],
  ])('reads %s', (_, request, methods) => {
    const read = readJsonRpc(request);
    expect(read.ok && read.body.calls.map(({ method }) => method)).toEqual(methods);
  });

  it.each<[string, SentRequest, string]>([
    ['GET', sent('', { method: 'GET' }), 'by POST'],
    ['no body', sent(''), 'not JSON'],
    ['text', sent('hello'), 'not JSON'],
    ['another type', sent(call('a'), { contentType: 'text/plain' }), 'Content-Type'],
    ['no type', sent(call('a'), { contentType: undefined }), 'Content-Type'],
    ['another charset', sent(call('a'), { contentType: 'application/json; charset=utf-16' }), 'charset'],
    ['an encoding', sent(call('a'), { contentEncoding: 'gzip' }), 'Content-Encoding'],
    ['an empty batch', sent([]), 'empty'],
    ['a huge batch', sent(Array.from({ length: 300 }, () => call('a'))), 'more than'],
    ['a number', sent('1'), 'no object'],
    ['a batch in a batch', sent([[call('a')]]), 'no object'],
    ['no version', sent({ id: 1, method: 'a' }), '2.0'],
    ['version as number', sent({ jsonrpc: 2, id: 1, method: 'a' }), '2.0'],
    ['no method', sent({ jsonrpc: '2.0', id: 1 }), 'no method'],
    ['a method that is no text', sent(call(['a'])), 'no method'],
    ['both', sent({ ...call('a'), result: 1 }), 'both'],
    ['both, null', sent({ ...call('a'), error: null }), 'both'],
    ['a response', sent({ jsonrpc: '2.0', id: 1, result: {} }), 'response'],
    ['two methods', sent('{"jsonrpc":"2.0","id":1,"method":"a","method":"b"}'), 'same key'],
    ['two methods, escaped', sent('{"jsonrpc":"2.0","id":1,"method":"a","m\\u0065thod":"b"}'), 'same key'],
    ['a mark', sent('\ufeff{"jsonrpc":"2.0","id":1,"method":"a"}'), 'not JSON'],
  ])('refuses %s', (_, request, detail) => {
    expect(readJsonRpc(request)).toMatchObject({ ok: false, detail: expect.stringContaining(detail) });
  });

  it('knows who waits for an answer', () => {
    const batch = [
      call('a', undefined, 'x'),
      { jsonrpc: '2.0', method: 'n' },
      call('b', undefined, 3),
      { id: 4 },
    ];
    expect(readJsonRpc(sent(batch))).toMatchObject({ ids: ['x', 3], batch: true });
    expect(readJsonRpc(sent(call('a')))).toMatchObject({ ids: [1], batch: false });
  });
});

const strict = { strictToolNames: true };

describe('mcp', () => {
  it('finds the tool and its arguments', () => {
    expect(readMcp(sent(tool('read.x-1', { path: '/a' })), strict)).toMatchObject({
      body: { calls: [{ method: 'tools/call', tool: 'read.x-1', parameters: { path: '/a' } }] },
    });
  });

  it.each<[string, SentRequest, string]>([
    [
      'a receive stream',
      sent('', { method: 'GET', accept: 'application/json, text/event-stream;q=0.9' }),
      'receive-stream',
    ],
    ['an end of session', sent('', { method: 'DELETE' }), 'session-end'],
    ['a response', sent({ jsonrpc: '2.0', id: 1, result: {} }), 'response'],
    ['an error response', sent({ jsonrpc: '2.0', id: 1, error: { code: 1 } }), 'response'],
    ['a call', sent(call('ping')), 'call'],
  ])('reads %s', (_, request, role) => {
    expect(readMcp(request, strict)).toMatchObject({ ok: true, body: { calls: [{ role }] } });
  });

  it.each<[string, SentRequest, string]>([
    ['GET of a page', sent('', { method: 'GET', accept: 'text/html' }), 'no GET'],
    ['GET with a body', sent('x', { method: 'GET', accept: 'text/event-stream' }), 'no GET'],
    ['DELETE with a body', sent('x', { method: 'DELETE' }), 'no DELETE'],
    ['PUT', sent(call('a'), { method: 'PUT' }), 'no PUT'],
    ['a tool without name', sent(call('tools/call', {})), 'no params.name'],
    ['a tool without params', sent(call('tools/call')), 'no params.name'],
    ['a name that is no text', sent(tool(1)), 'no params.name'],
    ['a name with blanks', sent(tool('a b')), 'characters outside'],
    ['a name that is too long', sent(tool('a'.repeat(129))), 'characters outside'],
    ['a name of letters that look alike', sent(tool('rеad')), 'characters outside'],
  ])('refuses %s', (_, request, detail) => {
    expect(readMcp(request, strict)).toMatchObject({ ok: false, detail: expect.stringContaining(detail) });
  });

  it('takes other names where the policy does', () => {
    expect(readMcp(sent(tool('a b')), { strictToolNames: false })).toMatchObject({ ok: true });
  });
});
