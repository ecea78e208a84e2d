import { describe, expect, test } from 'vitest';
import { parseModelRoutes } from '../../../../src/egress/local/model-routes.ts';

const KEY = 'sk-secret-9f8e7d';
const MINIMAL = `name: main, endpoint: "https://api.example.org/v1/", model: m-1, protocols: [openai_chat_completions]`;
const one = (keys: string) => parseModelRoutes(`routes: [{${MINIMAL}${keys}}]`, 'routes.yaml')[0];

test('a route without anything special', () => {
  expect(one(`, api_key: ${KEY}`)).toEqual({
    ...{ name: 'main', scheme: 'https', host: 'api.example.org', port: 443, basePath: '/v1', model: 'm-1' },
    ...{ protocols: ['openai_chat_completions'], models: undefined, modelInPath: false },
    ...{ provider: 'openai-compatible', fields: [['authorization', `Bearer ${KEY}`]], timeoutMs: 60_000 },
    ...{ authorities: undefined, secrets: [KEY] },
  });
});

test.each<[string, object]>([
  ['', { fields: [] }],
  [', auth: none', { fields: [] }],
  [`, api_key: ${KEY}, auth: x-api-key`, { fields: [['x-api-key', KEY]] }],
  [
    `, api_key: ${KEY}, provider_type: anthropic`,
    {
      fields: [
        ['x-api-key', KEY],
        ['anthropic-version', '2023-06-01'],
      ],
    },
  ],
  [
    `, api_key: ${KEY}, provider_type: anthropic, auth: bearer, headers: {Anthropic-Version: "1"}`,
    {
      fields: [
        ['authorization', `Bearer ${KEY}`],
        ['anthropic-version', '1'],
      ],
    },
  ],
  [
    ', headers: {api-key: abcdefgh, x: y}',
    {
      fields: [
        ['api-key', 'abcdefgh'],
        ['x', 'y'],
      ],
      secrets: ['abcdefgh'],
    },
  ],
  [', timeout_seconds: 5, model_in_path: true', { timeoutMs: 5000, modelInPath: true }],
])('%s', (keys, expected) => {
  expect(one(keys)).toMatchObject(expected);
});

test.each<[string, object]>([
  ['http://127.0.0.1:11434', { scheme: 'http', host: '127.0.0.1', port: 11_434, basePath: '' }],
  ['http://models.internal', { scheme: 'http', host: 'models.internal', port: 80 }],
  ['https://[2001:DB8::1]:8443/a/b/', { host: '2001:db8::1', port: 8443, basePath: '/a/b' }],
])('endpoint %s', (endpoint, expected) => {
  const text = `routes: [{name: a, endpoint: "${endpoint}", model: m, protocols: [openai_responses]}]`;
  expect(parseModelRoutes(text, 'f')[0]).toMatchObject(expected);
});

const ROUTE = `routes:
  - name: main
    endpoint: https://api.example.org/v1
    model: m-1
    protocols: [openai_chat_completions]
`;

