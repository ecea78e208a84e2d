import { describe, expect, it } from 'vitest';
import type { AuditFact } from '../../../../src/audit/event.ts';
import { escapeText } from '../../../../src/lib/escape.ts';
import { createLearner } from '../../../../src/policy/learn/learn.ts';
import type { Observation } from '../../../../src/policy/learn/observation.ts';
import { parsePolicy } from '../../../../src/policy/parse.ts';
import { ALL_FACTS } from '../../audit/facts.ts';
import {
  CURL,
  connection,
  learned,
  message,
  missing,
  observationsOf,
  read,
  recordsOf,
  request,
  rulesIn,
  to,
  who,
} from './log.ts';

const PIP = '/usr/bin/pip';
const A = 'a.example.org 443';
const B = 'b.example.org 443';
const graphql = (...fields: string[]) =>
  ({ protocol: 'graphql', operations: [{ type: 'query', name: 'Q', fields }] }) as const;
const call = (method: string, tool?: string) =>
  ({ protocol: 'mcp', calls: [{ method, ...(tool && { tool }) }] }) as const;
const TICK = {
  protocol: 'websocket',
  operations: [{ type: 'subscription', name: '', fields: ['tick'] }],
} as const;

describe('what is learned', () => {
  it.each<[string, readonly AuditFact[], readonly string[]]>([
    ['nothing', [], []],
    ['a connection', [connection(A)], ['/usr/bin/curl -> a.example.org:443']],
    ['one destination of two programs', [connection(A), connection(A, PIP)], ['/usr/bin/curl,/usr/bin/pip -> a.example.org:443']],
    ['no program gets what only another used', [connection(A), connection(A, PIP), connection(B)],
      ['/usr/bin/curl,/usr/bin/pip -> a.example.org:443', '/usr/bin/curl -> b.example.org:443']],
    ['ports together', [connection('a.example.org 80'), connection(A)], ['/usr/bin/curl -> a.example.org:80,443']],
    ['ports apart, of other programs', [connection('a.example.org 80'), connection(A, PIP)],
      ['/usr/bin/curl -> a.example.org:80', '/usr/bin/pip -> a.example.org:443']],
    ['a private address', [connection('db.corp 5432', CURL, '10.1.2.3'), connection('db.corp 5432', PIP, '93.184.215.14')],
      ['/usr/bin/curl,/usr/bin/pip -> db.corp:5432 | at 10.1.2.3/32,93.184.215.14/32']],
    ['an address', [connection('2001:db8::5 443')], ['/usr/bin/curl -> 2001:db8::5:443']],
    ['requests', [request(A, 'GET /x'), request(A, 'POST /y'), request(A, 'GET /x')],
      ['/usr/bin/curl -> a.example.org:443 | rest | GET /x | POST /y']],
    ['HEAD goes with GET', [request(A, 'GET /x'), request(A, 'HEAD /x'), request(A, 'HEAD /z')],
      ['/usr/bin/curl -> a.example.org:443 | rest | GET /x | HEAD /z']],
    ['identifiers', [1, 2, 3].flatMap((id) => [request(A, `GET /u/${id}/p`), request(A, `GET /u/${id}`)]),
      ['/usr/bin/curl -> a.example.org:443 | rest | GET /u/* | GET /u/*/p']],
    ['too few for that', [1, 2].map((id) => request(A, `GET /u/${id}`)),
      ['/usr/bin/curl -> a.example.org:443 | rest | GET /u/1 | GET /u/2']],
    ['words are none', ['a', 'b', 'c', 'd'].map((id) => request(A, `GET /${id}`)),
      ['/usr/bin/curl -> a.example.org:443 | rest | GET /a | GET /b | GET /c | GET /d']],
    ['paths in all their readings', [request(A, 'GET /a;v=1//b')],
      ['/usr/bin/curl -> a.example.org:443 | rest | GET /a//b | GET /a/b | GET /a;v=1//b | GET /a;v=1/b']],
    ['characters of patterns', [request(A, 'GET /a*[b]')], ['/usr/bin/curl -> a.example.org:443 | rest | GET /a\\*\\[b\\]']],
    ['GraphQL', [request(A, 'POST /g', graphql('b', 'a')), request(A, 'GET /g', graphql('c'))],
      ['/usr/bin/curl -> a.example.org:443 | graphql | /g | query {a,b,c}']],
    ['MCP', [request(A, 'POST /m', call('initialize')), request(A, 'POST /m', call('tools/call', 'b')), request(A, 'POST /m', call('tools/call', 'a'))],
      ['/usr/bin/curl -> a.example.org:443 | mcp | /m | initialize | tools/call a b']],
    ['tools of odd names', [request(A, 'POST /m', call('tools/call', 'a b'))],
      ['/usr/bin/curl -> a.example.org:443 | mcp | /m | tools/call a b']],
    ['protocols beside each other', [request(A, 'GET /x'), request(A, 'POST /m', call('initialize')), request(A, 'POST /g', graphql('a'))],
      ['/usr/bin/curl -> a.example.org:443 | rest | GET /x', '/usr/bin/curl -> a.example.org:443 | graphql | /g | query {a}', '/usr/bin/curl -> a.example.org:443 | mcp | /m | initialize']],
    ['a WebSocket', [request(A, 'GET /w', { protocol: 'websocket' })], ['/usr/bin/curl -> a.example.org:443 | websocket | /w | GET /w']],
    ['one with text', [request(A, 'GET /w', { protocol: 'websocket' }), message(A, '/w', { protocol: 'websocket', text: true })],
      ['/usr/bin/curl -> a.example.org:443 | websocket | /w | GET /w | WEBSOCKET_TEXT /w']],
    ['one with GraphQL', [request(A, 'GET /w', { protocol: 'websocket' }), message(A, '/w', TICK)],
      ['/usr/bin/curl -> a.example.org:443 | websocket | /w | GET /w | subscription {tick}']],
    ['what only audit let pass', [missing('request-violation', request(A, 'PUT /x'))], ['/usr/bin/curl -> a.example.org:443 | rest | PUT /x']],
    ['a request that castellan answers, as its connection', [{ kind: 'connection-allowed', intent: { ...to('inference.local 443'), http: { method: 'POST', path: '/v1/messages', scheme: 'https' } }, identity: who(), rule: 'r', address: undefined }], ['/usr/bin/curl -> inference.local:443']],
    ['not a tunnel that was opened for requests', [{ kind: 'connection-allowed', intent: to(A), identity: who(), rule: 'r', address: undefined }], []],
    ['not what a deny rule is about', [missing('request-violation', request(A, 'PUT /x'), 'request_refused')], []],
    ['not what was refused', [missing('connection-denied', connection(A), 'host_not_listed'), missing('connection-denied', request(A, 'PUT /x'))], []],
    ['not what was cut', [request(A, 'GET /x', { protocol: 'graphql', partial: true })], []],
  ])('%s', (_, facts, expected) => {
    expect(rulesIn(learned(facts))).toEqual(expected);
  }); // biome-ignore format: a table

  it('keeps paths on demand', () => {
    const facts = [1, 2, 3].map((id) => request(A, `GET /u/${id}`));
    expect(rulesIn(learned(facts, { exact: true }))).toEqual([
      '/usr/bin/curl -> a.example.org:443 | rest | GET /u/1 | GET /u/2 | GET /u/3',
    ]);
  });

  it('falls back on paths as they were seen, where their patterns would meet', () => {
    const facts = [
      ...[1, 2, 3].map((id) => request(A, `GET /w/${id}`, { protocol: 'websocket' })),
      request(A, 'POST /w/', graphql('a')),
    ];
    expect(rulesIn(learned(facts))).toContain(
      '/usr/bin/curl -> a.example.org:443 | websocket | /w/1 | GET /w/1',
    );
  });
});

