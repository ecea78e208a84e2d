import { describe, expect, it } from 'vitest';
import { escapeText } from '../../../src/lib/escape.ts';
import { checkPolicy, MAX_POLICY_BYTES, parsePolicy } from '../../../src/policy/parse.ts';
import { MAX_PROBLEMS } from '../../../src/policy/source/findings.ts';
import { mutate, seededRandom } from '../random.ts';

const FULL = `# comment
version: 1
filesystem_policy:
  include_workdir: false
  read_only: [/usr, /etc//ssl/, /opt/./x]
  read_write: [/tmp, /work, /tmp]
landlock: {compatibility: hard_requirement}
process: {run_as_user: sandbox, run_as_group: 1000}
network_policies:
  pypi:
    name: pypi
    endpoints:
      - {host: Files.Example.ORG, port: 443, tls: skip, enforcement: enforce}
      - host: 10.1.2.3
        ports: [80, 8080, 80]
        allowed_ips: [10.1.2.3, "fd00:1::/32"]
      - {host: pg.example.org, port: 5432, protocol: tcp, path: "", rules: null}
    binaries: [{path: /usr//bin/pip}, {path: "/opt/**/python3*"}]
`;

describe('a full policy', () => {
  const policy = parsePolicy(FULL, 'p.yaml');

  it('becomes a document', () => {
    expect(policy).toMatchObject({
      version: 1,
      filesystem: {
        includeWorkdir: false,
        readOnly: ['/usr', '/etc/ssl', '/opt/x'],
        readWrite: ['/tmp', '/work'],
      },
      landlock: { compatibility: 'hard_requirement' },
      process: { runAsUser: 'sandbox', runAsGroup: '1000' },
      digest: expect.stringMatching(/^sha256:[0-9a-f]{64}$/),
    });
  });

  it('has its rules with their places in the text', () => {
    expect(policy.network).toEqual([
      {
        name: 'pypi',
        position: { line: 10, column: 3 },
        binaries: [{ path: '/usr/bin/pip' }, { path: '/opt/**/python3*' }],
        endpoints: [
          {
            host: 'files.example.org',
            ports: [443],
            protocol: '',
            allowedIps: [],
            skipsTls: true,
            position: { line: 13, column: 9 },
          },
          {
            host: '10.1.2.3',
            ports: [80, 8080],
            protocol: '',
            allowedIps: ['10.1.2.3/32', 'fd00:1::/32'],
            position: { line: 14, column: 9 },
          },
          {
            host: 'pg.example.org',
            ports: [5432],
            protocol: 'tcp',
            allowedIps: [],
            position: { line: 17, column: 9 },
          },
        ],
      },
    ]);
  });

  it('survives the wire between the roles', () => {
    expect(JSON.parse(JSON.stringify(policy))).toEqual(policy);
  });
});

describe('defaults', () => {
  it('a bare policy denies all network and grants what programs need', () => {
    expect(parsePolicy('version: 1\n', 'p')).toEqual({
      version: 1,
      filesystem: {
        includeWorkdir: true,
        readOnly: [
          '/usr',
          '/lib',
          '/lib64',
          '/bin',
          '/sbin',
          '/etc',
          '/proc',
          '/app',
          '/var/log',
          '/dev/urandom',
        ],
        readWrite: ['/tmp', '/dev/null'],
      },
      landlock: { compatibility: 'best_effort' },
      seccomp: { relax: [] },
      process: { runAsUser: undefined, runAsGroup: undefined },
      network: [],
      notices: [],
      // printf 'version: 1\n' | sha256sum
      digest: 'sha256:09bfcc6a14b83e2192b8673677725c84883ee9cd0c70e45c9ec09daa8f2b2847',
    });
  });

  it('a filesystem_policy that is there replaces the built-in paths, and includes the working directory', () => {
    const { filesystem } = parsePolicy('version: 1\nfilesystem_policy: {read_only: [/usr]}\n', 'p');
    expect(filesystem).toEqual({ includeWorkdir: true, readOnly: ['/usr'], readWrite: [] });
  });

  it('keys without a value count as absent', () => {
    const text =
      'version: 1\nfilesystem_policy:\nlandlock:\nprocess: {run_as_user: }\nnetwork_policies:\nnetwork_middlewares: {}\n';
    expect({ ...parsePolicy(text, 'p'), digest: '' }).toEqual({
      ...parsePolicy('version: 1', 'p'),
      digest: '',
    });
  });

  it('anchors and aliases are resolved', () => {
    const text =
      'version: 1\nnetwork_policies:\n  a: {endpoints: [{host: a.example, port: 1}], binaries: &b [{path: /x}]}\n  b: {endpoints: [], binaries: *b}\n';
    expect(parsePolicy(text, 'p').network.map(({ binaries }) => binaries)).toEqual([
      [{ path: '/x' }],
      [{ path: '/x' }],
    ]);
  });
});

