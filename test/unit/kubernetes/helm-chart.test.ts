/** What the chart renders (test/vectors/helm, rendered by `npm run test:helm`), held against the program that it installs. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { runInNewContext } from 'node:vm';
import type { V1Deployment, V1PodTemplateSpec } from '@kubernetes/client-node';
import { describe, expect, it } from 'vitest';
import { parse } from 'yaml';
import { parseArguments } from '../../../src/cli/parse.ts';
import { BINARY_IDENTITIES } from '../../../src/config/pod.ts';
import { type NamespaceFacts, resolvePodIdentity } from '../../../src/kubernetes/identity.ts';
import { injectSupervisor } from '../../../src/kubernetes/inject.ts';
import { CASTELLAN, CONTAINERS, VOLUMES } from '../../../src/kubernetes/layout.ts';
import { parseManifest } from '../../../src/kubernetes/manifest.ts';
import { SIDECAR_RESOURCES } from '../../../src/kubernetes/own-containers.ts';
import { hasCastellan } from '../../../src/kubernetes/recognise.ts';
import { requiredScc, sccManifest } from '../../../src/kubernetes/scc.ts';
import { INSTALL_METHODS, TOPOLOGIES } from '../../../src/kubernetes/supervisor.ts';
import { validateManifest } from '../../../src/kubernetes/validate.ts';
import { CHOICES, INJECT_ANNOTATION } from '../../../src/kubernetes/webhook/choices.ts';
import {
  CONFIGURATION_KEYS,
  parseWebhookConfiguration,
} from '../../../src/kubernetes/webhook/configuration.ts';
import { at } from '../../../src/lib/json.ts';
import { MUTATE_PATH, VALIDATE_PATH } from '../../../src/webhook/webhook.ts';
import { CHART, chartDigest, DIGEST, GOLDENS, HELM_CASES, NAMESPACE, objectsOf } from '../../helm/cases.ts';

const rendered = new Map(
  HELM_CASES.map(({ name }) => [name, objectsOf(readFileSync(join(GOLDENS, `${name}.yaml`), 'utf8'))]),
);
const NAMES = [...rendered.keys()];

function all(name: string, kind: string): Record<string, unknown>[] {
  return (rendered.get(name) ?? []).filter((object) => object['kind'] === kind);
}

function only<Type = Record<string, unknown>>(name: string, kind: string): Type {
  const [object, ...others] = all(name, kind);
  if (object === undefined || others.length > 0) throw new Error(`${name} has not one ${kind}`);
  return object as Type;
}

function configurationOf(name: string) {
  const maps = all(name, 'ConfigMap').map((map) => at(map, 'data', 'webhook.yaml'));
  const text = maps.find((data): data is string => typeof data === 'string') ?? '';
  return parseWebhookConfiguration(text, name);
}

const KINDS = { Mutating: MUTATE_PATH, Validating: VALIDATE_PATH } as const;

function webhooksOf(name: string, kind: keyof typeof KINDS): Record<string, unknown>[] {
  return at(only(name, `${kind}WebhookConfiguration`), 'webhooks') as Record<string, unknown>[];
}

it('the goldens are of this chart (else: UPDATE_GOLDENS=1 npm run test:helm, and read the difference)', () => {
  expect(readFileSync(DIGEST, 'utf8').trim()).toBe(chartDigest());
});

describe.each(NAMES)('%s', (name) => {
  const deployment = only<V1Deployment>(name, 'Deployment');
  const pod = deployment.spec?.template as V1PodTemplateSpec;
  const [container] = pod.spec?.containers ?? [];

  it('runs the webhook as nobody special (Pod Security: restricted)', () => {
    const manifest = parseManifest(readFileSync(join(GOLDENS, `${name}.yaml`), 'utf8'), name);
    const reports = validateManifest(manifest, { podSecurity: 'restricted', supervised: false });
    expect(reports.map(({ findings, podSecurity }) => [podSecurity, findings])).toEqual([['restricted', []]]);
    expect(container?.securityContext?.readOnlyRootFilesystem).toBe(true);
    expect(pod.spec?.automountServiceAccountToken).toBe(false);
  });

  it('starts it with options that it has, and files that are mounted', () => {
    const parsed = parseArguments(container?.args ?? []);
    expect(parsed).toMatchObject({ kind: 'command', command: { verb: 'kubernetes webhook' } });
    if (parsed.kind !== 'command') return;
    const mounts = (container?.volumeMounts ?? []).map(({ mountPath }) => mountPath);
    for (const option of ['config', 'tls-certificate', 'tls-key', 'client-ca']) {
      const path = parsed.command.options.get(option)?.[0];
      if (path !== undefined) expect(mounts).toContain(path.slice(0, path.lastIndexOf('/')));
    }
    const volumes = (pod.spec?.volumes ?? []).map((volume) => volume.name).sort();
    expect((container?.volumeMounts ?? []).map((mount) => mount.name).sort()).toEqual(volumes);
  });

  it('configures it', () => {
    const { supervisor } = configurationOf(name);
    expect(supervisor.image).toBe(container?.image);
  });

  it.each(Object.entries(KINDS))(
    'has API servers ask where it listens, about all namespaces but its own and the cluster’s (%s)',
    (kind, path) => {
      const service = only(name, 'Service');
      expect(at(service, 'spec', 'selector')).toEqual(deployment.spec?.selector.matchLabels);
      expect(pod.metadata?.labels).toMatchObject(deployment.spec?.selector.matchLabels ?? {});
      for (const webhook of webhooksOf(name, kind as keyof typeof KINDS)) {
        expect(webhook).toMatchObject({
          failurePolicy: 'Fail',
          sideEffects: 'None',
          admissionReviewVersions: ['v1', 'v1beta1'],
        });
        expect(at(webhook, 'clientConfig', 'service')).toEqual({
          name: at(service, 'metadata', 'name'),
          namespace: NAMESPACE,
          path,
          port: at(service, 'spec', 'ports', '0', 'port'),
        });
        expect(at(webhook, 'namespaceSelector', 'matchExpressions', '0', 'values')).toEqual(
          expect.arrayContaining(['kube-system', NAMESPACE]),
        );
      }
    },
  );

  it('has API servers ask again what is stored, wherever they asked what to change, and of what is changed later', () => {
    const [mutating, ...others] = webhooksOf(name, 'Mutating');
    const [pods, ephemeral] = webhooksOf(name, 'Validating');
    expect(others).toEqual([]);
    const rulesOf = (webhook: unknown) =>
      ['operations', 'resources'].map((key) => at(webhook, 'rules', '0', key));
    expect([mutating, pods, ephemeral].map(rulesOf)).toEqual([
      [['CREATE'], ['pods']],
      [['CREATE', 'UPDATE'], ['pods']],
      [['UPDATE'], ['pods/ephemeralcontainers']],
    ]);
    for (const webhook of [pods, ephemeral]) {
      // Labels of a namespace come and go.
      expect(at(webhook, 'namespaceSelector', 'matchLabels')).toBeUndefined();
      for (const path of [
        'namespaceSelector.matchExpressions',
        'clientConfig.caBundle',
        'failurePolicy',
        'timeoutSeconds',
      ])
        expect(at(webhook, ...path.split('.'))).toEqual(at(mutating, ...path.split('.')));
    }
    const [one, other] = Object.keys(KINDS).map(
      (kind) => only(name, `${kind}WebhookConfiguration`)['metadata'],
    );
    expect(one).toEqual(other);
  });

  it('may read namespaces where it has to, and nothing else', () => {
    const { ids, podsMayChoose } = configurationOf(name);
    const reads = ids.uid === undefined || ids.gid === undefined || podsMayChoose.includes('identity');
    const rules = all(name, 'ClusterRole').map((role) => role['rules']);
    expect(rules).toEqual(reads ? [[{ apiGroups: [''], resources: ['namespaces'], verbs: ['get'] }]] : []);
    const tokens = (pod.spec?.volumes ?? []).filter(({ projected }) => projected !== undefined);
    expect(tokens).toHaveLength(reads ? 1 : 0);
  });
});

describe('what is asked about', () => {
  it.each([
    ['default', true],
    ['old-cluster', false],
    ['guarded', false],
  ])('%s: pods that ask alone, where the cluster can tell: %s', (name, conditions) => {
    const [mutating] = webhooksOf(name, 'Mutating');
    const [pods, ephemeral] = webhooksOf(name, 'Validating');
    const annotation = `'${INJECT_ANNOTATION}' in object.metadata.annotations`;
    expect(at(mutating, 'matchConditions', '0', 'expression') ?? '').toEqual(
      conditions ? `has(object.metadata.annotations) && ${annotation}` : '',
    );
    expect(at(pods, 'matchConditions', '0') !== undefined).toBe(conditions);
    expect(at(ephemeral, 'matchConditions')).toBeUndefined();
  });

  /** As much of CEL as the condition has, in the words of JavaScript. */
  function isAsked(object: unknown, oldObject: unknown): boolean {
    const [pods] = webhooksOf('default', 'Validating');
    const condition = String(at(pods, 'matchConditions', '0', 'expression'))
      .replaceAll(/\.exists\((\w+),/g, '.some(($1) =>')
      .replaceAll(/\bhas\(([\w.]+)\)/g, '($1 !== undefined)')
      .replaceAll(/\bsize\(([\w.]+)\)/g, '$1.length');
    return runInNewContext(condition, { object, oldObject });
  }

  const plain = { metadata: {}, spec: { containers: [{ name: 'a' }] } };
  const asking = { metadata: { annotations: { [INJECT_ANNOTATION]: 'x' } }, spec: plain.spec };
  const parts: readonly object[] = [
    { volumes: [{ name: 'a' }, { name: VOLUMES.policy }] },
    { initContainers: [{ name: 'a' }, { name: CONTAINERS.network }] },
    { containers: [{ name: 'castellan-of-mine' }] },
    { containers: [{ name: 'a', command: [CASTELLAN] }] },
    { initContainers: [{ name: 'a', command: [CASTELLAN, 'x'] }] },
  ];

  it('a pod that is judged is one that is asked about, before or after a change', () => {
    expect(isAsked(asking, null)).toBe(true);
    expect(isAsked({ ...plain, metadata: { annotations: {} } }, asking)).toBe(true);
    for (const part of parts) {
      const pod = { ...plain, spec: { ...plain.spec, ...part } };
      expect(hasCastellan(pod.spec), JSON.stringify(part)).toBe(true);
      expect([isAsked(pod, null), isAsked(plain, pod)], JSON.stringify(part)).toEqual([true, true]);
    }
  });

  it('other pods wait for nobody', () => {
    const volumes = [{ name: 'castellan' }];
    const others = [
      plain,
      { metadata: { annotations: { a: 'b' } }, spec: { ...plain.spec, volumes, initContainers: [] } },
      {
        metadata: {},
        spec: {
          containers: [
            { name: 'castellan', command: [] },
            { name: 'b', command: ['sh', CASTELLAN] },
          ],
        },
      },
    ];
    for (const pod of others) {
      expect(hasCastellan(pod.spec)).toBe(false);
      expect([isAsked(pod, null), isAsked(pod, plain)]).toEqual([false, false]);
    }
  });
});