describe('what was refused', () => {
  const refused = [
    missing('connection-denied', connection(A), 'host_not_listed'),
    missing('connection-denied', connection(B, PIP), 'binary_not_listed'),
  ];

  it('is told, in comments', () => {
    const text = learned([connection('c.example.org'), ...refused]);
    expect(rulesIn(text)).toEqual(['/usr/bin/curl -> c.example.org:443']);
    expect(text).toMatch(/^# {7}endpoints:$[\s\S]*^#\s+- \{ host: "a\.example\.org", port: 443 \}$/m);
    // What is behind the marks is a policy of its own.
    const told = text.split('\n').filter((line) => line.startsWith('#   '));
    expect(rulesIn(`version: 1\n${told.map((line) => line.slice(4)).join('\n')}\n`)).toHaveLength(2);
  });

  it('is granted on demand', () => {
    expect(rulesIn(learned(refused, { includeDenied: true }))).toEqual([
      '/usr/bin/curl -> a.example.org:443',
      '/usr/bin/pip -> b.example.org:443',
    ]);
  });

  it.each(['address_not_allowed', 'name_mismatch', 'identity_unknown', 'destination_unknown', 'request_refused', 'request_unreadable', 'protocol_not_inspected'])(
    'for another reason than a missing rule (%s) is nothing',
    (reason) => {
      const facts = [connection(A), request(A, 'GET /x')].map((fact) => missing('connection-denied', fact, reason));
      expect(observationsOf(facts)).toEqual([]);
    },
  ); // biome-ignore format: a table
});

describe('beside a base', () => {
  const base = (text: string) =>
    parsePolicy(`version: 1\nnetwork_policies:\n  old:\n${text}`, 'base').network;
  const REST = `    endpoints: [{host: a.example.org, port: 443, protocol: rest, enforcement: audit, rules: [{allow: {method: GET, path: /x, query: {k: v}}}]}]\n    binaries: [{path: ${CURL}}]\n`;

  it('only what it does not allow is learned', () => {
    const facts = [request(A, 'GET /x'), missing('request-violation', request(A, 'PUT /x')), connection(B)];
    const text = learned(facts, { base: base(REST) });
    expect(rulesIn(text)).toEqual([
      '/usr/bin/curl -> a.example.org:443 | rest | PUT /x',
      '/usr/bin/curl -> b.example.org:443',
    ]);
    // Two endpoints for one request have to agree.
    expect(text).toContain('enforcement: "audit"');
  });

  it('what the base asks for beyond the path is not undone', () => {
    expect(rulesIn(learned([request(A, 'GET /x')], { base: base(REST) }))).toEqual([]);
    const violation = missing('request-violation', request(A, 'GET /x'));
    expect(rulesIn(learned([violation], { base: base(REST) }))).toHaveLength(1);
  });

  it('the rights of whoever started the program count', () => {
    const fact = { ...connection(A, PIP), identity: who(PIP, [CURL]) } as AuditFact;
    expect(rulesIn(learned([fact], { base: base(REST.replace(/, protocol.*\]}/, '}')) }))).toEqual([]);
  });

  it('rules get names of their own', () => {
    const named = base(REST).map((rule) => ({ ...rule, name: 'b_example_org' }));
    expect(learned([connection(B)], { base: named })).toContain('\n  b_example_org_2:\n');
  });
});

