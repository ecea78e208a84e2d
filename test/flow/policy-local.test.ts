/** policy.local, asked by curl: what the policy is, what it refused, what it would do, and rules that are asked for. */
import { describe, expect, test } from 'vitest';
import { compilePolicy } from '../../src/policy/compile.ts';
import { parsePolicy } from '../../src/policy/parse.ts';
import { IDENTITY } from './egress-world.ts';
import { localRules, localWorld } from './local-world.ts';

const MORE = `  reading:
    endpoints: [{host: api.test, port: 80, protocol: rest, enforcement: enforce, rules: [{allow: {method: GET, path: "/v1/**"}}]}]
    binaries: [{path: /usr/bin/curl}]
`;

const RULE = {
  endpoints: [
    {
      ...{ host: 'api.example.org', port: 443, protocol: 'rest', enforcement: 'enforce' },
      rules: [{ allow: { method: 'POST', path: '/repos/o/r/issues' } }],
    },
  ],
  binaries: [{ path: '/usr/bin/curl' }],
};

const proposal = (rule: object = RULE, ruleName = 'issues', more: object = {}) =>
  JSON.stringify({ intent_summary: 'file the bug', operations: [{ addRule: { ruleName, rule } }], ...more });

const POLICY_OF = (rule: string) => parsePolicy(`version: 1\n${rule}`, 'p').network;

test('the policy in force is told, and stands for itself', async () => {
  await using it = await localWorld({ more: MORE });
  const told = await it.ask('/v1/policy/current');
  expect(told).toMatchObject({ format: 'yaml' });
  const again = parsePolicy(String(told['policy_yaml']), 'again').network;
  expect(again.map(({ name, binaries }) => ({ name, binaries }))).toEqual(
    localRules('both', MORE).map(({ name, binaries }) => ({ name, binaries })),
  );
  it.world.egress.replacePolicy(compilePolicy(localRules()));
  expect(String((await it.ask('/v1/policy/current'))['policy_yaml'])).not.toContain('api.test');
});

test('refusals are told, the newest first and without queries', async () => {
  await using it = await localWorld({ more: MORE });
  await it.fetch('http://api.test/v2/x?secret=1');
  await it.fetch('https://forbidden.test/');
  const { denials } = await it.ask('/v1/denials');
  expect(denials).toMatchObject([
    { host: 'forbidden.test', port: 443, binary: '/usr/bin/curl', reason: 'host_not_listed' },
    { host: 'api.test', port: 80, reason: 'request_not_listed', method: 'GET', path: '/v2/x' },
  ]);
  expect(JSON.stringify(denials)).not.toContain('secret');
  expect((await it.ask('/v1/denials?last=1'))['denials']).toHaveLength(1);
  expect((await it.ask('/v1/denials?last=0'))['denials']).toHaveLength(1);
  expect(await it.ask('/v1/denials?last=x')).toMatchObject({ error: 'invalid_request' });
});

test('what would become of a request is told for the program that asks, and nothing is sent', async () => {
  await using it = await localWorld({ more: MORE });
  expect(await it.ask('/v1/explain?url=http%3A%2F%2Fapi.test%2Fv1%2Fx')).toMatchObject({
    verdict: 'allow',
    binary: '/usr/bin/curl',
  });
  const ask = (body: object) => it.ask('/v1/explain', '-d', JSON.stringify(body));
  expect(await ask({ url: 'http://api.test/v1/x', method: 'DELETE' })).toMatchObject({
    verdict: 'deny',
    reason: 'request_not_listed',
  });
  expect(await ask({ url: 'https://other.test/' })).toMatchObject({
    verdict: 'deny',
    reason: 'host_not_listed',
  });
  expect(await ask({ url: 'x' })).toMatchObject({ error: 'invalid_request' });
  expect(await ask({ url: 'http://api.test/', binary: '/bin/other' })).toMatchObject({
    detail: 'unknown key "binary"',
  });
  expect(it.world.facts.some(({ kind }) => kind === 'connection-denied')).toBe(false);
});