const rule = (endpoint: string, binaries = '[{path: /x}]') =>
  `version: 1\nnetwork_policies:\n  r:\n    endpoints:\n      - ${endpoint}\n    binaries: ${binaries}\n`;
const filesystem = (body: string) => `version: 1\nfilesystem_policy: ${body}\n`;
const run = (key: string, value: string) => `version: 1\nprocess:\n  ${key}: ${value}\n`;

// biome-ignore format: one line a case
const refusals: readonly (readonly [name: string, text: string, message: string])[] = [
    ['an empty text', '', '1:1: the policy is empty; it needs at least "version: 1"'],
    ['a list', '- 1', '1:1: the policy must be a mapping, not a list'],
    ['a missing version', 'process: {}', '1:1: the policy needs "version: 1"'],
    ['another version', 'version: 2', '1:10: version must be 1, not "2"'],
    ['a version in quotes', 'version: "1"', '1:10: version must be 1, not the text "1"'],
    ['a hexadecimal version', 'version: 0x1', '1:10: version must be 1, not "0x1"'],
    ['a misspelt section', 'version: 1\nnetwork_polices: {}', '2:1: unknown key "network_polices" in the policy, did you mean "network_policies"?'],
    ['a far-off key', 'version: 1\nzzz: {}', '2:1: unknown key "zzz" in the policy'],
    ['__proto__ as key', 'version: 1\n__proto__: {a: 1}', '2:1: unknown key "__proto__" in the policy'],
    ['a key with control characters', 'version: 1\n"a\\n\\e[31m": 1', '2:1: unknown key "a\\u{a}\\u{1b}[31m" in the policy'],
    ['a duplicate key', 'version: 1\nprocess: {}\nversion: 1', '3:1: key "version" is given twice, first in line 1'],
    ['a second document', 'version: 1\n---\nversion: 1\n', '2:1: Source contains multiple documents'],
    ['a tag', 'version: !foo 1', '1:10: Unresolved tag: !foo'],
    ['a tag with an escape sequence', 'version: !a\x1b[31m 1', '1:10: '],
  ['a binary tag', 'version: !!binary aaa', '1:10: Unresolved tag'],
    ['a directive it does not know', '%FOO\n---\nversion: 1', '1:1: Unknown directive'],
    ['a key that is a list', '? [a]\n: 1\n', '1:3: With stringKeys, all keys must be strings'],
    ['broken YAML', 'version: 1\nprocess: {', '2:11: '],
    ['an unknown alias', 'version: *v', '1:10: alias "v" names no anchor before it'],
    ['an alias inside its own anchor', 'version: 1\nprocess: &p {run_as_user: *p}', '2:27: alias "p" names no anchor before it'],
    ['an alias to itself behind an older anchor of that name', 'version: &p 1\nprocess: &p {run_as_user: *p}', '2:27: alias "p" names no anchor before it'],
  ['a merge key', 'version: 1\n<<: {process: {}}', '2:1: unknown key "<<" in the policy'],
    ['middlewares', 'version: 1\nnetwork_middlewares: {a: {middleware: openshell/regex, order: -1, config: {any: thing}, on_error: fail_open, endpoints: {include: ["*.x.example"], exclude: []}}}', '2:23: middleware "a" cannot run: castellan has no middlewares'],
    ['a misspelt key of a middleware', 'version: 1\nnetwork_middlewares: {a: {on_eror: fail_open}}', '2:27: unknown key "on_eror" in middleware "a", did you mean "on_error"?'],
    ['a misspelt effect of a middleware', 'version: 1\nnetwork_middlewares: {a: {on_error: fail_opn}}', 'on_error of middleware "a" must be "fail_closed" or "fail_open", not "fail_opn", did you mean "fail_open"?'],
    ['an order that is none', 'version: 1\nnetwork_middlewares: {a: {order: first}}', 'order of middleware "a" must be a whole number'],
    ['a misspelt selector', 'version: 1\nnetwork_middlewares: {a: {endpoints: {includes: []}}}', 'did you mean "include"?'],
    ['middlewares that are a list', 'version: 1\nnetwork_middlewares: [a]', 'network_middlewares must be a mapping'],
    ['an unknown group', 'version: 1\nseccomp: {relax: [trace, io_uring]}', '2:26: a group in seccomp.relax must be "trace" or "namespaces" or "io-uring" or "perf" or "bpf" or "keys" or "userfaultfd" or "netlink" or "personality", not "io_uring", did you mean "io-uring"?'],
    ['a port too high', 'version: 1\nlandlock: {bind_tcp_ports: [65536]}', '2:29: a port in landlock.bind_tcp_ports must be a whole number from 0 to 65535, not "65536"'],
    ['an unknown compatibility', 'version: 1\nlandlock: {compatibility: best-effort}', '2:27: landlock.compatibility must be "best_effort" or "hard_requirement", not "best-effort", did you mean "best_effort"?'],

    ['a relative path', filesystem('{read_only: [usr]}'), '2:33: path "usr" in filesystem_policy.read_only must be absolute'],
    ['a climbing path', filesystem('{read_only: [/usr/../etc]}'), '2:33: path "/usr/../etc" in filesystem_policy.read_only must not contain ".."'],
    ['a NUL in a path', filesystem('{read_only: ["/a\\0b"]}'), '2:33: path "/a\\u{0}b" in filesystem_policy.read_only must not contain NUL'],
    ['half a character in a path', filesystem('{read_only: ["/\\ud800"]}'), '2:33: path "/\\u{d800}" in filesystem_policy.read_only must be well-formed Unicode'],
    ['a long path', filesystem(`{read_only: ["/${'ä'.repeat(2048)}"]}`), 'must not be longer than 4096 bytes'],
    ['writing to everything', filesystem('{read_write: [//]}'), '2:33: filesystem_policy.read_write must not contain "/"'],
    ['too many paths', filesystem(`{read_only: [${'/a, '.repeat(200)}], read_write: [${'/b, '.repeat(57)}]}`), '2:20: filesystem_policy lists more than 256 paths'],
    ['a path that is a number', filesystem('{read_only: [5]}'), '2:33: a path in filesystem_policy.read_only must be a text, not "5"'],
    ['paths that are no list', filesystem('{read_only: /usr}'), '2:32: filesystem_policy.read_only must be a list, not the text "/usr"'],
    ['a workdir that is no truth', filesystem('{include_workdir: yes}'), '2:38: filesystem_policy.include_workdir must be true or false, not the text "yes"'],

    ['root by name', run('run_as_user', 'root'), '3:16: process.run_as_user must not be root'],
    ['root by number', run('run_as_user', '0'), '3:16: process.run_as_user must not be root'],
    ['root by text', run('run_as_group', '"0"'), '3:17: process.run_as_group must not be root'],
    ['the reserved id', run('run_as_user', '4294967295'), '3:16: process.run_as_user "4294967295" is outside 1 to 4294967294'],
    ['a huge id', run('run_as_user', '99999999999'), '3:16: process.run_as_user "99999999999" is outside 1 to 4294967294'],
    ['an id with a leading zero', run('run_as_user', '01000'), 'neither an account name nor a decimal number'],
    ['a hexadecimal id', run('run_as_user', '0x3e8'), 'neither an account name nor a decimal number'],
    ['a negative id', run('run_as_user', '-1'), 'neither an account name nor a decimal number'],
    ['a fraction', run('run_as_user', '1000.0'), 'neither an account name nor a decimal number'],
    ['a name with a colon', run('run_as_user', '"a:b"'), 'neither an account name nor a decimal number'],
    ['a boolean', run('run_as_user', 'true'), '3:16: process.run_as_user must be a name or a number, not "true"'],

    ['a rule name with a space', 'version: 1\nnetwork_policies:\n  a b: {}', '3:3: rule name "a b" must be 1 to 64 of'],
    ['a reserved rule name', 'version: 1\nnetwork_policies:\n  _provider_x: {}', '3:3: rule name "_provider_x" begins with "_provider_", which is reserved'],
    ['a rule that is a list', 'version: 1\nnetwork_policies:\n  r: []', '3:6: rule "r" must be a mapping, not a list'],
    ['a misspelt rule key', 'version: 1\nnetwork_policies:\n  r:\n    endpoint: []', '4:5: unknown key "endpoint" in rule "r", did you mean "endpoints"?'],
    ['a misspelt endpoint key', rule('{hots: a.example, port: 1}'), '5:10: unknown key "hots" in an endpoint of rule "r", did you mean "host"?'],
    ['an endpoint that is a text', rule('a.example:443'), '5:9: an endpoint of rule "r" must be a mapping, not the text "a.example:443"'],
    ['an endpoint without host', rule('{port: 443}'), '5:9: an endpoint of rule "r" needs a host, or allowed_ips'],
    ['an endpoint without port', rule('{host: a.example}'), '5:9: an endpoint of rule "r" needs a port'],
    ['an empty port list', rule('{host: a.example, ports: []}'), '5:34: an endpoint of rule "r" needs a port'],
    ['an enforcement in capitals', rule('{host: a.example, port: 443, protocol: rest, access: full, enforcement: Enforce}'), 'did you mean "enforce"?'],
    ['a time without a zone', 'version: 1\nnetwork_policies: {r: {expires: 2026-12-31T18:00:00}}', '2:33: expires of rule "r" must be a time such as 2026-12-31T18:00:00Z, with Z or an offset, not "2026-12-31T18:00:00"'],
    ['a day that is none', 'version: 1\nnetwork_policies: {r: {expires: 2026-02-30T00:00:00Z}}', 'expires of rule "r" must be a time'],
    ['an hour that is none', 'version: 1\nnetwork_policies: {r: {expires: "2026-02-28T25:00:00Z"}}', 'expires of rule "r" must be a time'],
    ['a day alone', 'version: 1\nnetwork_policies: {r: {expires: 2026-12-31}}', 'expires of rule "r" must be a time'],
    ['a misspelt end', 'version: 1\nnetwork_policies: {r: {expire: 2026-12-31T18:00:00Z}}', 'did you mean "expires"?'],
    ['port and ports', rule('{host: a.example, port: 1, ports: [2]}'), '5:43: an endpoint of rule "r" has both port and ports'],
    ['port 0', rule('{host: a.example, port: 0}'), '5:33: a port of an endpoint of rule "r" must be a whole number from 1 to 65535, not "0"'],
    ['port 65536', rule('{host: a.example, ports: [1, 65536]}'), '5:38: a port of'],
    ['a port in quotes', rule('{host: a.example, port: "443"}'), 'not the text "443"'],
    ['a fractional port', rule('{host: a.example, port: 443.0}'), 'not "443.0"'],
    ['a top-level wildcard', rule('{host: "*.com", port: 443}'), '5:16: host "*.com" covers a whole top-level domain'],
    ['an international name', rule('{host: bücher.example, port: 443}'), '5:16: host "bücher.example" must be ASCII; write an international name in its xn-- form'],
    ['a host that is a number', rule('{host: 5, port: 443}'), '5:16: host of an endpoint of rule "r" must be a text, not "5"'],
    ['an inspected protocol without rules', rule('{host: a.example, port: 443, protocol: rest}'), '5:9: an endpoint of rule "r" has protocol "rest" and therefore needs access, or rules'],
    ['a protocol nothing here reads', rule('{host: a.example, port: 443, protocol: sql}'), '5:48: protocol "sql" has no inspector; leave it out, and the connection alone is judged'],
    ['an unknown protocol', rule('{host: a.example, port: 443, protocol: REST}'), 'unknown protocol "REST", did you mean "rest"?'],
    ['tcp to an address', rule('{host: 10.0.0.1, port: 443, protocol: tcp}'), '5:16: host "10.0.0.1" must be a DNS name, because protocol is "tcp"'],
    ['tcp without host', rule('{port: 443, protocol: tcp, allowed_ips: [10.0.0.0/8]}'), 'has protocol "tcp" and therefore needs a host'],
    ['rules', rule('{host: a.example, port: 443, rules: []}'), '5:45: key "rules" of an endpoint of rule "r" takes protocol "rest" or'],
    ['a path', rule('{host: a.example, port: 443, path: /api}'), 'key "path" of an endpoint of rule "r" takes protocol'],
    ['an access preset', rule('{host: a.example, port: 443, access: full}'), 'key "access" of an endpoint'],
    ['audit', rule('{host: a.example, port: 443, enforcement: audit}'), 'enforcement "audit" is about requests, and this endpoint inspects none'],
    ['a misspelt enforcement', rule('{host: a.example, port: 443, enforcement: enforced}'), 'enforcement must be "enforce" or "audit", not "enforced", did you mean "enforce"?'],
    ['a tunnel that is to be inspected', rule('{host: a.example, port: 443, protocol: rest, access: full, tls: skip}'), 'tls "skip" leaves protocol "rest" nothing to inspect'],
    ['an unknown tls', rule('{host: a.example, port: 443, tls: off}'), 'tls must be "skip" or "terminate" or "passthrough", not "off"'],
    ['allowed_ips that are no addresses', rule('{host: a.example, port: 443, allowed_ips: [10/8]}'), '5:52: "10/8" in allowed_ips is neither an IP address nor a CIDR block'],
    ['loopback in allowed_ips', rule('{host: a.example, port: 443, allowed_ips: [127.0.0.0/8]}'), 'overlaps a range that is never reached: loopback'],
    ['everything in allowed_ips', rule('{host: a.example, port: 443, allowed_ips: [0.0.0.0/0]}'), 'overlaps a range that is never reached'],
    ['empty allowed_ips', rule('{host: a.example, port: 443, allowed_ips: []}'), 'allowed_ips is empty'],
    ['a binary that is a text', rule('{host: a.example, port: 1}', '[/x]'), '6:16: a binary of rule "r" must be a mapping, not the text "/x"'],
    ['a binary without path', rule('{host: a.example, port: 1}', '[{}]'), '6:16: a binary of rule "r" needs a path'],
    ['a relative binary', rule('{host: a.example, port: 1}', '[{path: curl}]'), '6:23: binary "curl" must be absolute'],
    ['a relative pattern', rule('{host: a.example, port: 1}', '[{path: "*curl"}]'), '6:23: binary "*curl" must begin with "/" or "**"'],
    ['a broken pattern', rule('{host: a.example, port: 1}', '[{path: "/x[*"}]'), '6:23: binary "/x[*" is not a valid pattern: a "[" that is not closed'],
    ['a pin that is no hash', rule('{host: a.example, port: 1}', '[{path: /x, sha256: y}]'), '6:35: sha256 of a binary of rule "r" must be 64 hexadecimal digits, not "y"'],
    ['a pin that is a number', rule('{host: a.example, port: 1}', '[{path: /x, sha256: 12}]'), '6:35: sha256 of a binary of rule "r" must be a text'],
    ['a pin of nothing', rule('{host: a.example, port: 1}', '[{path: /x, sha256: []}]'), '6:35: sha256 of a binary of rule "r" lists no hash'],
    ['a pin that is written in another way', rule('{host: a.example, port: 1}', '[{path: /x, sha255: y}]'), 'did you mean "sha256"?'],
    ['one path with a pin and without', rule('{host: a.example, port: 1}', `[{path: /x, sha256: "${'a'.repeat(64)}"}, {path: //x}]`), '3:3: rule "r" lists "/x" both with sha256 and without'],
];

