/** The agent's container: its command becomes what castellan starts, and everything that would run beside castellan is refused. */
import type { V1Container, V1EnvVar } from '@kubernetes/client-node';
import { problemOfVariableName } from '../config/variable-names.ts';
import { castellanEnvironment, isCastellanVariable, isStripped, literal } from './environment.ts';
import { AUDIT_FILE, CASTELLAN, CONTROL_SOCKET, POLICY_FILE, refusePod } from './layout.ts';
import { agentMounts } from './mounts.ts';
import { networkRoleArguments, servedFields } from './own-containers.ts';
import { agentSecurity } from './security.ts';
import type { SupervisorOptions } from './supervisor.ts';

/**
 * The container with castellan as its program and the former command as castellan's.
 * @throws CastellanError `manifest_invalid`
 */
export function superviseContainer(container: V1Container, options: SupervisorOptions): V1Container {
  refuseEntrances(container);
  const { named, byValue } = readVariables(container);
  const { name, image, command: _, args: __, env: ___, ...rest } = container;
  const { securityContext, volumeMounts = [], ...others } = rest;
  const taken = volumeMounts.map(({ mountPath }) => mountPath);
  return {
    name,
    ...(image !== undefined && { image }),
    command: [CASTELLAN],
    args: [
      ...['run', ...roleArguments(options), '--workdir', literal(options.workdir)],
      ...['--grace', String(options.graceSeconds)],
      ...byValue.flatMap(({ name, value = '' }) => ['--env', `${name}=${value}`]),
      ...named.flatMap(({ name }) => ['--env', name]),
      ...['--', ...commandOf(container)],
    ],
    env: [...castellanEnvironment(options), ...named],
    ...others,
    securityContext: agentSecurity(options, securityContext),
    volumeMounts: [...volumeMounts, ...agentMounts(options, taken)],
    ...(options.topology === 'combined' ? servedFields(options, container.ports) : {}),
    readinessProbe: readiness(options),
  };
}

function roleArguments(options: SupervisorOptions): string[] {
  if (options.topology === 'sidecar') return ['--roles', 'process', '--control-socket', CONTROL_SOCKET];
  return [
    ...['--policy', POLICY_FILE, '--proxy-uid', String(options.proxyUid), '--audit-file', AUDIT_FILE],
    ...networkRoleArguments(options),
  ];
}

/** Ready is when the agent's command runs. */
function readiness(options: SupervisorOptions): NonNullable<V1Container['readinessProbe']> {
  const { readinessProbe } = options.topology === 'combined' ? servedFields(options) : {};
  return (
    readinessProbe ?? {
      exec: { command: [CASTELLAN, 'probe', 'ready'] },
      periodSeconds: 10,
      timeoutSeconds: 5,
    }
  );
}

function commandOf({ name, command = [], args = [] }: V1Container): string[] {
  // An image's entrypoint is not in the pod, and what comes before a command of the pod's is not castellan's to guess.
  if (command.length === 0)
    refusePod(
      name,
      `container ${name} has no command: castellan starts it, and cannot know the image's`,
      'write the entrypoint of the image as command',
    );
  return [...command, ...args];
}

/**
 * Variables become the command's. Values go by the command line, where they stay what they are; only what Kubernetes has to look up
 * goes through castellan's own environment.
 */
function readVariables({ name: container, env = [], envFrom = [] }: V1Container): {
  readonly named: V1EnvVar[];
  readonly byValue: V1EnvVar[];
} {
  if (envFrom.length > 0)
    refusePod(
      container,
      `container ${container} has envFrom: castellan names every variable that the agent gets`,
      'list the variables in env',
    );
  for (const { name } of env) refuseVariable(container, name);
  const isLookedUp = ({ value = '', valueFrom }: V1EnvVar) =>
    valueFrom !== undefined || value.replaceAll('$$', '').includes('$(');
  const named = env.filter(isLookedUp);
  const lost = named.find(({ name }) => isStripped(name));
  if (lost !== undefined)
    refusePod(
      container,
      `variable ${lost.name} of container ${container} is taken from castellan's own environment at its start`,
      'give it as a plain value',
    );
  return { named, byValue: env.filter((variable) => !isLookedUp(variable)) };
}

function refuseVariable(container: string, name: string): void {
  const problem = isCastellanVariable(name) ? "is castellan's own" : problemOfVariableName(name);
  if (problem !== undefined)
    refusePod(container, `variable ${name} of container ${container}: ${problem}`, 'take it out of env');
}

/** Hooks and exec probes run programs of the image in the container and outside of castellan's cell. */
export function entrancesOf(container: V1Container): string[] {
  const probes = (['livenessProbe', 'readinessProbe', 'startupProbe'] as const).filter(
    (probe) => container[probe]?.exec !== undefined,
  );
  const hooks = (['postStart', 'preStop'] as const).filter(
    (hook) => container.lifecycle?.[hook]?.exec !== undefined,
  );
  return [...probes, ...hooks.map((hook) => `lifecycle.${hook}`)];
}

/** The kubelet reaches nobody in the agent's network: such a probe would end every sandbox, or wait for ever. */
export function unansweredOf(container: V1Container): string[] {
  return (['livenessProbe', 'readinessProbe', 'startupProbe'] as const).filter((probe) => {
    const { httpGet, tcpSocket, grpc } = container[probe] ?? {};
    return httpGet !== undefined || tcpSocket !== undefined || grpc !== undefined;
  });
}

function refuseEntrances(container: V1Container): void {
  const [unanswered] = unansweredOf(container);
  if (unanswered !== undefined)
    refusePod(
      container.name,
      `${unanswered} of container ${container.name} reaches nobody: the agent's network is closed`,
      'take it out: castellan answers probes itself',
    );
  const [entrance] = entrancesOf(container);
  if (entrance !== undefined)
    refusePod(
      container.name,
      `${entrance} of container ${container.name} would run a program outside of castellan's cell`,
      'take it out: castellan answers probes itself',
    );
}
