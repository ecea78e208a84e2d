import { describe, expect, it } from 'vitest';
import { compilePolicy } from '../../../src/policy/compile.ts';
import { parsePolicy } from '../../../src/policy/parse.ts';

const END = Date.UTC(2026, 11, 1);
const rule = (name: string, keys: string, more = '') =>
  `  ${name}:\n    endpoints: [{host: a.example, port: 443, ${keys}}]\n    binaries: [{path: /x}]\n${more}`;
const ENDS = '    expires: 2026-12-01T00:00:00Z\n';

function decide(now: number | undefined, ...rules: readonly string[]) {
  const { network } = parsePolicy(`version: 1\nnetwork_policies:\n${rules.join('')}`, 'p');
  return compilePolicy(network, now).decide({ host: 'a.example', port: 443, binaries: ['/x'] });
}

/** What becomes of a request, once its connection may. */
function request(now: number, line: string, ...rules: readonly string[]) {
  const verdict = decide(now, ...rules);
  if (!verdict.allow) return verdict.reason;
  const [method = '', path = ''] = line.split(' ');
  const route = verdict.requests?.route({ allow: [path], deny: [path] });
  if (route === undefined) return 'uninspected';
  if (!('judge' in route)) return route.reason;
  const judged = route.judge({ method, query: [], body: { kind: 'uninspected' } });
  return judged.allow ? (judged.violation?.reason ?? 'allow') : judged.reason;
}

describe('a rule that ends', () => {
  const ending = rule('ends', 'tls: skip', ENDS);

  it.each<[string, number | undefined, boolean]>([
    ['allows before', END - 1, true],
    ['allows no more from then on', END, false],
    ['allows nothing to who does not know the time', undefined, false],
  ])('%s', (_, now, allow) => expect(decide(now, ending)).toMatchObject({ allow }));

  it('says that it allowed, and until when', () => {
    expect(decide(END, ending)).toMatchObject({
      reason: 'rule_expired',
      detail: 'rule "ends" allowed a.example:443 until 2026-12-01T00:00:00.000Z',
      nearest: 'ends',
    });
  });

  it('leaves others as they are', () => {
    expect(decide(END, ending, rule('lasts', 'tls: skip'))).toMatchObject({ allow: true, rule: 'lasts' });
  });

  it('names nothing any more that DNS could answer', () => {
    const { network } = parsePolicy(`version: 1\nnetwork_policies:\n${ending}`, 'p');
    expect(compilePolicy(network, END - 1).mayName('a.example')).toBe(true);
    expect(compilePolicy(network, END).mayName('a.example')).toBe(false);
  });
});

describe('the end of a rule widens no other', () => {
  const L4 = rule('open', 'tls: skip');
  const READS = rule('reads', 'protocol: rest, enforcement: enforce, access: read-only');
  const WRITES = rule(
    'writes',
    'protocol: rest, enforcement: enforce, access: full, deny_rules: [{path: "/admin/**"}]',
    ENDS,
  );
  const WATCHED = rule('all', 'protocol: rest, enforcement: audit, access: read-only');
  const WATCHED_ENDS = rule('a', 'protocol: rest, enforcement: audit, access: full', ENDS);
  const PLACE = rule('place', 'path: /p, protocol: rest, enforcement: audit, access: full', ENDS);

  it.each<[string, number, string, readonly string[], string]>([
    ['it allows', END - 1, 'POST /x', [READS, WRITES], 'allow'],
    ['it allows no more', END, 'POST /x', [READS, WRITES], 'request_not_listed'],
    ['what others allow stays allowed', END, 'GET /x', [READS, WRITES], 'allow'],
    ['what it refuses stays refused', END, 'GET /admin/x', [READS, WRITES], 'request_refused'],
    ['what it inspects stays inspected', END, 'POST /x', [L4, WRITES], 'request_not_listed'],
    ['audit of others goes on', END, 'POST /x', [WATCHED, WATCHED_ENDS], 'request_not_listed'],
    ['its own audit lets nothing pass', END, 'POST /p', [READS, PLACE], 'request_not_listed'],
    ['which it did before', END - 1, 'POST /p', [READS, PLACE], 'allow'],
  ])('%s', (_, now, line, rules, expected) => expect(request(now, line, ...rules)).toBe(expected)); // biome-ignore format: a table

  it.each([
    ['before', END - 1],
    ['after', END],
  ])('tools that it narrowed stay closed: %s', (_, now) => {
    const mcp = (name: string, keys: string, more = '') =>
      rule(name, `protocol: mcp, enforcement: enforce, ${keys}`, more);
    const verdict = decide(
      now,
      mcp('all', 'mcp: {allow_all_known_mcp_methods: true}'),
      mcp('few', 'rules: [{allow: {method: tools/call, tool: read_file}}]', ENDS),
    );
    const route = verdict.allow && verdict.requests?.route({ allow: ['/'], deny: ['/'] });
    if (!route || !('judge' in route)) throw new Error('not inspected');
    const call = (method: string, tool?: string) =>
      route.judge({
        method: 'POST',
        query: [],
        body: { kind: 'mcp', calls: [{ role: 'call', method, tool, parameters: {} }] },
      }).allow;
    expect([call('tools/list'), call('tools/call', 'delete_file')]).toEqual([true, false]);
    expect(call('tools/call', 'read_file')).toBe(now < END);
  });

  it('audit of others lets pass what they would', () => {
    const verdict = decide(END, WATCHED, WATCHED_ENDS);
    if (!verdict.allow || verdict.requests === undefined) throw new Error('not inspected');
    const route = verdict.requests.route({ allow: ['/x'], deny: ['/x'] });
    expect(
      'judge' in route && route.judge({ method: 'POST', query: [], body: { kind: 'uninspected' } }),
    ).toMatchObject({
      allow: true,
      rule: 'all',
    });
  });

  it('all known methods are over too', () => {
    const known = rule(
      'mcp',
      'protocol: mcp, enforcement: enforce, mcp: {allow_all_known_mcp_methods: true}',
      ENDS,
    );
    const ping = rule('ping', 'protocol: mcp, enforcement: enforce, rules: [{allow: {method: ping}}]');
    const verdict = decide(END, known, ping);
    if (!verdict.allow || verdict.requests === undefined) throw new Error('not inspected');
    const route = verdict.requests.route({ allow: ['/'], deny: ['/'] });
    const judge = (method: string) =>
      'judge' in route &&
      route.judge({
        method: 'POST',
        query: [],
        body: { kind: 'mcp', calls: [{ method, role: 'call', tool: undefined, parameters: {} }] },
      }).allow;
    expect([judge('ping'), judge('tools/list')]).toEqual([true, false]);
  });
});
