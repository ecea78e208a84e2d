/** Secrets in a supervised pod are castellan's: the agent gets placeholders. */
import type { V1Volume } from '@kubernetes/client-node';
import type { PlacedContainer } from './containers.ts';
import type { Finding } from './finding.ts';
import { holdsSecrets } from './refusals.ts';
import type { SupervisedPod } from './supervised-pod.ts';

const GROUP_AND_OTHERS = 0o077;
/** Of Secrets and projected volumes, where they say nothing. */
const DEFAULT_MODE = 0o644;

export function secretFindings(pod: SupervisedPod): Finding[] {
  const secret = new Map(
    (pod.spec.volumes ?? []).filter(holdsSecrets).map((volume) => [volume.name, volume]),
  );
  return pod.untrusted.flatMap((one) => [...volumeFindings(pod, secret, one), ...variableFindings(one)]);
}

function volumeFindings(
  pod: SupervisedPod,
  secret: ReadonlyMap<string, V1Volume>,
  one: PlacedContainer,
): Finding[] {
  const { container, path } = one;
  const isCastellans = pod.topology === 'combined' && pod.agents.includes(one);
  return (container.volumeMounts ?? []).flatMap(({ name }, index): Finding[] => {
    const volume = secret.get(name);
    if (volume === undefined) return [];
    const at = `${path}.volumeMounts[${index}]`;
    if (isCastellans && name.startsWith('castellan-')) return openedTo(pod, volume, container.name);
    return [
      {
        rule: 'secret-in-reach',
        where: container.name,
        path: at,
        why: `volume ${name} shows secrets or tokens to what runs there`,
        remedy: 'mount it in castellan-network alone, and give the agent placeholders',
      },
    ];
  });
}

/** In the combined topology the agent shares the container, and is kept out by owner and mode alone. */
function openedTo({ spec }: SupervisedPod, volume: V1Volume, where: string): Finding[] {
  const index = spec.volumes?.indexOf(volume) ?? 0;
  const mode = volume.secret?.defaultMode ?? volume.projected?.defaultMode ?? DEFAULT_MODE;
  const own = { rule: 'secret-opened', where };
  const fsGroup = spec.securityContext?.fsGroup;
  return [
    ...(fsGroup === undefined
      ? []
      : [
          {
            ...own,
            path: 'spec.securityContext.fsGroup',
            why: `the kubelet gives volume ${volume.name} to group ${fsGroup}, which may then read it, and the agent has that group`,
            remedy: 'take fsGroup out, or use the sidecar topology',
          },
        ]),
    ...((mode & GROUP_AND_OTHERS) === 0
      ? []
      : [
          {
            ...own,
            path: `spec.volumes[${index}]`,
            why: `the files of volume ${volume.name} have mode 0${mode.toString(8)}, by which the agent may read them`,
            remedy: 'set defaultMode: 256, which is 0400',
          },
        ]),
  ];
}

function variableFindings({ container, path }: PlacedContainer): Finding[] {
  const told = {
    rule: 'secret-in-reach',
    where: container.name,
    why: 'a variable holds a secret, which everything that runs there can read',
    remedy: 'give it to castellan as a credential: the agent gets a placeholder',
  };
  return [
    ...(container.env ?? []).flatMap(({ valueFrom }, index) =>
      valueFrom?.secretKeyRef === undefined ? [] : [{ ...told, path: `${path}.env[${index}].valueFrom` }],
    ),
    ...(container.envFrom ?? []).flatMap(({ secretRef }, index) =>
      secretRef === undefined ? [] : [{ ...told, path: `${path}.envFrom[${index}].secretRef` }],
    ),
  ];
}
