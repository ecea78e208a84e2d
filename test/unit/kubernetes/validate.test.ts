import { describe, expect, it } from 'vitest';
import { schemaModule, schemaTable } from '../../../scripts/kubernetes-schema.ts';
import { CastellanError } from '../../../src/errors.ts';
import { parseManifest } from '../../../src/kubernetes/manifest.ts';
import { type PodReport, validateManifest } from '../../../src/kubernetes/validate.ts';
import { renderYaml } from '../../../src/kubernetes/yaml-text.ts';
import { readSource } from '../../architecture/sources.ts';
import { mutate, seededRandom } from '../random.ts';
import { BARE, supervised } from './pods.ts';

const NOTHING = { podSecurity: undefined, supervised: false } as const;

function reportsOf(text: string, expected: Parameters<typeof validateManifest>[1] = NOTHING): PodReport[] {
  return validateManifest(parseManifest(text, 'x.yaml'), expected);
}
const podText = (pod: object) => renderYaml([{ apiVersion: 'v1', kind: 'Pod', ...pod }]);
const rulesOf = (text: string) => reportsOf(text).flatMap(({ findings }) => findings.map(({ rule }) => rule));

describe('any manifest', () => {
  const POD = { apiVersion: 'v1', kind: 'Pod', metadata: { name: 'p' }, ...BARE };

  it('may be several documents, a list, JSON, or none', () => {
    const text = renderYaml([POD, { apiVersion: 'v1', kind: 'Secret', metadata: { name: 's' } }]);
    expect(reportsOf(`---\n${text}---\n`)).toHaveLength(1);
    expect(parseManifest(text, 'x').others).toEqual(['Secret s']);
    expect(reportsOf(JSON.stringify({ kind: 'List', items: [POD, POD] }))).toHaveLength(2);
    expect(reportsOf('')).toEqual([]);
    expect(reportsOf('# nothing\n---\n')).toEqual([]);
  });

  it.each([
    ['apps/v1', 'Deployment', ['spec', 'template']],
    ['apps/v1', 'StatefulSet', ['spec', 'template']],
    ['batch/v1', 'Job', ['spec', 'template']],
    ['batch/v1', 'CronJob', ['spec', 'jobTemplate', 'spec', 'template']],
    ['agents.x-k8s.io/v1beta1', 'Sandbox', ['spec', 'podTemplate']],
  ])('finds the pod of %s %s', (apiVersion, kind, path) => {
    const pod = { spec: { containers: [{ name: 'a', securityContext: { fsGroup: 5, runAsUser: '5' } }] } };
    const body = path.reduceRight<object>((inner, key) => ({ [key]: inner }), pod);
    const [report] = reportsOf(renderYaml([{ apiVersion, kind, metadata: { name: 'x' }, ...body }]));
    const at = `${path.join('.')}.spec.containers[0].securityContext`;
    expect(report?.findings.map(({ rule, path }) => [rule, path])).toEqual([
      ['unknown-field', `${at}.fsGroup`],
      ['wrong-type', `${at}.runAsUser`],
    ]);
  });

  it('tells the line', () => {
    const text =
      'apiVersion: v1\nkind: Pod\nspec:\n  containers:\n  - name: a\n    securityContext:\n      fsGroup: 5\n';
    expect(reportsOf(text)[0]?.findings[0]).toMatchObject({ line: 7, rule: 'unknown-field' });
  });

  it('asks for a level, and for castellan', () => {
    const [report] = reportsOf(renderYaml([POD]), { podSecurity: 'restricted', supervised: true });
    expect(report?.findings.map(({ rule }) => rule)).toEqual([
      'unsupervised',
      'pod-security/allowPrivilegeEscalation',
      'pod-security/runAsNonRoot',
      'pod-security/seccompProfile_restricted',
      'pod-security/capabilities_restricted',
    ]);
    expect(reportsOf(renderYaml([POD]), { podSecurity: 'baseline', supervised: false })[0]?.findings).toEqual(
      [],
    );
  });

  it('takes quantities as numbers, and texts for numbers not', () => {
    const container = { name: 'a', resources: { limits: { cpu: 2 } }, ports: [{ containerPort: 80 }] };
    expect(
      rulesOf(
        podText({ spec: { containers: [container], volumes: [{ name: 'v', emptyDir: { sizeLimit: 5 } }] } }),
      ),
    ).toEqual([]);
    expect(rulesOf(podText({ metadata: { labels: { a: 1 } }, spec: { containers: [container] } }))).toEqual([
      'wrong-type',
    ]);
  });

  it.each([
    ['nothing', 'spec: {}', 'missing-field'],
    ['no containers', 'spec: { containers: [] }', 'no-container'],
    ['an empty item', 'spec: { containers: [null] }', 'wrong-type'],
    ['a list for a map', 'spec: []', 'wrong-type'],
    ['a name missing', 'spec: { containers: [{ image: x }] }', 'missing-field'],
    ['a prototype', 'spec: { containers: [{ name: a, __proto__: { x: 1 } }] }', 'unknown-field'],
  ])('with %s', (_, spec, rule) => {
    expect(rulesOf(`apiVersion: v1\nkind: Pod\n${spec}\n`)).toContain(rule);
  });

  it('is reported or refused, whatever is in it', () => {
    const random = seededRandom(7);
    const text = Buffer.from(podText(supervised({ binaryIdentity: 'sidecar' })));
    for (let round = 0; round < 150; round++)
      try {
        reportsOf(Buffer.from(mutate(text, random)).toString('utf8'), {
          podSecurity: 'restricted',
          supervised: true,
        });
      } catch (error) {
        if (!(error instanceof CastellanError && error.code === 'manifest_invalid')) throw error;
      }
  });
});

describe('the schema', () => {
  it('is what the client’s models say', async () => {
    expect(readSource('src/kubernetes/schema-table.ts')).toBe(schemaModule(await schemaTable()));
  });
});
