/** The container that holds the agent: what it mounts, what else would start there, and what its image could set. */
import { entrancesOf } from './agent-container.ts';
import { mountedPaths, type PlacedContainer } from './containers.ts';
import { castellanVariables } from './environment.ts';
import type { Finding } from './finding.ts';
import { CASTELLAN, CONTAINERS, isReservedName, reservedPlaceAt, VOLUMES } from './layout.ts';
import { runsCastellan, type SupervisedPod } from './supervised-pod.ts';

export function agentFindings(pod: SupervisedPod): Finding[] {
  return [
    ...pod.agents.flatMap((one) => [
      ...placeFindings(one),
      ...entranceFindings(one),
      ...variableFindings(one),
    ]),
    ...pod.untrusted.flatMap((one) => volumeFindings(pod, one)),
  ];
}

/** Mounts of others over castellan's places, or within. */
function placeFindings({ container, path }: PlacedContainer): Finding[] {
  return mountedPaths(container).flatMap(({ path: mounted, field, volume }): Finding[] => {
    const place = volume !== undefined && isReservedName(volume) ? undefined : reservedPlaceAt(mounted);
    if (place === undefined) return [];
    return [
      {
        rule: 'mount-overlap',
        where: container.name,
        path: `${path}.${field}`,
        why: `${mounted} covers ${place}, or lies within, which is reserved`,
        remedy: 'mount it elsewhere',
      },
    ];
  });
}

function entranceFindings({ container, path }: PlacedContainer): Finding[] {
  const probes = ['livenessProbe', 'readinessProbe', 'startupProbe'] as const;
  const isOurs = (entrance: string) =>
    probes.some((probe) => probe === entrance && container[probe]?.exec?.command?.[0] === CASTELLAN);
  return entrancesOf(container)
    .filter((entrance) => !isOurs(entrance))
    .map((entrance) => ({
      rule: 'entrance',
      where: container.name,
      path: `${path}.${entrance}`,
      why: 'runs a program of the image in the container, and outside of castellan’s cell',
      remedy: 'take it out: castellan answers probes itself',
    }));
}

function variableFindings({ container, path }: PlacedContainer): Finding[] {
  const given = new Set((container.env ?? []).map(({ name }) => name));
  // Without numbers of its own castellan takes those it finds, and refuses an image's that differ.
  const hasNumbers = container.securityContext?.runAsUser !== undefined;
  const missing = castellanVariables(hasNumbers).filter((name) => !given.has(name));
  if (missing.length === 0) return [];
  return [
    {
      rule: 'image-variables',
      where: container.name,
      path: `${path}.env`,
      why: `the image could set ${missing.join(', ')}, which castellan looks at`,
      remedy: 'set each, if only to nothing',
    },
  ];
}

/** Which of castellan's volumes a container may have that is not castellan's. */
function volumeFindings(pod: SupervisedPod, one: PlacedContainer): Finding[] {
  const { container, path } = one;
  const isAgent = pod.agents.includes(one);
  const sidecars: readonly string[] = pod.topology === 'sidecar' ? [VOLUMES.networkRun, VOLUMES.log] : [];
  const isSeed = container.name === CONTAINERS.seed && runsCastellan(container);
  return (container.volumeMounts ?? []).flatMap(({ name, readOnly }, index): Finding[] => {
    if (!isReservedName(name)) return [];
    const isFine = isAgent
      ? !sidecars.includes(name) && (name !== VOLUMES.control || readOnly === true)
      : isSeed && name === VOLUMES.program;
    if (isFine) return [];
    return [
      {
        rule: 'reserved-volume',
        where: container.name,
        path: `${path}.volumeMounts[${index}]`,
        why: `volume ${name} is castellan's${name === VOLUMES.control ? ', and the agent may only read it' : ''}`,
        remedy: 'take the mount out, or make it read-only',
      },
    ];
  });
}