test('the content of the program that asks is looked at too, and what its ancestors are', async () => {
  const pinned = (name: string, path: string, sha256: string) =>
    `  ${name}: {endpoints: [{host: ${name}.test, port: 443}], binaries: [{path: ${path}, sha256: ${sha256}}]}\n`;
  const [own, parent] = [IDENTITY.sha256, IDENTITY.ancestorHashes[0] ?? ''];
  const more =
    pinned('own', '/usr/bin/curl', own) +
    pinned('parent', '/usr/bin/bash', parent) +
    pinned('other', '/usr/bin/curl', 'c'.repeat(64)) +
    '  ended: {expires: "2020-01-01T00:00:00Z", endpoints: [{host: ended.test, port: 443}], binaries: [{path: /usr/bin/curl}]}\n';
  const rules = `  local: {endpoints: [{host: policy.local, port: 80}], binaries: [{path: /usr/bin/curl}]}\n${more}`;
  await using it = await localWorld();
  const { network } = parsePolicy(`version: 1\nnetwork_policies:\n${rules}`, 'p');
  it.world.egress.replacePolicy(compilePolicy(network, Date.now()));
  const ask = (host: string) => it.ask(`/v1/explain?url=https%3A%2F%2F${host}.test%2F`);
  expect(await ask('own')).toMatchObject({ verdict: 'allow' });
  expect(await ask('parent')).toMatchObject({ verdict: 'allow' });
  expect(await ask('other')).toMatchObject({ verdict: 'deny', reason: 'binary_hash_differs' });
  expect(await ask('ended')).toMatchObject({ verdict: 'deny', reason: 'rule_expired' });
});

test('the guide is at the root, and says whether rules can be asked for', async () => {
  await using without = await localWorld();
  const { stdout } = await without.fetch('-i', 'http://policy.local/');
  expect(stdout.toString()).toMatch(/text\/markdown/i);
  expect(stdout.toString()).toContain('Proposals are not taken');
  await using it = await localWorld({ takesProposals: true });
  expect((await it.fetch('http://policy.local/')).stdout.toString()).toContain('/v1/proposals');
  expect(await it.ask('/x')).toMatchObject({ error: 'not_found' });
  expect(await it.ask('/v1/denials', '-X', 'DELETE')).toMatchObject({ error: 'method_not_allowed' });
  expect((await it.fetch('--head', 'http://policy.local/')).stdout.toString()).toContain('200');
});

test('refusals lead to policy.local exactly those programs that may go there', async () => {
  await using it = await localWorld({ takesProposals: true, more: MORE });
  const { stdout } = await it.fetch('http://forbidden.test/');
  const { next_steps: steps } = JSON.parse(stdout.toString()) as {
    next_steps: { action: string; url?: string }[];
  };
  expect(steps.map(({ action }) => action)).toEqual([
    'submit_proposal',
    'ask_operator',
    'give_up',
    'inspect_recent_denials',
    'read_guide',
  ]);
  await using other = await localWorld({
    endpoints: '[{host: inference.local, port: 443}]',
    takesProposals: true,
    more: MORE,
  });
  expect((await other.fetch('http://forbidden.test/')).stdout.toString()).not.toContain('policy.local');
});

test.each([
  ['policy.local/v1/denials', 'rules: [{allow: {method: GET, path: /x}}]', 'request_not_listed'],
  ['forbidden.test/', 'access: full', 'read_guide'],
])('at %s who shares a connection counts too', async (url, keys, told) => {
  const of = (more: string) =>
    localWorld({
      more,
      identify: async () => ({
        ok: true,
        identity: { ...IDENTITY, heirs: [{ ...IDENTITY, pid: 4712, executable: '/usr/bin/heir' }] },
      }),
    });
  await using it = await of(
    `  heir: {endpoints: [{host: policy.local, port: 80, protocol: rest, ${keys}}], binaries: [{path: /usr/bin/heir}]}\n`,
  );
  expect((await it.fetch(`http://${url}`)).stdout.toString()).toContain(told);
  await using without = await of('');
  expect((await without.fetch(`http://${url}`)).stdout.toString()).not.toContain('read_guide');
});

