/** Whatever a log says: what was learned from is allowed, and no program reaches a destination that it was not seen at. */
import { describe, expect, it } from 'vitest';
import type { AuditFact } from '../../../../src/audit/event.ts';
import { compilePolicy, type Decider } from '../../../../src/policy/compile.ts';
import { bodyOf } from '../../../../src/policy/learn/baseline.ts';
import type { Observation } from '../../../../src/policy/learn/observation.ts';
import { checkPolicy } from '../../../../src/policy/parse.ts';
import type { RequestNames } from '../../../../src/policy/request-names.ts';
import { type Random, seededRandom } from '../../random.ts';
import { connection, learned, message, missing, observationsOf, request } from './log.ts';

const BINARIES = ['/usr/bin/curl', '/opt/*/x', '/a b', '/opt/y/x', '/[a]', '/\u009b"'];
const HOSTS = ['a.example', 'b.a.example', '192.0.2.1', '2001:db8::1', 'x--y.test'];
const PORTS = [80, 443, 5432];
const SEGMENTS = [
  'a',
  '*',
  '**',
  '1',
  '22',
  '333',
  '{b}',
  '[c]',
  '?',
  '%2F',
  'x;y',
  '',
  '%E2%80%A8',
  '0123abc',
  'deadbee1',
  '\\',
  'é',
];
const PROTOCOLS = ['rest', 'graphql', 'json-rpc', 'mcp', 'websocket'] as const;

function someRequest(random: Random, destination: string, binary: string): AuditFact {
  const path = `/${Array.from({ length: random.below(4) }, () => random.pick(SEGMENTS)).join('/')}`;
  const method = random.pick(['GET', 'HEAD', 'POST', 'BREW', '%']);
  const protocol = random.pick(PROTOCOLS);
  const operations = [
    { type: random.pick(['query', 'mutation', 'subscription'] as const), name: random.pick(['', 'Q']), fields: [random.pick(['a', 'b', 'c*'])] },
  ];
  const tool = random.pick(['', 'read', 'write', 'odd tool']);
  const call = { method: tool === '' ? random.pick(['initialize', 'ping', 'x*']) : 'tools/call', ...(tool && { tool }) };
  const names: RequestNames =
    protocol === 'graphql' ? { protocol, operations }
    : protocol === 'mcp' ? { protocol, calls: [call] }
    : protocol === 'json-rpc' ? { protocol, calls: [{ method: random.pick(['sum', 'x.y']) }] }
    : { protocol };
  if (protocol === 'websocket' && random.below(2) === 0)
    return message(destination, path, random.pick<RequestNames>([{ protocol, operations }, { protocol, text: true }]), binary);
  const fact = request(destination, `${method} ${path}`, names, binary);
  return random.below(4) === 0 ? missing('request-violation', fact) : fact;
} // biome-ignore format: a table

function someFact(random: Random): AuditFact {
  const destination = `${random.pick(HOSTS)} ${random.pick(PORTS)}`;
  const binary = random.pick(BINARIES);
  return random.below(3) === 0
    ? connection(destination, binary, random.pick(['93.184.215.14', '10.0.0.7', 'fd00::7']))
    : someRequest(random, destination, binary);
}

/** Whether the policy allows it: the requests in it, as far as it looks into them. */
function allows(decider: Decider, { host, port, binaries, request: seen, address }: Observation): boolean {
  const verdict = decider.decide({ host, port, binaries: [binaries[0]] });
  if (!verdict.allow) return false;
  if (address !== undefined && address !== '93.184.215.14' && verdict.allowedIps.length === 0) return false;
  if (seen === undefined) return true;
  const route = verdict.requests?.route({ allow: seen.path.readings, deny: seen.path.readings });
  if (route === undefined || !('judge' in route) || route.protocol !== seen.names.protocol) return false;
  const judged = route.judge({ method: seen.method, query: [], body: bodyOf(seen) });
  return judged.allow && judged.violation === undefined;
}

describe.each([false, true])('exact: %s', (exact) => {
  it.each(Array.from({ length: 60 }, (_, seed) => seed))('log %i', (seed) => {
    const random = seededRandom(seed);
    const facts = Array.from({ length: 1 + random.below(40) }, () => someFact(random));
    const observations = observationsOf(facts);
    const text = learned(facts, { exact });
    const { document, problems } = checkPolicy(text, 'learned');
    expect(problems).toEqual([]);
    const decider = compilePolicy(document?.network ?? []);
    const refused = observations.filter((observation) => !allows(decider, observation));
    // What could not be learned is told.
    const told = [...text.matchAll(/^# Left out, (\d+) times/gm)].reduce(
      (sum, [, count]) => sum + Number(count),
      0,
    );
    if (refused.length > 0) expect(told, text + JSON.stringify(refused)).toBeGreaterThan(0);
    const seen = new Set(
      observations.map(({ host, port, binaries: [binary] }) => `${binary} ${host} ${port}`),
    );
    for (const host of [...HOSTS, 'c.example'])
      for (const port of [...PORTS, 8080])
        for (const binary of [...BINARIES, '/opt/z/x', '/a'])
          if (!seen.has(`${binary} ${host} ${port}`))
            expect(decider.decide({ host, port, binaries: [binary] })).toMatchObject({ allow: false });
  });
});

it('of what a client says in the usual forms, all is learned', () => {
  const random = seededRandom(7);
  const facts = Array.from({ length: 400 }, () => {
    const destination = `${random.pick(HOSTS)} ${random.pick(PORTS)}`;
    const id = random.pick(['users', 'items', String(random.below(50))]);
    return random.pick([
      connection(`l4.${destination}`.replace(/^l4\.[\d:].*/, 'l4.example 443'), random.pick(BINARIES)),
      request(destination, `${random.pick(['GET', 'HEAD', 'PUT'])} /api/${id}/${random.below(9)}`),
      request(destination, 'POST /graphql', {
        protocol: 'graphql',
        operations: [{ type: 'query', name: '', fields: [id] }],
      }),
      request(destination, 'POST /mcp', { protocol: 'mcp', calls: [{ method: 'tools/call', tool: id }] }),
    ]);
  });
  const text = learned(facts);
  const decider = compilePolicy(checkPolicy(text, 'learned').document?.network ?? []);
  expect(text).not.toContain('Left out');
  expect(observationsOf(facts).filter((observation) => !allows(decider, observation))).toEqual([]);
});
