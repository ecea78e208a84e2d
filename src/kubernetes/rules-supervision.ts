/** What holds in every pod that castellan is in, however it was written. Each rule names the way around castellan that it closes. */
import type { V1PodTemplateSpec } from '@kubernetes/client-node';
import { renderedCapabilities } from '../config/capabilities.ts';
import { isNativeSidecar, type PlacedContainer, placedContainers } from './containers.ts';
import type { Finding } from './finding.ts';
import { CONTAINERS, isReservedName, VOLUMES } from './layout.ts';
import type { PodSecurityViolation } from './pod-security.ts';
import { agentFindings } from './rules-agent.ts';
import { identityFindings } from './rules-identity.ts';
import { secretFindings } from './rules-secrets.ts';
import { isServing, optionOf, readSupervisedPod, type SupervisedPod, startOf } from './supervised-pod.ts';

/** Ends at the latest so long after TERM, where the pod does not say. */
const DEFAULT_TERMINATION_SECONDS = 30;
const DEFAULT_GRACE_SECONDS = 10;
/** Kinds whose pods are started once. */
const STARTED_ONCE = ['Pod', 'Sandbox'];

/** @param kind of the object that makes the pod */
export function supervisionFindings(
  { spec }: V1PodTemplateSpec,
  violations: readonly PodSecurityViolation[],
  kind: string,
): Finding[] {
  if (spec === undefined) return [];
  const pod = readSupervisedPod(spec);
  return [
    ...nameFindings(pod),
    ...orderFindings(pod),
    ...privilegeFindings(pod, violations),
    ...identityFindings(pod),
    ...secretFindings(pod),
    ...agentFindings(pod),
    ...podFieldFindings(pod, kind),
  ];
}

function nameFindings({ spec, install, fence, network, agents }: SupervisedPod): Finding[] {
  const own = [install, fence, network];
  const images = new Set(own.flatMap((one) => one?.container.image ?? []));
  const known: readonly string[] = Object.values(CONTAINERS);
  return [
    ...placedContainers(spec).flatMap(({ container, path }): Finding[] =>
      isReservedName(container.name) &&
      (!known.includes(container.name) ||
        (container.name !== CONTAINERS.seed && !own.some((one) => one?.container === container)))
        ? [
            {
              rule: 'reserved-name',
              where: container.name,
              path: `${path}.name`,
              why: 'only containers that castellan puts into a pod, and that run it, have such names',
              remedy: 'give the container another name',
            },
          ]
        : [],
    ),
    ...(images.size > 1
      ? [
          {
            rule: 'castellan-image',
            where: 'pod',
            path: 'spec.initContainers',
            why: `castellan's own containers have different images: ${[...images].join(', ')}`,
            remedy: 'give all of them the same',
          },
        ]
      : []),
    ...(agents.length === 1
      ? []
      : [
          {
            rule: 'agent',
            where: 'pod',
            path: 'spec.containers',
            why: `castellan supervises ${agents.length} containers of the pod, where it takes one`,
            remedy: 'let castellan kubernetes render or the webhook put it in',
          },
        ]),
  ];
}

/** The program, the fence, the network; then what is not castellan's. */
function orderFindings(pod: SupervisedPod): Finding[] {
  const { topology, fence, network, untrusted } = pod;
  if (topology === 'combined')
    return untrusted
      .filter((one) => !pod.agents.includes(one) && one.container.name !== CONTAINERS.seed)
      .map((one) =>
        outside(one, 'nothing fences the network of a combined pod but for castellan’s own container'),
      );
  if (fence === undefined || fence.kind !== 'init')
    return [
      {
        rule: 'no-fence',
        where: CONTAINERS.fence,
        path: 'spec.initContainers',
        why: 'no init container closes the pod’s network: the agent reaches everything directly',
        remedy: `put ${CONTAINERS.fence} before everything that is not castellan's`,
      },
    ];
  const fenced = startOf(pod, fence);
  const early = untrusted.filter((one) => startOf(pod, one) < fenced);
  return [
    ...early.map((one) => outside(one, 'it runs before the fence is up')),
    ...(network === undefined ? [missingNetwork()] : networkOrder(pod, network, fenced)),
  ];
}