it('pins are read in one form', () => {
  const [upper, lower] = ['AB'.repeat(32), 'ab'.repeat(32)];
  const text = rule(
    '{host: a.example, port: 1}',
    `[{path: /x, sha256: "${upper}"}, {path: "/y/*", sha256: ["${upper}", ${lower}]}]`,
  );
  expect(parsePolicy(text, 'p').network[0]?.binaries).toEqual([
    { path: '/x', sha256: [lower] },
    { path: '/y/*', sha256: [lower] },
  ]);
});

describe('refuses', () => {
  it.each(refusals)('%s', (_, text, message) => {
    const { document, problems } = checkPolicy(text, 'p.yaml');
    expect(document).toBeUndefined();
    const said = problems.map(({ position, message }) => `${position.line}:${position.column}: ${message}`);
    expect(said).toEqual(expect.arrayContaining([expect.stringContaining(message)]));
    expect(() => parsePolicy(text, 'p.yaml')).toThrow(
      expect.objectContaining({
        code: 'policy_invalid',
        step: 'policy',
        object: 'p.yaml',
        message: expect.stringMatching(/^p\.yaml:\d+:\d+: /),
      }),
    );
  });

  it('names the first problem in the text and counts the others', () => {
    const text = rule('{host: "*.com", port: 0}').replace('version: 1', 'version: 2');
    expect(() => parsePolicy(text, 'p.yaml')).toThrow('p.yaml:1:10: version must be 1, not "2" (and 2 more)');
  });

  it('a text above the limit', () => {
    const text = `version: 1\n# ${'x'.repeat(MAX_POLICY_BYTES)}`;
    expect(checkPolicy(text, 'p').problems).toMatchObject([
      { message: 'the policy is larger than 1048576 bytes' },
    ]);
  });

  it('aliases that multiply', () => {
    const levels = Array.from(
      { length: 12 },
      (_, level) =>
        `a${level}: &a${level} [${Array(10)
          .fill(level === 0 ? 'lol' : `*a${level - 1}`)
          .join(', ')}]`,
    );
    const { problems } = checkPolicy(levels.join('\n'), 'p');
    expect(problems.some(({ message }) => message.startsWith('aliases repeat more than'))).toBe(true);
  });

  it('endless nesting', () => {
    for (const open of ['[', '{a: ', '- '])
      expect(checkPolicy(`version: 1\nprocess: ${open.repeat(10_000)}`, 'p').problems.length).toBeGreaterThan(
        0,
      );
    expect(
      checkPolicy(`version: 1\nprocess: ${'['.repeat(40)}${']'.repeat(40)}`, 'p').problems,
    ).toContainEqual(expect.objectContaining({ message: 'is nested deeper than 32 levels' }));
  });

  it('no more problems than can be kept', () => {
    const text = Array.from({ length: 5000 }, (_, index) => `k${index}: 1`).join('\n');
    expect(checkPolicy(text, 'p').problems).toHaveLength(MAX_PROBLEMS);
  });

  it('more endpoints than fit into one message', () => {
    const text = `version: 1\nnetwork_policies: {r: {endpoints: [${'{host: a.b,port: 1},'.repeat(10_001)}]}}`;
    expect(checkPolicy(text, 'p').problems).toMatchObject([
      { message: 'network_policies lists more than 10000 endpoints' },
    ]);
  });
});

