/** Volumes and mounts of any pod, castellan's or not. */
import type { V1PodSpec } from '@kubernetes/client-node';
import { placedContainers } from './containers.ts';
import type { Finding } from './finding.ts';
import { isNormalPath } from './layout.ts';

/** Names that are used twice, mounts of nothing, mounts that are one, and paths that say something in two ways. */
export function mountFindings(spec: V1PodSpec, claimVolumes: readonly string[]): Finding[] {
  const volumes = (spec.volumes ?? []).map(({ name }) => name);
  const placed = placedContainers(spec);
  const known = new Set([...volumes, ...claimVolumes]);
  return [
    ...doubled(volumes, (index) => `spec.volumes[${index}].name`, 'volumes'),
    ...doubled(
      placed.map(({ container }) => container.name),
      (index) => `${placed[index]?.path}.name`,
      'containers',
    ),
    ...placed.flatMap(({ container, path }) => {
      // Lists are as long as a pod's author likes: no look through all for each.
      const taken = new Set<string>();
      return (container.volumeMounts ?? []).flatMap(({ name, mountPath }, index): Finding[] => {
        const field = (key: string) => `${path}.volumeMounts[${index}].${key}`;
        const place = trimmed(mountPath);
        const isTaken = taken.has(place);
        taken.add(place);
        return [
          ...(known.has(name)
            ? []
            : [
                {
                  rule: 'unknown-volume',
                  where: container.name,
                  path: field('name'),
                  why: `the pod has no volume ${name}`,
                  remedy: 'add it, or take the mount out',
                },
              ]),
          ...(isNormalPath(mountPath)
            ? []
            : [
                {
                  rule: 'mount-path',
                  where: container.name,
                  path: field('mountPath'),
                  why: `${JSON.stringify(mountPath)} is not a plain absolute path`,
                  remedy: 'write it without empty parts, dots and colons',
                },
              ]),
          ...(isTaken
            ? [
                {
                  rule: 'mount-overlap',
                  where: container.name,
                  path: field('mountPath'),
                  why: `another mount of the container is at ${mountPath}`,
                  remedy: 'mount one of them elsewhere',
                },
              ]
            : []),
        ];
      });
    }),
  ];
}

function trimmed(path: string): string {
  return path.replaceAll(/\/+/g, '/').replace(/(.)\/$/, '$1');
}

function doubled(names: readonly string[], path: (index: number) => string, what: string): Finding[] {
  const seen = new Set<string>();
  return names.flatMap((name, index): Finding[] => {
    if (!seen.has(name)) {
      seen.add(name);
      return [];
    }
    const why = `two ${what} are named ${name}`;
    const where = what === 'containers' ? name : 'pod';
    return [{ rule: 'double-name', where, path: path(index), why, remedy: 'give one another name' }];
  });
}