function networkOrder(pod: SupervisedPod, network: PlacedContainer, fenced: number): Finding[] {
  const at = (key: string) => `${network.path}.${key}`;
  const own = { where: network.container.name };
  const findings: Finding[] = [];
  if (!isServing(pod))
    findings.push({
      ...own,
      rule: 'native-sidecar',
      path: at('restartPolicy'),
      why: 'an init container has to end before the agent starts, and this one never does',
      remedy: 'set restartPolicy: Always, or make it an ordinary container',
    });
  if (isNativeSidecar(network) && network.container.startupProbe === undefined)
    findings.push({
      ...own,
      rule: 'native-sidecar',
      path: at('startupProbe'),
      why: 'without a startup probe the next container starts before this one serves',
      remedy: 'ask castellan probe ready',
    });
  if (startOf(pod, network) < fenced)
    findings.push({
      ...own,
      rule: 'order',
      path: at('name'),
      why: 'it starts before the fence has prepared the directory it listens in',
      remedy: `put it after ${CONTAINERS.fence}`,
    });
  return findings;
}

function missingNetwork(): Finding {
  return {
    rule: 'no-network-role',
    where: CONTAINERS.network,
    path: 'spec.initContainers',
    why: 'nobody answers the agent’s container: it never starts its command',
    remedy: 'add the network sidecar',
  };
}

function outside({ container, path }: PlacedContainer, why: string): Finding {
  return {
    rule: 'outside-the-fence',
    where: container.name,
    path: `${path}.name`,
    why,
    remedy: 'put it after the fence of a sidecar pod, or into another pod',
  };
}

/** Who is not castellan's has nothing, and castellan no more than it needs. */
function privilegeFindings(pod: SupervisedPod, violations: readonly PodSecurityViolation[]): Finding[] {
  const allowed = new Map<string, readonly string[]>([
    [CONTAINERS.fence, renderedCapabilities('fence')],
    [CONTAINERS.network, renderedCapabilities('identifying', 'sidecar')],
    ...(pod.topology === 'combined'
      ? pod.agents.map(({ container }) => [container.name, renderedCapabilities('combined')] as const)
      : []),
  ]);
  // Castellan's program may be an image, which the restricted level does not know as a volume.
  const program = `spec.volumes[${pod.spec.volumes?.findIndex(({ name }) => name === VOLUMES.program)}]`;
  const restricted = violations.filter(({ container, control, path }) =>
    container === undefined ? path !== program : !allowed.has(container) && !BY_OTHER_RULES.has(control),
  );
  return [
    ...restricted.map(
      ({ container = 'pod', control, path, problem }): Finding => ({
        rule: `not-restricted/${control}`,
        where: container,
        path,
        why: `${problem}: what is not castellan’s has to be at the restricted level`,
        remedy: 'let castellan set the security context',
      }),
    ),
    ...placedContainers(pod.spec).flatMap((one) => excess(pod.spec, one, allowed.get(one.container.name))),
  ];
}

/** The identity rules say the same, and say who. */
const BY_OTHER_RULES: ReadonlySet<string> = new Set(['runAsUser']);

function excess(
  spec: SupervisedPod['spec'],
  { container, path }: PlacedContainer,
  allowed: readonly string[] | undefined,
): Finding[] {
  if (allowed === undefined) return [];
  const context = container.securityContext ?? {};
  const { drop = [], add = [] } = context.capabilities ?? {};
  const more = add.filter((name) => !allowed.includes(name));
  const seccomp = (context.seccompProfile ?? spec.securityContext?.seccompProfile)?.type;
  const problems: (readonly [string, string, boolean])[] = [
    ['privileged', 'is as good as root on the node', context.privileged === true],
    ['allowPrivilegeEscalation', 'is not false', context.allowPrivilegeEscalation !== false],
    ['seccompProfile', 'is none', seccomp !== 'RuntimeDefault' && seccomp !== 'Localhost'],
    ['capabilities.drop', 'does not name ALL', !drop.includes('ALL')],
    ['capabilities.add', `adds ${more.join(', ')}, which castellan does not need`, more.length > 0],
    [
      'capabilities.add',
      'adds capabilities to a uid that is not 0: Kubernetes has no ambient ones, so that they are lost at the start',
      add.length > 0 && context.runAsUser !== 0,
    ],
  ];
  return problems.flatMap(([key, why, is]): Finding[] => {
    const at = `${path}.securityContext.${key}`;
    const remedy = `drop ALL, and add at most ${allowed.join(' ')}`;
    return is ? [{ rule: 'privileges', where: container.name, path: at, why, remedy }] : [];
  });
}