describe('the configuration', () => {
  const textOf = (name: string) =>
    all(name, 'ConfigMap')
      .map((map) => String(at(map, 'data', 'webhook.yaml') ?? ''))
      .join('');

  it('can say everything that the webhook takes', () => {
    const said = [...textOf('everything-said').matchAll(/^(\w+):/gm)].map(([, key]) => key);
    expect(said.sort()).toEqual(CONFIGURATION_KEYS.toSorted());
    expect(configurationOf('everything-said')).toMatchObject({
      ids: { uid: 20_001, gid: 20_001 },
      supervisor: {
        secrets: {
          credentials: { name: 'keys', key: 'credentials.yaml' },
          inferenceRoutes: { name: 'routes', key: 'routes.yaml' },
          upstreamProxyAuth: { name: 'proxy', key: 'password' },
        },
        upstreamProxy: {
          url: 'http://proxy.corp.example:3128',
          noProxy: ['.corp.example', '10.0.0.0/8'],
          connectByHostname: true,
          allowInsecureAuth: true,
        },
        healthPort: 9000,
        metricsPort: 9001,
        reload: 'watch',
        appArmor: 'Localhost/castellan',
        resources: { limits: { memory: '1Gi', cpu: '2' } },
      },
    });
  });

  it('has the program’s defaults', () => {
    const { supervisor, podsMayChoose } = configurationOf('default');
    const { image, pullPolicy, resources, appArmor, ...others } = supervisor;
    const plain = parseWebhookConfiguration('version: 1\nimage: castellan\n', 'plain');
    expect(plain.supervisor).toMatchObject(others);
    expect(podsMayChoose).toEqual(plain.podsMayChoose);
    expect(resources).toEqual(SIDECAR_RESOURCES);
    expect(appArmor).toBe('Unconfined');
    expect(configurationOf('old-cluster').supervisor.appArmor).toBeUndefined();
  });
});