// biome-ignore format: one line a case
const notices = [
    ['no binaries', rule('{host: a.example, port: 1}', '[]'), 'rule "r" lists no binaries and can never match; write path: "/**" for any'],
    ['no endpoints', 'version: 1\nnetwork_policies: {r: {binaries: [{path: /x}]}}', 'rule "r" lists no endpoints and can never match'],
    ['another name', 'version: 1\nnetwork_policies: {r: {name: s}}', 'rule "r" is called by its key; its name "s" is not used'],
    ['harness', rule('{host: a.example, port: 1}', '[{path: /x, harness: true}]'), 'harness of a binary of rule "r" is deprecated and has no effect'],
    ['a literal that looks like a pattern', rule('{host: a.example, port: 1}', '[{path: "/x?"}]'), 'binary "/x?" is taken literally, because it has no "*"'],
    ['passthrough', rule('{host: a.example, port: 1, tls: passthrough}'), 'tls "passthrough" is deprecated; write "skip"'],
    ['host bits', rule('{host: a.example, port: 1, allowed_ips: [10.1.2.3/16]}'), '"10.1.2.3/16" in allowed_ips means 10.1.0.0/16'],
    ['a wide block', rule('{host: a.example, port: 1, allowed_ips: [10.0.0.0/8]}'), '"10.0.0.0/8" in allowed_ips is wider than /16'],
    ['a literal that is never reached', rule('{host: 127.0.0.1, port: 1}'), 'host "127.0.0.1" is loopback and is never reached'],
] as const;

describe('notices', () => {
  it.each(notices)('%s', (_, text, message) => {
    expect(parsePolicy(text, 'p').notices.map((found) => found.message)).toContain(message);
  });

  it('are absent where all is well', () => {
    expect(parsePolicy(FULL, 'p').notices).toEqual([]);
  });
});

describe('mutated policies', () => {
  it('parse or fail with policy_invalid, nothing else', () => {
    const random = seededRandom(7);
    const source = Buffer.from(FULL);
    for (let round = 0; round < 500; round++) {
      const text = Buffer.from(mutate(source, random)).toString('utf8');
      const { document, problems } = checkPolicy(text, 'p');
      expect(document === undefined, text).toBe(problems.length > 0);
      for (const { position, message } of problems) {
        expect(position.line).toBeGreaterThan(0);
        expect(message).toBe(escapeText(message));
      }
    }
  });
});