function podFieldFindings(pod: SupervisedPod, kind: string): Finding[] {
  const { spec, network, agents } = pod;
  const identifies = network !== undefined && optionOf(network.container, '--binary-identity') === 'sidecar';
  const [agent] = agents;
  const grace = Number((agent && optionOf(agent.container, '--grace')) ?? DEFAULT_GRACE_SECONDS);
  const termination = spec.terminationGracePeriodSeconds ?? DEFAULT_TERMINATION_SECONDS;
  const rules: (readonly [field: keyof typeof spec, is: boolean, why: string, remedy: string])[] = [
    ...(['hostNetwork', 'hostPID', 'hostIPC'] as const).map(
      (field) => [field, spec[field] === true, 'shows the host to the agent', 'take it out'] as const,
    ),
    [
      'shareProcessNamespace',
      spec.shareProcessNamespace === true && !identifies,
      'shows castellan’s processes to the agent',
      'take it out',
    ],
    [
      'shareProcessNamespace',
      spec.shareProcessNamespace !== true && identifies,
      'the sidecar cannot see whose connections it judges',
      'set it, or use --binary-identity process',
    ],
    [
      'automountServiceAccountToken',
      spec.automountServiceAccountToken !== false,
      'gives the agent a token for the cluster',
      'set it to false',
    ],
    [
      'enableServiceLinks',
      spec.enableServiceLinks !== false,
      'tells the agent every service of the namespace in its environment',
      'set it to false',
    ],
    [
      'restartPolicy',
      STARTED_ONCE.includes(kind) && spec.restartPolicy !== 'Never',
      'a command that was ended would start again',
      'set it to Never',
    ],
    [
      'terminationGracePeriodSeconds',
      !(termination > grace),
      `ends castellan before its own ${grace} seconds between TERM and KILL are over`,
      'give it more than --grace',
    ],
  ];
  return [
    ...rules.flatMap(([field, is, why, remedy]): Finding[] =>
      is ? [{ rule: 'pod-field', where: 'pod', path: `spec.${field}`, why, remedy }] : [],
    ),
    ...(STARTED_ONCE.includes(kind) ? restartFindings(pod) : []),
    ...programFindings(spec),
  ];
}

/** A container's own word (Kubernetes 1.34) goes before the pod's, and its rules can start all the others again. */
function restartFindings({ spec, agents }: SupervisedPod): Finding[] {
  return placedContainers(spec).flatMap(({ container, path: place }): Finding[] => {
    const { restartPolicy = 'Never', restartPolicyRules = [] } = container;
    const isAgent = agents.some((agent) => agent.container === container);
    const fields = {
      restartPolicy: isAgent && restartPolicy !== 'Never',
      restartPolicyRules: restartPolicyRules.length > 0,
    };
    return Object.entries(fields).flatMap(([field, is]) => {
      const why = 'a command that was ended would start again';
      const path = `${place}.${field}`;
      return is ? [{ rule: 'pod-field', where: container.name, path, why, remedy: 'take it out' }] : [];
    });
  });
}

/** Who may write the program is castellan. */
function programFindings(spec: SupervisedPod['spec']): Finding[] {
  return placedContainers(spec).flatMap(({ container, path }) =>
    (container.volumeMounts ?? []).flatMap(({ name, readOnly }, index): Finding[] =>
      name === VOLUMES.program && readOnly !== true && container.name !== CONTAINERS.install
        ? [
            {
              rule: 'writable-program',
              where: container.name,
              path: `${path}.volumeMounts[${index}].readOnly`,
              why: 'castellan’s own program can be exchanged from here',
              remedy: 'mount it read-only',
            },
          ]
        : [],
    ),
  );
}
