import { describe, expect, it } from 'vitest';
import { parseSandboxRequest, REQUEST_KEYS } from '../../../../src/kubernetes/read-request.ts';
import { SUPERVISION_KEYS } from '../../../../src/kubernetes/read-supervision.ts';
import { CHOICES, DEFAULT_CHOICES } from '../../../../src/kubernetes/webhook/choices.ts';
import {
  CONFIGURATION_KEYS,
  parseWebhookConfiguration,
} from '../../../../src/kubernetes/webhook/configuration.ts';

const configured = (lines: string) =>
  parseWebhookConfiguration(`version: 1\nimage: castellan:1\n${lines}`, 'c');

const WORDS = `topology: sidecar
binary_identity: sidecar
native_sidecar: false
proxy_uid: 2000000001
sandbox_uid: 1000680000
sandbox_gid: 2147483647
workdir: /work
credentials: keys
inference_routes: { secret: routes, key: r.yaml }
upstream_proxy: { url: "https://proxy:3128", no_proxy: [.corp, "10.0.0.0/8"], auth: { secret: password }, connect_by_hostname: true }
health_port: 9000
metrics_port: 9001
reload: watch
grace_seconds: 7
read_only_root: true
host_users: false
app_armor: Localhost/mine
`;

describe('a configuration and a request', () => {
  it('mean the same by the same words', () => {
    expect(WORDS.match(/^\w+(?=:)/gm)).toEqual(expect.arrayContaining([...SUPERVISION_KEYS]));
    const request = parseSandboxRequest(
      `name: a\nimage: a:1\ncommand: [a]\ncastellan: { image: castellan:1 }\npolicy: { config_map: p }\n${WORDS}`,
      'r',
    );
    const { supervisor, ids } = configured(WORDS);
    const common = { ...supervisor, ids };
    for (const key of ['image', 'pullPolicy', 'install', 'resources', 'policy', 'companions'] as const)
      Reflect.deleteProperty(common, key);
    Reflect.deleteProperty(common, 'agentContainer');
    Reflect.deleteProperty(common, 'seed');
    expect(request).toMatchObject(common);
    expect(supervisor.secrets).toEqual({
      credentials: { name: 'keys', key: 'credentials.yaml' },
      inferenceRoutes: { name: 'routes', key: 'r.yaml' },
      upstreamProxyAuth: { name: 'password', key: 'auth' },
    });
  });

  it('differ only in what is the pod’s own, or told otherwise', () => {
    const own = [
      ...['name', 'namespace', 'labels', 'annotations', 'command', 'args', 'env', 'pull_secrets', 'volumes'],
      ...['service_account', 'runtime_class', 'priority_class', 'node_selector', 'tolerations'],
    ];
    // castellan.image and its like are image, pull_policy, install and resources; seed is an annotation; a platform's number is known.
    const otherwise = ['castellan', 'workspace', 'identity'];
    const known: readonly string[] = CONFIGURATION_KEYS;
    const missing = REQUEST_KEYS.filter((key) => !known.includes(key));
    expect(missing.sort()).toEqual([...own, ...otherwise].sort());
  });
});

it('pods choose by themselves what loosens nothing', () => {
  expect(CHOICES.slice(0, DEFAULT_CHOICES.length)).toEqual(DEFAULT_CHOICES);
  expect(CHOICES.slice(DEFAULT_CHOICES.length)).toEqual(['topology', 'binary-identity', 'identity']);
});

describe('refuses', () => {
  it.each([
    ['an unknown key', 'seed: true', 'c:3:1: unknown key "seed"'],
    ['a name with a slash', 'policy: ../other', 'c:3:9: policy must be words'],
    ['a Secret that is no name', 'credentials: A B', 'c:3:14: credentials must be words'],
    ['a Secret without a name', 'credentials: { key: a }', 'credentials.secret is missing'],
    ['a workdir that is nothing', 'workdir: ""', 'c:3:10: workdir must be a plain absolute path'],
    ['a workdir that is no plain path', 'workdir: /a/../b', 'c:3:10: workdir must be a plain absolute path'],
    [
      'a proxy without an address',
      'upstream_proxy: { no_proxy: [a] }',
      'upstream_proxy: --upstream-proxy takes',
    ],
    [
      'a password in the clear',
      'upstream_proxy: { url: "http://p:1", auth: { secret: a } }',
      'would send the password unencrypted',
    ],
    ['a password in the address', 'upstream_proxy: { url: "https://a:hunter2@p:1" }', 'no user and password'],
    ['a port that is none', 'health_port: 65536', 'c:3:14: health_port must be a whole number'],
    [
      'one port for both',
      'health_port: 9000\nmetrics_port: 9000',
      'c:1:1: port 9000 is for health and for metrics',
    ],
    [
      'a sidecar’s identity without one',
      'topology: combined\nbinary_identity: sidecar',
      'c:1:1: binary_identity sidecar is for the sidecar topology',
    ],
    [
      'an agent that is the proxy',
      'sandbox_gid: 1337',
      "c:1:1: the sandbox's gid 1337 (sandbox_gid) is the proxy's",
    ],
    ['a workdir over castellan’s places', 'workdir: /run', 'c:1:1: /run of workdir would cover'],
    ['a word that is none', 'reload: signal', 'c:3:9: reload must be'],
    ['an empty profile', 'app_armor: Localhost/', 'c:3:12: app_armor must be'],
    ['an amount that is none', 'resources: { limits: { memory: lots } }', 'resources.limits.memory must be'],
    ['to let pods choose the proxy', 'pods_may_choose: [upstream-proxy]', 'c:3:19: pods_may_choose must be'],
    ['a key twice over', 'version: 2', 'c:3:1: '],
  ])('%s', (_, line, message) => {
    expect(() => configured(line)).toThrow(message);
    expect(() => configured(line)).not.toThrow('hunter2');
  });

  it('nothing at all', () => {
    expect(() => parseWebhookConfiguration('', 'c')).toThrow(/^c:1:1: /);
  });
});