describe('numbers', () => {
  it('beyond a million arrive as they were written', () => {
    const { ids, supervisor } = configurationOf('large-ids');
    expect([ids, supervisor.proxyUid]).toEqual([{ uid: 1_000_680_000, gid: 2_147_483_647 }, 2_000_000_001]);
  });
});

describe('SecurityContextConstraints are what pods need, and no more', () => {
  const facts: NamespaceFacts = {
    kind: 'read',
    annotations: { 'openshift.io/sa.scc.uid-range': '1000680000/10000' },
  };
  it.each([
    ['openshift', 'combined'],
    ['openshift', 'sidecar'],
    ['openshift-identifying-sidecar', 'sidecar'],
    ['openshift-without-capabilities', 'sidecar'],
  ] as const)('%s, %s', (name, topology) => {
    const { supervisor, ids } = configurationOf(name);
    const pod = injectSupervisor(
      { metadata: {}, spec: { containers: [{ name: 'agent', command: ['agent'] }] } },
      {
        ...supervisor,
        topology,
        binaryIdentity: topology === 'combined' ? 'process' : supervisor.binaryIdentity,
        companions: 'refused',
        identity: resolvePodIdentity(ids, facts),
      },
    );
    const needed = requiredScc(pod);
    if (needed.name !== 'custom') throw new Error(`${needed.name} is enough`);
    const objects = all(name, 'SecurityContextConstraints');
    const given = objects.find((object) => String(at(object, 'metadata', 'name')).endsWith(topology)) ?? {};
    const { metadata: _, users: __, allowedCapabilities, volumes, ...least } = sccManifest('x', needed.needs);
    expect(given).toMatchObject(least);
    for (const [field, list] of Object.entries({ allowedCapabilities, volumes }))
      expect((given[field] as string[]).toSorted(), field).toEqual((list as string[]).toSorted());
  });

  it('are for the service accounts that are named', () => {
    for (const scc of all('openshift', 'SecurityContextConstraints'))
      expect(scc['users']).toEqual([
        'system:serviceaccount:team-a:agents',
        'system:serviceaccount:team-b:agents',
      ]);
    expect(only('openshift-without-capabilities', 'SecurityContextConstraints')['users']).toEqual([]);
  });
});