describe('a hostile log', () => {
  const HOSTILE =
    '/tmp/x"\n  evil: {endpoints: [{host: "evil.example", port: 1}]}\n#\u001b[31m\u009b\u2028\u{e0001}';

  it('brings no rule and no control character', () => {
    const text = learned([connection(A, HOSTILE), request(B, 'GET /%E2%80%A8%C2%9B: {}')]);
    const { network } = parsePolicy(text, 'learned');
    expect(network.map(({ name }) => name)).toEqual(['a_example_org', 'b_example_org']);
    expect(network[0]?.binaries).toEqual([{ path: HOSTILE }]);
    // What the terminal would be told is what is written.
    expect(text.split('\n').map((line) => escapeText(line, 10_000))).toEqual(text.split('\n'));
    expect(text).not.toMatch(/^ {2}evil:/m);
  });

  it('brings no line by the ids of its records', () => {
    const records = recordsOf([connection(A)]) as { metadata: { uid: string } }[];
    for (const record of records) record.metadata.uid = 'x\n  evil: {}\n#';
    const learner = createLearner({ base: undefined, exact: false, includeDenied: false });
    for (const record of records) learner.add(read(record) as Observation);
    expect(learner.finish()).toContain('from x\\u{a}  evil');
  });

  it('a program whose name is a pattern stays that program', () => {
    const { network } = parsePolicy(learned([connection(A, '/opt/*/[a]')]), 'learned');
    expect(network[0]?.binaries).toEqual([{ path: '/opt/\\*/\\[a\\]' }]);
  });

  it.each<[what: string, place: string, value?: unknown]>([
    ['no host', 'dst_endpoint'],
    ['a host of another form', 'dst_endpoint.hostname', 'A.example.org'],
    ['a wildcard', 'dst_endpoint.hostname', '*.example.org'],
    ['a port out of range', 'dst_endpoint.port', 70_000],
    ['a port that is text', 'dst_endpoint.port', '443'],
    ['no program', 'actor'],
    ['a relative program', 'actor.process.path', 'curl'],
    ['a program with dots', 'actor.process.path', '/usr/../bin/x'],
    ['a program that was cut', 'actor.process.path', '/usr/bin/cu…'],
    ['no time', 'time'],
    ['a time beyond all calendars', 'time', 1e300],
    ['an unknown protocol', 'unmapped.inspected', { protocol: 'sql' }],
    ['an operation without fields', 'unmapped.inspected', { protocol: 'graphql', operations: [{ type: 'query', fields: [] }] }],
    ['a path that servers read differently', 'url.path', '/a/..;/b'],
    ['a method that is none', 'unmapped.http_method', 'GET /'],
  ])('%s is not learned', (_, place, value) => {
    const [record] = recordsOf([request(A, 'GET /x')]);
    expect(read(record)).toMatchObject({ host: 'a.example.org' });
    const keys = place.split('.');
    const owner = keys.slice(0, -1).reduce((found, key) => Reflect.get(found, key), record as object);
    Reflect.set(owner, keys.at(-1) ?? '', value);
    expect(read(record)).toBe('unusable');
  }); // biome-ignore format: a table

  it.each([null, 1, 'x', [], {}, { type_uid: 400_101 }])('%j is nothing, or unusable', (record) => {
    expect(['nothing', 'unusable']).toContain(read(record));
  });

  it('of every kind of fact there is, none breaks it', () => {
    expect(() => learned(ALL_FACTS, { includeDenied: true })).not.toThrow();
  });

  it('that asks for endless paths is learned up to a limit, and says so', () => {
    const facts = Array.from({ length: 2100 }, (_, index) =>
      request(A, `GET /${'x'.repeat(index % 7)}-${index}-y`),
    );
    const text = learned(facts);
    expect(text).toMatch(/^# Left out, 100 times: more than 2000 paths/m);
  });
});

describe('the text', () => {
  it('tells how often and when, from which events, and what to think of', () => {
    const text = learned([
      ...['x', 'y', 'z'].map((name) => connection(`${name}.pkg.example.org`, '/usr/bin/python3.11')),
      missing('request-violation', request(A, 'PUT /x')),
      request(A, 'PUT /x'),
    ]);
    expect(text).toMatchInlineSnapshot(`
      "# Learned by castellan policy learn from 5 records.

      version: 1
      network_policies:
        a_example_org:
          endpoints:
            # seen once, 1 only by audit, 2026-11-23T19:02:19.928Z to 2026-11-23T19:02:20.928Z
            # from 0b7f1c5e-6b2d-4c8a-9f31-2d5b8e0a1c74:3, 0b7f1c5e-6b2d-4c8a-9f31-2d5b8e0a1c74:4
            - host: "a.example.org"
              port: 443
              protocol: "rest"
              enforcement: "enforce"
              rules:
                - { allow: { method: "PUT", path: "/x" } }
          binaries:
            - { path: "/usr/bin/curl" }
        # 3 hosts below pkg.example.org: "*.pkg.example.org" would stand for them, and for all others there
        x_pkg_example_org:
          endpoints:
            # seen once, 2026-11-23T19:02:16.928Z to 2026-11-23T19:02:16.928Z
            # from 0b7f1c5e-6b2d-4c8a-9f31-2d5b8e0a1c74:0
            - { host: "x.pkg.example.org", port: 443 }
            # seen once, 2026-11-23T19:02:17.928Z to 2026-11-23T19:02:17.928Z
            # from 0b7f1c5e-6b2d-4c8a-9f31-2d5b8e0a1c74:1
            - { host: "y.pkg.example.org", port: 443 }
            # seen once, 2026-11-23T19:02:18.928Z to 2026-11-23T19:02:18.928Z
            # from 0b7f1c5e-6b2d-4c8a-9f31-2d5b8e0a1c74:2
            - { host: "z.pkg.example.org", port: 443 }
          binaries:
            # an interpreter: whatever it runs has these rights
            - { path: "/usr/bin/python3.11" }
      "
    `);
  });
});

it('programs that an agent may have written are marked', () => {
  expect(learned([connection(A, '/work/tool')])).toContain('# whoever may write this program');
  expect(learned([connection(A)])).not.toContain('whoever may write');
});
