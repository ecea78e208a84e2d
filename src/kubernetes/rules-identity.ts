/** Who the containers of a supervised pod are: the fence lets one uid through, and nobody but castellan may have it. */
import type { PlacedContainer } from './containers.ts';
import type { Finding } from './finding.ts';
import { CONTAINERS } from './layout.ts';
import { optionOf, type SupervisedPod } from './supervised-pod.ts';

export function identityFindings(pod: SupervisedPod): Finding[] {
  return [
    ...(pod.topology === 'sidecar'
      ? pod.untrusted.flatMap((one) => exemptFindings(pod, one))
      : pod.untrusted.filter((one) => !pod.agents.includes(one)).flatMap((one) => exemptFindings(pod, one))),
    ...groupFindings(pod),
    ...toldFindings(pod),
  ];
}

/** Who may gain nothing by execve(2) (a rule of its own) is who it starts as; that has to be said, for an image could say it too. */
function exemptFindings(
  { spec, topology, proxyUid }: SupervisedPod,
  { container, path }: PlacedContainer,
): Finding[] {
  const own = container.securityContext;
  const shared = spec.securityContext;
  const uid = own?.runAsUser ?? shared?.runAsUser;
  const gid = own?.runAsGroup ?? shared?.runAsGroup;
  const at = (key: string) => `${path}.securityContext.${key}`;
  const told = { where: container.name, remedy: "set the sandbox's numbers" };
  const findings: Finding[] = [];
  if (proxyUid !== undefined && uid === proxyUid)
    findings.push({
      ...told,
      rule: 'exempt-uid',
      path: at('runAsUser'),
      why: `uid ${uid} is the proxy's: the fence lets it through`,
    });
  if (proxyUid !== undefined && gid === proxyUid)
    findings.push({ ...told, rule: 'exempt-uid', path: at('runAsGroup'), why: `gid ${gid} is the proxy's` });
  if (uid === 0)
    findings.push({
      ...told,
      rule: 'root',
      path: at('runAsUser'),
      why: 'root owns castellan’s files and directories',
    });
  // Where nothing is let through by its number, an image may say who it is.
  if (uid === undefined && topology === 'sidecar')
    findings.push({
      ...told,
      rule: 'unsaid-uid',
      path: at('runAsUser'),
      why: 'nobody says who it is, so that its image does: it could name the proxy',
    });
  return findings;
}

function groupFindings({ spec, proxyUid }: SupervisedPod): Finding[] {
  const { supplementalGroups = [], fsGroup } = spec.securityContext ?? {};
  return [
    ...supplementalGroups.map((group, index) => [group, `supplementalGroups[${index}]`] as const),
    ...(fsGroup === undefined ? [] : [[fsGroup, 'fsGroup'] as const]),
  ].flatMap(([group, field]): Finding[] =>
    group === proxyUid || group === 0
      ? [
          {
            rule: 'exempt-group',
            where: 'pod',
            path: `spec.securityContext.${field}`,
            why: `group ${group} is root's or the proxy's, and every container gets it`,
            remedy: 'take it out',
          },
        ]
      : [],
  );
}

/** What the roles are told about each other has to be so: they refuse each other otherwise, or trust somebody else. */
function toldFindings({ agents, fence, network, topology, proxyUid }: SupervisedPod): Finding[] {
  const [agent] = agents;
  if (agent === undefined) return [];
  const { container, path } = agent;
  const uid = container.securityContext?.runAsUser;
  const variable = (name: string) => container.env?.find((one) => one.name === name);
  const findings: Finding[] = [];
  const refuse = (where: string, at: string, why: string) =>
    findings.push({
      rule: 'told-otherwise',
      where,
      path: at,
      why,
      remedy: 'use the same numbers everywhere',
    });
  const told = variable('SANDBOX_UID')?.value;
  if (topology === 'sidecar' && told !== undefined && uid !== undefined && told !== String(uid))
    refuse(container.name, `${path}.env`, `SANDBOX_UID is ${told}, and the container runs as ${uid}`);
  if (network !== undefined) {
    const sandbox = optionOf(network.container, '--sandbox-uid');
    if (uid !== undefined && sandbox !== String(uid))
      refuse(
        CONTAINERS.network,
        `${network.path}.args`,
        `--sandbox-uid is ${sandbox}, and the agent is ${uid}`,
      );
    const proxies = [fence, network].map((one) => one && optionOf(one.container, '--proxy-uid'));
    if (proxies[0] !== proxies[1])
      refuse(
        CONTAINERS.network,
        `${network.path}.args`,
        `--proxy-uid is ${proxies[1]}, and the fence's is ${proxies[0]}`,
      );
    const own = network.container.securityContext?.runAsUser;
    if (own !== 0 && own !== proxyUid)
      refuse(
        CONTAINERS.network,
        `${network.path}.securityContext.runAsUser`,
        `it is uid ${own}, and the fence lets ${proxyUid} through`,
      );
  }
  return findings;
}
