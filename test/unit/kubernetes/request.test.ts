import { describe, expect, it } from 'vitest';
import { OWN_VARIABLES, type Variable } from '../../../src/config/variables.ts';
import { castellanVariables, isCastellanVariable } from '../../../src/kubernetes/environment.ts';
import { readNamespace } from '../../../src/kubernetes/namespace.ts';
import { parseSandboxRequest } from '../../../src/kubernetes/read-request.ts';

const LEAST = `name: a
image: agent:1
command: [agent]
castellan: { image: castellan:1 }
policy: { config_map: policies }
`;

describe('a request', () => {
  it('may say the least', () => {
    expect(parseSandboxRequest(LEAST, 'r')).toMatchObject({
      topology: 'combined',
      identity: 'ids',
      ids: { uid: undefined, gid: undefined },
      proxyUid: 1337,
      workdir: '/sandbox',
      workspace: { source: { kind: 'empty-dir' }, seed: false },
      policy: { kind: 'config-map', from: { name: 'policies', key: 'policy.yaml' } },
      nativeSidecar: true,
    });
  });

  it('takes ids at both ends of the range', () => {
    const { ids } = parseSandboxRequest(`${LEAST}sandbox_uid: 1\nsandbox_gid: 2147483647\n`, 'r');
    expect(ids).toEqual({ uid: 1, gid: 2_147_483_647 });
  });

  it.each([
    [
      'an unknown key',
      'toplogy: sidecar',
      'r:6:1: unknown key "toplogy" in the request, did you mean "topology"?',
    ],
    ['an unknown word', 'topology: sidecars', 'r:6:11: topology must be "combined" or "sidecar"'],
    ['root', 'sandbox_uid: 0', 'r:6:14: sandbox_uid must be a whole number from 1 to 2147483647'],
    ['the reserved number', 'sandbox_gid: 4294967295', 'r:6:14: sandbox_gid must be'],
    ['a number as a float', 'sandbox_uid: 1.00068e+09', 'r:6:14: sandbox_uid must be'],
    ['a number as a text', 'sandbox_uid: "1000"', 'r:6:14: sandbox_uid must be'],
    [
      'numbers of a platform',
      'identity: platform\nsandbox_uid: 5',
      'r:6:11: identity platform leaves no room',
    ],
    ['a bad name', 'namespace: A_B', 'r:6:12: namespace must be up to 63'],
    ['a path with dots', 'workdir: /a/../b', 'r:6:10: workdir must be a plain absolute path'],
    ['a relative path', 'workdir: a', 'r:6:10: workdir must be'],
    ['a variable of castellan’s', 'env: { SANDBOX_UID: "1" }', "env.SANDBOX_UID: is castellan's own"],
    [
      'a variable that loads code',
      'env: { LD_PRELOAD: x }',
      'env.LD_PRELOAD: this variable makes programs load code',
    ],
    ['a number for a variable', 'env: { A: 1 }', 'r:6:11: env.A must be a text'],
    ['two kinds of workspace', 'workspace: { claim: a, empty_dir: {} }', 'r:6:12: workspace can be one of'],
    [
      'a secret as a volume',
      'volumes: [{ name: a, mount: /a, secret: x }]',
      'r:6:11: volumes[0] needs one of empty_dir, claim, claim_template, config_map (and 1 more)',
    ],
    ['a volume of castellan’s', 'volumes: [{ name: castellan-bin, mount: /a, claim: x }]', 'is reserved'],
    [
      'two volumes of a name',
      'volumes: [{ name: workspace, mount: /a, claim: x }]',
      'is reserved, or another',
    ],
    ['a volume of no kind', 'volumes: [{ name: a, mount: /a }]', 'volumes[0] needs one of'],
    [
      'an amount that is none',
      'resources: { limits: { cpu: lots } }',
      'r:6:29: resources.limits.cpu must be a quantity',
    ],
    ['a key that is a path', 'credentials: { secret: a, key: ../b }', 'credentials.key must be letters'],
    [
      'a proxy that is none',
      'upstream_proxy: { url: "ftp://x" }',
      'r:6:17: upstream_proxy: --upstream-proxy takes http',
    ],
    [
      'a password in the clear',
      'upstream_proxy: { url: "http://x:1", auth: { secret: a } }',
      'would send the password unencrypted',
    ],
    ['a profile that is none', 'app_armor: none', 'r:6:12: app_armor must be'],
    ['a second document', '---\nname: b', 'r:6:1: '],
  ])('refuses %s', (_, line, message) => {
    expect(() => parseSandboxRequest(`${LEAST}${line}\n`, 'r')).toThrow(message);
  });

  it.each([
    ['name', 'r:1:1: name is missing'],
    ['image', 'r:1:1: image is missing'],
    ['command', 'r:1:1: command is missing'],
    ['castellan', 'r:1:1: castellan.image is missing'],
    ['policy', 'r:1:1: policy needs either text or config_map'],
  ])('refuses one without %s', (key, message) => {
    const text = LEAST.split('\n')
      .filter((line) => !line.startsWith(`${key}:`))
      .join('\n');
    expect(() => parseSandboxRequest(text, 'r')).toThrow(message);
  });

  it('refuses a policy that castellan would refuse', () => {
    const text = LEAST.replace('{ config_map: policies }', '{ text: "version: 1\\nx: 1" }');
    expect(() => parseSandboxRequest(text, 'r')).toThrow('policy.text, line 2, column 1: unknown key "x"');
  });
});

describe('a namespace', () => {
  it.each([
    ['as kubectl prints it', 'kind: Namespace\nmetadata: { annotations: { a: b } }', { a: 'b' }],
    ['as JSON', '{"kind":"Namespace","metadata":{"annotations":{"a":"b"}}}', { a: 'b' }],
    ['as a map', 'a: b', { a: 'b' }],
    ['without annotations', 'kind: Namespace\nmetadata: { name: x }', {}],
  ])('%s', (_, text, annotations) => {
    expect(readNamespace(text, 'n')).toEqual({ kind: 'read', annotations });
  });

  it.each([
    ['nothing', ''],
    ['a list', '- a'],
    ['another object', 'kind: Pod'],
    ['a number', 'a: 1'],
    ['broken', 'a: ['],
    ['a server’s answer', 'Error from server (Forbidden): namespaces "x" is forbidden'],
  ])('refuses %s', (_, text) => {
    expect(() => readNamespace(text, 'n')).toThrow(/^n/);
  });
});

describe('variables that castellan looks at', () => {
  /** Whose value changes nothing that a sandbox is confined by, what init sets itself, and what goes with one that is set. */
  const HARMLESS = [
    ...['HOME', 'NO_COLOR', 'TERM', 'CASTELLAN_INIT', 'WATCHDOG_PID', 'LISTEN_PID', 'LISTEN_FDNAMES'],
    ...['KUBERNETES_SERVICE_HOST', 'KUBERNETES_SERVICE_PORT'],
  ];

  it('are all set in a pod', () => {
    const read = OWN_VARIABLES.flatMap(({ accepted, name, ...row }: Variable) =>
      accepted.length === 0 ? [] : [name, ...(row.spellings ?? [])],
    );
    const set = castellanVariables(true);
    expect(read.filter((name) => !set.includes(name) && !HARMLESS.includes(name))).toEqual([]);
    for (const name of set) expect(isCastellanVariable(name)).toBe(true);
  });
});