function isMap(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

describe('the schema of the values', () => {
  const schema = JSON.parse(readFileSync(join(CHART, 'values.schema.json'), 'utf8'));
  const supervisor = schema.properties.supervisor.properties;

  it('has the words of the program', () => {
    expect(supervisor.topology.enum).toEqual(TOPOLOGIES);
    expect(supervisor.binaryIdentity.enum).toEqual(BINARY_IDENTITIES);
    expect(supervisor.install.enum).toEqual(INSTALL_METHODS);
    expect(supervisor.podsMayChoose.items.enum).toEqual(CHOICES);
  });

  it('knows every value, and lets nobody take one away whose absence means nothing', () => {
    const values = parse(readFileSync(join(CHART, 'values.yaml'), 'utf8'));
    // Without amounts there are none, which is an answer.
    const mayLack = ['supervisor.resources', 'webhook.resources'];
    const compare = (known: unknown, value: unknown, path: string): void => {
      if (!isMap(value) || !isMap(at(known, 'properties'))) return;
      expect(Object.keys(at(known, 'properties') as object).toSorted(), path).toEqual(
        [...Object.keys(value), ...(path === '' ? ['global'] : [])].toSorted(),
      );
      const needed = Object.keys(value).filter(
        (key) => value[key] !== null && !mayLack.includes(`${path}${key}`),
      );
      if (!path.endsWith('resources.')) expect(at(known, 'required') ?? [], path).toEqual(needed);
      for (const [key, inner] of Object.entries(value))
        compare(at(known, 'properties', key), inner, `${path}${key}.`);
    };
    compare(schema, values, '');
  });

  it('takes no unknown key where it knows any', () => {
    const objects: object[] = [];
    const walk = (value: unknown): void => {
      if (typeof value !== 'object' || value === null) return;
      if ('type' in value && value.type === 'object' && 'properties' in value) objects.push(value);
      for (const inner of Object.values(value)) walk(inner);
    };
    walk(schema);
    expect(objects.length).toBeGreaterThan(10);
    for (const object of objects)
      expect(at(object, 'additionalProperties'), JSON.stringify(object)).toBe(false);
  });
});
