/** The containers of a supervised pod that run castellan's own image, and what they are told. */
import type { V1Container } from '@kubernetes/client-node';
import { SECRET_FILE_OPTIONS } from '../config/secret-files.ts';
import { castellanEnvironment, literal } from './environment.ts';
import {
  AUDIT_FILE,
  CASTELLAN,
  CONTAINERS,
  CONTROL_SOCKET,
  PLACES,
  POLICY_FILE,
  SERVED_PORTS,
  VOLUMES,
} from './layout.ts';
import { networkMounts, secretFiles } from './mounts.ts';
import { privileged, proxyIds, unprivileged } from './security.ts';
import type { SupervisorOptions } from './supervisor.ts';

/** Of castellan's own short containers, so that quotas have something to count. */
const SMALL = { requests: { cpu: '10m', memory: '64Mi' } };
/** Of the network sidecar where nobody says otherwise: two Node processes, which take some 95 MiB while idle, and what is under way. */
export const SIDECAR_RESOURCES = {
  requests: { cpu: '50m', memory: '128Mi' },
  limits: { memory: '256Mi' },
};
/** Node starts in less; a loaded machine may take much longer. */
const PROBE_SECONDS = 5;
const STARTUP_TRIES = 120;

/** Puts the program where the agent's container finds it. */
export function installContainer(options: SupervisorOptions): V1Container {
  return own(options, {
    name: CONTAINERS.install,
    args: ['copy-self', PLACES.copy],
    securityContext: unprivileged(proxyIds(options)),
    volumeMounts: [{ name: VOLUMES.program, mountPath: PLACES.copy }],
    resources: SMALL,
  });
}

/** Closes the pod's network to everybody but the proxy, before anything of others runs in it. */
export function fenceContainer(options: SupervisorOptions): V1Container {
  const proxy = String(options.proxyUid);
  const inbound = servedPorts(options).flatMap(({ containerPort }) => [
    '--allow-inbound',
    String(containerPort),
  ]);
  return own(options, {
    name: CONTAINERS.fence,
    args: [
      ...['network-init', '--proxy-uid', proxy, '--proxy-gid', proxy],
      ...['--state-directory', PLACES.control, ...inbound],
    ],
    securityContext: privileged('fence'),
    volumeMounts: [{ name: VOLUMES.control, mountPath: PLACES.control }],
    resources: SMALL,
  });
}

/** The network role, for as long as the agent runs. */
export function networkContainer(options: SupervisorOptions): V1Container {
  const { proxyUid, binaryIdentity, nativeSidecar } = options;
  const uid = options.identity.kind === 'ids' ? ['--sandbox-uid', String(options.identity.uid.value)] : [];
  return own(options, {
    name: CONTAINERS.network,
    args: [
      ...['run', '--roles', 'network', '--control-socket', CONTROL_SOCKET, '--policy', POLICY_FILE],
      ...['--proxy-uid', String(proxyUid), ...uid, '--binary-identity', binaryIdentity],
      ...['--grace', String(options.graceSeconds), '--audit-file', AUDIT_FILE],
      ...networkRoleArguments(options),
    ],
    ...(nativeSidecar && { restartPolicy: 'Always' }),
    // Root only where it has to look at other uids' processes; its network part becomes the proxy even then.
    securityContext:
      binaryIdentity === 'sidecar'
        ? privileged('identifying', 'sidecar')
        : unprivileged({ uid: proxyUid, gid: proxyUid }),
    volumeMounts: networkMounts(options),
    resources: options.resources ?? SIDECAR_RESOURCES,
    ...(nativeSidecar && {
      startupProbe: {
        exec: { command: [CASTELLAN, 'probe', 'ready'] },
        periodSeconds: 1,
        timeoutSeconds: PROBE_SECONDS,
        failureThreshold: STARTUP_TRIES,
      },
    }),
    ...servedFields(options),
  });
}

/** What the network role is told, in whichever container it is. */
export function networkRoleArguments(options: SupervisorOptions): string[] {
  const { upstreamProxy: proxy, healthPort, metricsPort, reload } = options;
  return [
    ...secretFiles(options).flatMap(([name, path]) => [`--${SECRET_FILE_OPTIONS[name]}`, path]),
    ...(proxy === undefined ? [] : ['--upstream-proxy', literal(proxy.url)]),
    ...(proxy?.noProxy ?? []).flatMap((entry) => ['--upstream-no-proxy', literal(entry)]),
    ...(proxy?.connectByHostname ? ['--upstream-proxy-connect-by-hostname'] : []),
    ...(proxy?.allowInsecureAuth ? ['--upstream-proxy-auth-allow-insecure'] : []),
    ...(healthPort === undefined ? [] : ['--health-listen', `0.0.0.0:${healthPort}`]),
    ...(metricsPort === undefined ? [] : ['--metrics-listen', `0.0.0.0:${metricsPort}`]),
    ...(reload === 'watch' ? ['--reload', 'watch'] : []),
  ];
}

/** Where the network role serves from: what comes from outside of the pod gets no further. */
function servedPorts({ healthPort, metricsPort }: SupervisorOptions): NonNullable<V1Container['ports']> {
  return Object.entries({ [SERVED_PORTS.health]: healthPort, [SERVED_PORTS.metrics]: metricsPort }).flatMap(
    ([name, port]) => (port === undefined ? [] : [{ name, containerPort: port, protocol: 'TCP' }]),
  );
}

/** With its ports, and asked by the kubelet where it answers over HTTP. */
export function servedFields(
  options: SupervisorOptions,
  others: V1Container['ports'] = [],
): Partial<V1Container> {
  const { healthPort } = options;
  const served = servedPorts(options);
  const ports = served.length === 0 ? {} : { ports: [...others, ...served] };
  if (healthPort === undefined) return ports;
  const ask = (path: string) => ({
    httpGet: { path, port: healthPort },
    periodSeconds: 10,
    timeoutSeconds: PROBE_SECONDS,
  });
  return {
    ...ports,
    livenessProbe: ask('/live'),
    readinessProbe: ask('/ready'),
  };
}

function own(
  options: SupervisorOptions,
  container: Omit<V1Container, 'image' | 'command' | 'env'>,
): V1Container {
  const { name, args, ...others } = container;
  return {
    name,
    image: options.image,
    ...(options.pullPolicy !== undefined && { imagePullPolicy: options.pullPolicy }),
    command: [CASTELLAN],
    ...(args !== undefined && { args }),
    env: castellanEnvironment(options),
    ...others,
  };
}