/** Every mistake stands where the key is near, or in its place. */
describe('mistakes are told by place, and never with a value', () => {
  test.each<[string, string, string]>([
    ['no YAML', `routes: [{api_key: "${KEY}`, '1:'],
    ['a tag', `routes: !${KEY} []`, '1:'],
    ['a key twice', `${ROUTE}    api_key: a\n    api_key: ${KEY}\n`, '7:5: is no YAML, or has a key twice'],
    ['an alias', `routes: *${KEY}`, '1:'],
    ['two documents', `${ROUTE}---\n${KEY}\n`, ''],
    ['a value in the place of a key', `${ROUTE}    ${KEY}: x\n`, '6:5: unknown key in a route'],
    ['another key', `${ROUTE}    api_kay: ${KEY}\n`, '6:5: unknown key in a route, did you mean "api_key"?'],
    ['another section', `${ROUTE}${KEY}: x\n`, '6:1: the only key here is routes'],
    ['a key of numbers', `${ROUTE}    api_key: 123456\n`, '6:14: api_key must be a text'],
    ['a key in a list', `${ROUTE}    api_key: [${KEY}]\n`, '6:14: api_key must be a text'],
    ['a key of two lines', `${ROUTE}    api_key: "${KEY}\\nx"\n`, '6:14: api_key must be ASCII in one line'],
    ['a key with blanks', `${ROUTE}    api_key: "${KEY} "\n`, '6:14: api_key must be ASCII'],
    ['a key without use', `${ROUTE}    auth: none\n    api_key: ${KEY}\n`, 'auth and api_key belong together'],
    ['a use without a key', `${ROUTE}    auth: bearer\n`, 'auth and api_key belong together'],
    ['another use', `${ROUTE}    auth: ${KEY}\n    api_key: ${KEY}\n`, 'auth must be bearer, x-api-key or none'],
    ['a variable', `${ROUTE}    api_key_env: ${KEY}\n`, 'the network role has no variables'],
    ['a user in the URL', `routes: [{name: a, endpoint: "https://x:${KEY}@a.example/", model: m, protocols: [openai_responses]}]`, 'must have no user'],
    ['a query in the URL', `routes: [{name: a, endpoint: "https://a.example/?key=${KEY}", model: m, protocols: [openai_responses]}]`, 'must have no user, query'],
    ['another scheme', `routes: [{name: a, endpoint: "ftp://${KEY}/", model: m, protocols: [openai_responses]}]`, 'must be a URL'],
    ['http to the world', 'routes: [{name: a, endpoint: "http://8.8.8.8/", model: m, protocols: [openai_responses]}]', 'may not be reached'],
    ['metadata', 'routes: [{name: a, endpoint: "http://169.254.169.254/", model: m, protocols: [openai_responses]}]', 'may not be reached'],
    ['a control plane', 'routes: [{name: a, endpoint: "https://10.0.0.1:6443/", model: m, protocols: [openai_responses]}]', 'may not be reached'],
    ['castellan itself', 'routes: [{name: a, endpoint: "https://inference.local/", model: m, protocols: [openai_responses]}]', 'must not be castellan'],
    ['an unknown protocol', `routes: [{${MINIMAL.replace('openai_chat_completions', 'openai_chat_completion')}}]`, 'did you mean "openai_chat_completions"'],
    ['no protocol', `routes: [{${MINIMAL.replace('[openai_chat_completions]', '[]')}}]`, 'at least one'],
    ['no model', 'routes: [{name: a, endpoint: "https://a.example", protocols: [openai_responses]}]', 'the route needs model'],
    ['a header of framing', `${ROUTE}    headers: {Content-Length: "${KEY}"}\n`, 'a header that a route may not set'],
    ['a header that is none', `${ROUTE}    headers: {"a b": "${KEY}"}\n`, 'a header that a route may not set'],
    ['a header of two lines', `${ROUTE}    headers: {a: "${KEY}\\r\\nb: c"}\n`, 'a header must be ASCII'],
    ['no time', `${ROUTE}    timeout_seconds: ${KEY}\n`, 'timeout_seconds must be a whole number'],
    ['no certificate', `${ROUTE}    ca: ${KEY}\n`, 'ca must be PEM'],
    ['no routes', 'routes: []', 'at least one'],
    ['nothing', '', '1:1'],
    ['a list', `- ${KEY}`, ''],
    ['too many', `routes:\n${'  - {}\n'.repeat(65)}`, 'more than 64'],
  ])('%s', (_, text, told) => {
    let message = '';
    try {
      parseModelRoutes(text, 'routes.yaml');
    } catch (error) {
      message = error instanceof Error ? error.message : '';
    }
    expect(message).toMatch(/^routes\.yaml:\d+:\d+: /);
    expect(message).toContain(told);
    expect(message).not.toContain(KEY);
    expect(message).not.toContain('123456');
  });
}); // biome-ignore format: a table
