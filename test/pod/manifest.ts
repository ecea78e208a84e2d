/**
 * What castellan renders, and the few things that podman has to be told otherwise. README.md has the whole list with what stands in for
 * each; `changesOf` shows that there are no others.
 */
import { execFileSync, spawnSync } from 'node:child_process';
import { join } from 'node:path';
import type { V1Container, V1Pod, V1PodSpec, V1Volume } from '@kubernetes/client-node';
import { createPatch } from 'rfc6902';
import { parseAllDocuments } from 'yaml';
import { REPOSITORY } from '../fakes/world.ts';

const CASTELLAN = join(REPOSITORY, 'dist/bundle/bin/castellan');

export interface RenderedPod {
  readonly pod: V1Pod & { readonly spec: V1PodSpec };
  readonly configMaps: Readonly<Record<string, Readonly<Record<string, string>>>>;
}

/** By the program as it is shipped, which then has to find nothing wrong with it. */
export function renderPod(request: string, options: readonly string[] = []): RenderedPod {
  const text = execFileSync(CASTELLAN, ['kubernetes', 'render', '-f', '-', ...options], {
    input: request,
    encoding: 'utf8',
  });
  const { status, stdout, stderr } = spawnSync(CASTELLAN, ['kubernetes', 'validate', '-'], {
    input: text,
    encoding: 'utf8',
  });
  if (status !== 0) throw new Error(`validate ended with ${status}: ${stdout}${stderr}`);
  const documents = parseAllDocuments(text).map((document) => document.toJS());
  const pod = documents.find(({ kind }) => kind === 'Pod');
  const maps = documents.filter(({ kind }) => kind === 'ConfigMap');
  return {
    pod,
    configMaps: Object.fromEntries(maps.map(({ metadata, data }) => [metadata.name, data])),
  };
}

export const PROBES = ['startupProbe', 'livenessProbe', 'readinessProbe'] as const;

/** @param placeOf the directory that was made for a volume as the kubelet makes it (volumes.ts) */
export function forPodman({ pod }: RenderedPod, placeOf: (volume: V1Volume) => string): RenderedPod['pod'] {
  const spec = structuredClone(pod.spec);
  for (const container of allContainers(spec)) {
    for (const probe of PROBES) delete container[probe];
    delete container.ports;
  }
  spec.volumes = (spec.volumes ?? []).map((volume) => ({
    name: volume.name,
    hostPath: { path: placeOf(volume), type: 'Directory' },
  }));
  const { fsGroup, fsGroupChangePolicy: _, ...security } = spec.securityContext ?? {};
  const { supplementalGroups = [] } = security;
  if (fsGroup !== undefined)
    spec.securityContext = { ...security, supplementalGroups: [...supplementalGroups, fsGroup] };
  return { ...pod, spec };
}

/** Where two pods differ, as JSON Pointers without numbers of volumes and containers. */
export function changesOf(rendered: RenderedPod['pod'], played: RenderedPod['pod']): string[] {
  const paths = createPatch(rendered, played).map(({ path }) => path.replaceAll(/\/\d+(?=\/|$)/g, '/*'));
  return [...new Set(paths)].sort();
}

export function allContainers({ initContainers = [], containers }: V1PodSpec): V1Container[] {
  return [...initContainers, ...containers];
}
