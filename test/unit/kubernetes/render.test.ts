import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { V1PodSpec } from '@kubernetes/client-node';
import { describe, expect, it } from 'vitest';
import { parse, parseAllDocuments } from 'yaml';
import { CastellanError } from '../../../src/errors.ts';
import { placedContainers } from '../../../src/kubernetes/containers.ts';
import { parseManifest } from '../../../src/kubernetes/manifest.ts';
import { readNamespace } from '../../../src/kubernetes/namespace.ts';
import { parseSandboxRequest } from '../../../src/kubernetes/read-request.ts';
import { holdsSecrets } from '../../../src/kubernetes/refusals.ts';
import { type RenderedKind, renderSandbox } from '../../../src/kubernetes/render.ts';
import { validateManifest } from '../../../src/kubernetes/validate.ts';
import { renderYaml } from '../../../src/kubernetes/yaml-text.ts';
import { ROOT } from '../../architecture/sources.ts';
import { seededRandom } from '../random.ts';
import { randomRequest } from './pods.ts';

const vector = (name: string) => readFileSync(join(ROOT, 'test/vectors/kubernetes', name), 'utf8');
const NOTHING_MORE = { podSecurity: undefined, supervised: true } as const;

describe('golden renders', () => {
  // To be written anew by castellan kubernetes render with these options.
  it.each([
    ['sidecar', { kind: 'Sandbox', withScc: true }, 'namespace.yaml'],
    ['combined', { kind: 'Pod', withScc: false }, undefined],
  ] as const)('%s', (name, options, namespace) => {
    const { documents, remarks } = renderSandbox(parseSandboxRequest(vector(`${name}.request.yaml`), name), {
      ...options,
      namespace: namespace === undefined ? { kind: 'unknown' } : readNamespace(vector(namespace), namespace),
    });
    expect(renderYaml(documents, remarks)).toBe(vector(`${name}.yaml`));
  });
});

describe('requests at random', () => {
  const random = seededRandom(20_261_125);
  const outcomes = Array.from({ length: 1000 }, () => {
    const request = randomRequest(random);
    const kind = random.pick<RenderedKind>(['Pod', 'Sandbox']);
    const options = { kind, withScc: false, namespace: { kind: 'unknown' } } as const;
    try {
      return { request, kind, text: textOf(request, options), again: textOf(request, options) };
    } catch (error) {
      return { request, kind, error };
    }
  });
  const rendered = outcomes.flatMap((outcome) => (outcome.text === undefined ? [] : [outcome]));

  it('are rendered or refused with a reason', () => {
    const errors = outcomes.flatMap(({ error }) => (error === undefined ? [] : [error]));
    for (const error of errors) {
      if (!(error instanceof CastellanError)) throw error;
      expect(['manifest_invalid', 'identity_invalid']).toContain(error.code);
    }
    expect(rendered.length).toBeGreaterThan(100);
    expect(errors.length).toBeGreaterThan(100);
  });

  it('give the same every time', () => {
    for (const { text, again } of rendered) expect(again).toBe(text);
  });

  it('pass validate', () => {
    for (const { text } of rendered) {
      const [report, ...others] = validateManifest(parseManifest(text, 'x'), NOTHING_MORE);
      expect(others).toEqual([]);
      expect(report?.findings, text).toEqual([]);
      expect(report?.supervised).toBe(true);
    }
  });

  it('read the same by YAML 1.1 and 1.2', () => {
    for (const { text } of rendered.slice(0, 200)) {
      const [old, current] = (['1.1', '1.2'] as const).map((version) =>
        parseAllDocuments(text, { version }).map((document) => document.toJS()),
      );
      expect(old).toEqual(current);
    }
  });

  it('keep the agent apart', () => {
    for (const { request, text } of rendered) {
      const spec = podSpecOf(text);
      const placed = placedContainers(spec);
      const agent = placed.find(({ container }) => container.name === 'agent')?.container;
      for (const { container } of placed) {
        expect(container.securityContext?.capabilities?.drop, container.name).toEqual(['ALL']);
        expect(container.securityContext?.allowPrivilegeEscalation).toBe(false);
        expect(container.securityContext?.seccompProfile?.type).toBe('RuntimeDefault');
      }
      expect(spec.automountServiceAccountToken).toBe(false);
      const uid = agent?.env?.find(({ name }) => name === 'SANDBOX_UID')?.value;
      expect(uid).not.toBe(String(request.proxyUid));
      const seen = (agent?.volumeMounts ?? []).flatMap(({ name }) =>
        (spec.volumes ?? []).filter((volume) => volume.name === name && holdsSecrets(volume)),
      );
      if (request.topology === 'sidecar') {
        expect(seen).toEqual([]);
        expect(agent?.securityContext?.runAsUser).toBe(Number(uid));
        expect(agent?.securityContext?.capabilities?.add).toBeUndefined();
      } else if (seen.length > 0) {
        expect(spec.securityContext?.fsGroup).toBeUndefined();
        expect(seen.every(({ secret }) => secret?.defaultMode === 0o400)).toBe(true);
      }
    }
  });

  it('keep the words of the command', () => {
    for (const { request, text } of rendered) {
      const { args = [] } = podSpecOf(text).containers[0] ?? {};
      const words = args.map(expanded);
      expect(words.slice(words.indexOf('--') + 1)).toEqual(request.command);
      for (const [name, value] of Object.entries(request.env)) expect(words).toContain(`${name}=${value}`);
    }
  });
});

/** As the kubelet reads an argument where no variable is defined. */
function expanded(word: string): string {
  return word.replaceAll('$$', '$');
}

function textOf(
  request: ReturnType<typeof randomRequest>,
  facts: Parameters<typeof renderSandbox>[1],
): string {
  const { documents, remarks } = renderSandbox(request, facts);
  return renderYaml(documents, remarks);
}

function podSpecOf(text: string): V1PodSpec {
  const last = parse(text.split('\n---\n').at(-1) ?? '');
  return last.kind === 'Pod' ? last.spec : last.spec.podTemplate.spec;
}