describe('proposals', () => {
  test('are not taken unless somebody said so', async () => {
    await using it = await localWorld();
    expect(await it.ask('/v1/proposals', '-d', proposal())).toMatchObject({ error: 'feature_disabled' });
    expect(it.world.facts.some(({ kind }) => kind === 'policy-proposal')).toBe(false);
  });

  test('are recorded with who asked, shown as they would be in force, and approved when they are', async () => {
    await using it = await localWorld({ takesProposals: true });
    const submitted = await it.ask('/v1/proposals', '-d', proposal());
    expect(submitted).toMatchObject({ status: 'submitted', accepted_chunks: 1, rejected_chunks: 0 });
    const [shown] = submitted['proposals'] as [Record<string, unknown>];
    expect(shown).toMatchObject({ status: 'pending', rule_name: 'issues' });
    expect(shown['grants']).toEqual([
      'connect       api.example.org:443 as rest by /usr/bin/curl',
      '  allow       api.example.org:443 POST /repos/o/r/issues',
    ]);
    expect(await it.world.fact('policy-proposal')).toMatchObject({
      ...{ state: 'pending', ruleName: 'issues', summary: 'file the bug', identity: IDENTITY },
    });
    const id = String((submitted['accepted_chunk_ids'] as string[])[0]);
    expect(await it.ask(`/v1/proposals/${id}`)).toMatchObject({ status: 'pending' });
    expect(await it.ask(`/v1/proposals/${id}/wait?timeout=1`)).toMatchObject({
      status: 'pending',
      timed_out: true,
    });
    const waiting = it.ask(`/v1/proposals/${id}/wait`);
    await expect
      .poll(() => it.world.facts.filter(({ kind }) => kind === 'connection-allowed').length)
      .toBe(4);
    // Something else is changed first: nobody is woken for it.
    it.world.egress.replacePolicy(compilePolicy(localRules('both', MORE)));
    const pasted = [...localRules(), ...POLICY_OF(String(shown['rule_yaml']))];
    it.world.egress.replacePolicy(compilePolicy(pasted));
    expect(await waiting).toMatchObject({ status: 'approved', policy_reloaded: true });
    expect(it.world.facts.filter(({ kind }) => kind === 'policy-proposal')).toMatchObject([
      { state: 'pending' },
      { state: 'approved' },
    ]);
    expect(await it.ask('/v1/proposals', '-d', proposal())).toMatchObject({
      proposals: [{ status: 'approved' }],
    });
  });

  test.each<[string, string, string]>([
    ['an unknown key', proposal({ ...RULE, querry: 1 }), 'unknown key "querry"'],
    [
      'an unknown key of an endpoint',
      proposal({ ...RULE, endpoints: [{ ...RULE.endpoints[0], qery: {} }] }),
      'unknown key "qery"',
    ],
    [
      'an unknown key of a pattern',
      proposal({
        ...RULE,
        endpoints: [{ ...RULE.endpoints[0], rules: [{ allow: { method: 'GET', path: '/', tol: 'x' } }] }],
      }),
      'unknown key "tol"',
    ],
    ['an unknown key of the proposal', proposal(RULE, 'x', { force: true }), 'unknown key "force"'],
    [
      'an unknown operation',
      JSON.stringify({ operations: [{ removeRule: {} }] }),
      'unknown key "removeRule"',
    ],
    ['no operation', JSON.stringify({ operations: [] }), 'operations must be a list'],
    ['a key twice', '{"operations":[],"operations":[]}', 'same key'],
    ['a reserved name', proposal(RULE, '_provider_x'), 'reserved'],
    ['a name in use', proposal(RULE, 'own'), 'there is a rule "own" already'],
    ['a name that is another key', proposal(RULE, 'a: b'), 'rule name'],
    ['nobody', proposal({ ...RULE, binaries: [] }), 'at least one endpoint and one binary'],
    ['every host', proposal({ ...RULE, endpoints: [{ host: '*.com', port: 443 }] }), 'top-level domain'],
    [
      'metadata',
      proposal({ ...RULE, endpoints: [{ host: '', port: 80, allowed_ips: ['169.254.169.254/32'] }] }),
      'never reached',
    ],
    [
      'what clashes with the policy',
      proposal({ ...RULE, endpoints: [{ host: 'api.test', port: 80, protocol: 'tcp' }] }),
      'can match the same request',
    ],
    [
      'something too long',
      proposal({
        ...RULE,
        binaries: Array.from({ length: 200 }, (_, index) => ({ path: `/usr/bin/program-${index}` })),
      }),
      'ask for less',
    ],
    ['a text', '"x"', 'must be an object'],
  ])('%s is refused in words', async (_, body, detail) => {
    await using it = await localWorld({ takesProposals: true, more: MORE });
    const { stdout } = await it.fetch('-w', '%{http_code}', '-d', body, 'http://policy.local/v1/proposals');
    expect(stdout.toString()).toContain(detail.replaceAll('"', '\\"'));
    expect(stdout.toString()).toMatch(/400$/);
    expect(it.world.facts.some(({ kind }) => kind === 'policy-proposal')).toBe(false);
  });

  test('are bounded in number and size, and a later one takes the place of an earlier of its name', async () => {
    await using it = await localWorld({
      takesProposals: true,
      limits: { proposalsPerMinute: 3, policyRequestBytes: 5000 },
    });
    const submit = (name: string) => it.ask('/v1/proposals', '-d', proposal(RULE, name));
    const first = await submit('a');
    await submit('a');
    const id = String((first['accepted_chunk_ids'] as string[])[0]);
    expect(await it.ask(`/v1/proposals/${id}/wait`)).toMatchObject({
      status: 'superseded',
      policy_reloaded: false,
    });
    await submit('b');
    expect(await submit('c')).toMatchObject({ error: 'too_many_proposals' });
    expect(await it.ask('/v1/proposals', '-d', 'x'.repeat(6000))).toMatchObject({ error: 'body_too_large' });
    expect(await it.ask(`/v1/proposals/${id.replace(/^./, 'f').replace(/.$/, '0')}`)).toMatchObject({
      error: 'chunk_not_found',
    });
  });
});

test('a program that is not listed gets nothing from policy.local', async () => {
  await using it = await localWorld({
    takesProposals: true,
    identify: async () => ({
      ok: true,
      identity: { ...IDENTITY, executable: '/usr/bin/wget', ancestors: [] },
    }),
  });
  expect(await it.ask('/v1/policy/current')).toMatchObject({ reason: 'binary_not_listed' });
});

test('what was refused is counted, and told at the end', async () => {
  await using it = await localWorld({ more: MORE, limits: { countedDenials: 2 } });
  for (const path of ['/v2/items/1', '/v2/items/2?x=1', '/v2/items/3', '/v2/*/**'])
    await it.fetch('--globoff', `http://api.test${path}`);
  await it.fetch('http://b.test/');
  await it.fetch('http://c.test/');
  await it.world.egress.close();
  expect(it.world.facts.at(-1)).toMatchObject({
    kind: 'denials-counted',
    ...{ total: 6, unlisted: 1 },
    denials: [
      {
        host: 'api.test',
        port: 80,
        binary: '/usr/bin/curl',
        count: 4,
        requests: ['GET /v2/items/*', 'GET /v2/*/*'],
      },
      { host: 'b.test', count: 1, requests: ['GET /'] },
    ],
  });
});
