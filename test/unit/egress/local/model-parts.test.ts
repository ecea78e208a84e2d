import { describe, expect, test } from 'vitest';
import { EGRESS_LIMITS } from '../../../../src/egress/limits.ts';
import { EventSplitter, noteEventUsage } from '../../../../src/egress/local/event-stream.ts';
import { createModelRouteStore } from '../../../../src/egress/local/model-route-store.ts';
import { parseModelRoutes } from '../../../../src/egress/local/model-routes.ts';
import { modelShape } from '../../../../src/egress/local/model-shapes.ts';
import { type ModelUsage, noteUsage } from '../../../../src/egress/local/model-usage.ts';
import { seededRandom } from '../../random.ts';

describe('events', () => {
  test('come out whole and all of them, however they came in', () => {
    const random = seededRandom(5);
    for (let round = 0; round < 300; round += 1) {
      const text = Array.from({ length: random.below(30) }, () =>
        random.pick(['\n', '\r\n', 'data: x', '\n\n', 'é', 'event: y']),
      ).join('');
      const bytes = Buffer.from(text);
      const splitter = new EventSplitter(10_000);
      const parts: Buffer[] = [];
      for (let at = 0; at < bytes.length; ) {
        const next = at + 1 + random.below(4);
        const events = splitter.push(bytes.subarray(at, next));
        if (events === undefined) throw new Error('too long');
        if (events.length > 0) expect(events.toString('latin1')).toMatch(/(\n\n|\r\n\r\n)$/);
        parts.push(events);
        at = next;
      }
      const rest = splitter.rest();
      expect(rest.toString('latin1')).not.toMatch(/\n\n|\r\n\r\n/);
      expect(Buffer.concat([...parts, rest])).toEqual(bytes);
    }
  });

  test('of any number cost no more than their length', () => {
    const splitter = new EventSplitter(1024 * 1024);
    const began = performance.now();
    for (let index = 0; index < 500_000; index += 1) splitter.push(Buffer.from('x'));
    expect(performance.now() - began).toBeLessThan(10_000);
  });

  test('that never end are given up', () => {
    const splitter = new EventSplitter(10);
    expect(splitter.push(Buffer.from('0123456789'))).toHaveLength(0);
    expect(splitter.push(Buffer.from('x'))).toBeUndefined();
  });
});

test.each<[string, ModelUsage]>([
  ['{"usage":{"prompt_tokens":1,"completion_tokens":2}}', { inputTokens: 1, outputTokens: 2 }],
  ['{"usage":{"input_tokens":1,"output_tokens":2}}', { inputTokens: 1, outputTokens: 2 }],
  [
    '{"type":"response.completed","response":{"usage":{"input_tokens":3,"output_tokens":4}}}',
    { inputTokens: 3, outputTokens: 4 },
  ],
  [
    '{"type":"message_start","message":{"usage":{"input_tokens":3,"output_tokens":1}}}',
    { inputTokens: 3, outputTokens: 1 },
  ],
  ['{"usage":null}', {}],
  ['{"usage":{"prompt_tokens":-1,"completion_tokens":1.5}}', {}],
  ['{"usage":{"prompt_tokens":"9","completion_tokens":4294967296}}', {}],
  ['{"usage":[]}', {}],
  ['null', {}],
  ['{', {}],
])('the counts in %s', (text, expected) => {
  const usage: ModelUsage = {};
  noteUsage(text, usage);
  expect(usage).toEqual(expected);
});

test('later events of a stream tell more', () => {
  const usage: ModelUsage = {};
  noteEventUsage(
    Buffer.from('event: a\ndata: {"message":{"usage":{"input_tokens":3,"output_tokens":1}}}\n\n'),
    usage,
  );
  noteEventUsage(Buffer.from('data: {"delta":1}\r\n\r\ndata: {"usage":{"output_tokens":9}}\r\n\r\n'), usage);
  expect(usage).toEqual({ inputTokens: 3, outputTokens: 9 });
});

test.each<[string, string, string | undefined]>([
  ['POST', '/v1/chat/completions', 'openai_chat_completions'],
  ['POST', '/v1/chat/completions?x=1', 'openai_chat_completions'],
  ['POST', '/v1/messages', 'anthropic_messages'],
  ['POST', '/model/a.b-c%3A0/invoke', 'aws_bedrock_invoke'],
  ['GET', '/v1/models', 'model_discovery'],
  ['GET', '/v1/models/org/name', 'model_discovery'],
  ['GET', '/v1/chat/completions', undefined],
  ['POST', '/v1/chat/completions/', undefined],
  ['POST', '/v1/chat/completions/../files', undefined],
  ['POST', '//v1/chat/completions', undefined],
  ['POST', '/v1/Chat/completions', undefined],
  ['POST', '/model/a/b/invoke', undefined],
  ['POST', '/model//invoke', undefined],
  ['POST', '/v1/files', undefined],
  ['DELETE', '/v1/models/x', undefined],
])('%s %s', (method, target, protocol) => {
  expect(modelShape(method, target)?.protocol).toBe(protocol);
});

test.each([
  ['GET', '/v1/models/vendor/model-1:free', 'vendor/model-1:free'],
  ['GET', '/v1/models/vendor%2Fmodel', 'vendor/model'],
  ['GET', '/v1/models/../files', undefined],
  ['GET', '/v1/models/..%2ffiles', undefined],
  ['GET', '/v1/models/%2e%2e/files', undefined],
  ['GET', '/v1/models/a/%2E%2E/%2e%2e/files', undefined],
  ['GET', '/v1/models/%252e%252e/files', undefined],
  ['GET', '/v1/models/..%5cfiles', undefined],
  ['GET', '/v1/models/a//b', undefined],
  ['GET', '/v1/models/./a', undefined],
  ['GET', '/v1/models/%ff', undefined],
  ['GET', '/v1/models/a%3Fb', undefined],
  ['POST', '/model/..%2f..%2fx/invoke', undefined],
])('a model in the path is a name, and leads nowhere else: %s %s', (method, target, model) => {
  expect(modelShape(method, target)?.model).toBe(model);
  expect(modelShape(method, target) === undefined).toBe(model === undefined);
});

test('a route that could not be reached is tried last for a while', () => {
  let now = 0;
  const text = (name: string) =>
    `{name: ${name}, endpoint: "https://${name}.example", model: m, protocols: [openai_responses]}`;
  const routes = parseModelRoutes(`routes: [${text('a')}, ${text('b')}]`, 'f');
  const store = createModelRouteStore(routes, EGRESS_LIMITS, () => now);
  const order = () => store.inOrder(store.current).map(({ name }) => name);
  const [a] = routes;
  if (a === undefined) throw new Error('no route');
  expect(order()).toEqual(['a', 'b']);
  store.noteReached(a, false);
  expect(order()).toEqual(['b', 'a']);
  now += EGRESS_LIMITS.modelRouteRestMs;
  expect(order()).toEqual(['a', 'b']);
  store.noteReached(a, false);
  store.noteReached(a, true);
  expect(order()).toEqual(['a', 'b']);
});
