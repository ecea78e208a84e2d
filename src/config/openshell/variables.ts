/** What OpenShell's drivers tell their supervisor by variables, and what becomes of each under its name, openshell-sandbox. */
import type { Environment, Variable } from '../variables.ts';

/** Which supervisor it is to be: `--mode`. */
export const TOPOLOGIES = ['network,process', 'process', 'network', 'network-init'] as const;
export type Topology = (typeof TOPOLOGIES)[number];

export interface OpenshellVariable extends Variable {
  readonly accepted: readonly Topology[];
  /**
   * `read`: castellan acts on it. `gateway`: about a gateway, and without effect where there is none. `unused`: nothing of castellan's depends
   * on it. The last two are told at the start. `refused`: see `problem`.
   */
  readonly fate: 'read' | 'gateway' | 'unused' | 'refused';
  /** Why a value cannot be had; undefined where it asks for what is so anyway. */
  readonly problem?: (value: string, topology: Topology) => string | undefined;
}

const ALL = TOPOLOGIES;
const PROCESS = ['network,process', 'process'] as const;
const NONE = [] as const;
const BAKED = 'an image could have set it: say it on the command line';

const DRIVER = 'a driver';
const GATEWAY = 'for a gateway';

/** A switch that only the command line may set; translate.ts lets it pass where it repeats that. */
function onlyByOption(option: string): Pick<OpenshellVariable, 'isSwitch' | 'fate' | 'problem'> {
  return {
    isSwitch: true,
    fate: 'refused',
    problem: (value) => (value === '' ? undefined : `${BAKED}, as ${option}`),
  };
}

/** A switch with values that are no loosening where they are expected. */
function onlyValues(
  expected: (topology: Topology) => readonly string[],
): Pick<OpenshellVariable, 'isSwitch' | 'fate' | 'problem'> {
  return {
    isSwitch: true,
    fate: 'refused',
    problem(value, topology) {
      if (value === '' || expected(topology).includes(value)) return undefined;
      return `${JSON.stringify(value)} is not what --mode=${topology} means; ${BAKED}`;
    },
  };
}

const isSidecar = (topology: Topology): boolean => topology !== 'network,process';

export const OPENSHELL_VARIABLES: readonly OpenshellVariable[] = [
  {
    name: 'OPENSHELL_SANDBOX',
    accepted: ['network,process', 'process', 'network'],
    setBy: DRIVER,
    decides: 'the name of the sandbox, as --sandbox',
    fate: 'read',
  },
  {
    name: 'OPENSHELL_SSH_SOCKET_PATH',
    accepted: PROCESS,
    setBy: DRIVER,
    decides: 'where SSH is answered besides the run directory, as --ssh-socket-path',
    fate: 'read',
  },
  {
    name: 'OPENSHELL_LOG_LEVEL',
    accepted: ['network,process', 'process', 'network'],
    setBy: DRIVER,
    decides: 'whether events go to standard error too, as --log-level; the log has them all',
    fate: 'read',
  },
  {
    name: 'OPENSHELL_USER_ENVIRONMENT',
    accepted: PROCESS,
    setBy: DRIVER,
    decides: 'variables of the command and of sessions, as a JSON map',
    isSecret: true,
    fate: 'read',
  },
  {
    name: 'OPENSHELL_SIDECAR_CONTROL_SOCKET',
    accepted: ['process', 'network'],
    setBy: DRIVER,
    decides: 'the socket by which the two supervisors of a pod find each other',
    fate: 'read',
    problem: (value, topology) =>
      value === '' || isSidecar(topology)
        ? undefined
        : 'it is about a pod of two supervisors, and this is one',
  },
  {
    name: 'OPENSHELL_ENDPOINT',
    accepted: NONE,
    setBy: DRIVER,
    decides: 'the gateway, as --openshell-endpoint',
    fate: 'refused',
    problem: gatewayProblem,
  },
  ...gatewayVariables(),
  {
    name: 'OPENSHELL_SUPERVISOR_TOPOLOGY',
    accepted: ALL,
    setBy: DRIVER,
    decides: 'nothing: --mode does; it may only repeat that',
    ...onlyValues((topology) => [isSidecar(topology) ? 'sidecar' : 'combined']),
  },
  {
    name: 'OPENSHELL_NETWORK_ENFORCEMENT_MODE',
    accepted: ALL,
    setBy: DRIVER,
    decides: 'nothing: --mode does; it may only repeat that',
    ...onlyValues((topology) => (isSidecar(topology) ? ['sidecar-nftables'] : [])),
  },
  {
    name: 'OPENSHELL_NETWORK_BINARY_IDENTITY',
    accepted: ALL,
    setBy: DRIVER,
    decides: 'in --mode=network, whose image is castellan’s own: relaxed gives up who asks',
    ...onlyValues((topology) => (topology === 'network' ? ['strict', 'relaxed'] : ['strict'])),
  },
  {
    name: 'OPENSHELL_POLICY_RULES',
    accepted: NONE,
    setBy: 'a person',
    decides: 'nothing: only --policy-rules does',
    ...onlyByOption('--policy-rules'),
  },
  {
    name: 'OPENSHELL_POLICY_DATA',
    accepted: NONE,
    setBy: 'a person',
    decides: 'nothing: only --policy-data does',
    ...onlyByOption('--policy-data'),
  },
  {
    name: 'OPENSHELL_INFERENCE_ROUTES',
    accepted: NONE,
    setBy: 'a person',
    decides: 'nothing: only --inference-routes does',
    ...onlyByOption('--inference-routes'),
  },
  {
    name: 'OPENSHELL_PROXY_UID',
    accepted: NONE,
    setBy: 'a person',
    decides: 'nothing: only --proxy-uid does',
    ...onlyByOption('--proxy-uid'),
  },
  {
    name: 'OPENSHELL_PROXY_GID',
    accepted: NONE,
    setBy: 'a person',
    decides: 'nothing: only --proxy-gid does',
    ...onlyByOption('--proxy-gid'),
  },
  {
    name: 'OPENSHELL_SIDECAR_STATE_DIR',
    accepted: NONE,
    setBy: 'a person',
    decides: 'nothing: only --sidecar-state-dir does',
    ...onlyByOption('--sidecar-state-dir'),
  },
  {
    name: 'OPENSHELL_REQUIRE_RUNTIME_PID_LIMIT',
    accepted: NONE,
    setBy: 'a person',
    decides: 'that a container without a limit of processes is refused, which castellan does not do',
    isSwitch: true,
    fate: 'refused',
    problem: () => 'castellan does not look for the container’s limit of processes',
  },
  {
    name: 'OPENSHELL_PROVIDER_SPIFFE_WORKLOAD_API_SOCKET',
    accepted: NONE,
    setBy: DRIVER,
    decides: 'identities of providers by SPIFFE, which castellan does not ask for',
    isSwitch: true,
    fate: 'refused',
    problem: (value) =>
      value === ''
        ? undefined
        : 'castellan speaks no SPIFFE, and would leave the socket where the agent reaches it',
  },
  ...unusedVariables(),
];

/** The value of one; an empty one says nothing. */
export function openshellVariable(environment: Environment, name: `OPENSHELL_${string}`): string | undefined {
  return environment[name] || undefined;
}

/**
 * The gateway's protocol begins here: as long as castellan does not speak it, an endpoint is refused, because a sandbox without the policy and
 * the credentials of its gateway would be another sandbox.
 */
export function gatewayProblem(endpoint: string): string | undefined {
  if (endpoint === '') return undefined;
  return 'castellan does not speak to a gateway yet; without one, it runs by a file: leave the endpoint out (or empty) and give --policy-data FILE, or mount /etc/openshell/policy.yaml';
}

function gatewayVariables(): OpenshellVariable[] {
  const row = (name: string, decides: string, isSecret?: true): OpenshellVariable => ({
    name: `OPENSHELL_${name}`,
    accepted: ALL,
    setBy: DRIVER,
    decides: `${decides}, ${GATEWAY}`,
    fate: 'gateway',
    ...(isSecret && { isSecret }),
  });
  return [
    row('SANDBOX_ID', 'who this sandbox is'),
    row('SANDBOX_TOKEN', 'the token', true),
    row('SANDBOX_TOKEN_FILE', 'the file of the token'),
    row('K8S_SA_TOKEN_FILE', 'the file of the pod’s token'),
    row('TLS_CA', 'the file of its authority'),
    row('TLS_CERT', 'the file of the client certificate'),
    row('TLS_KEY', 'the file of its key'),
    row('GATEWAY_TLS_SERVER_NAME', 'the name that its certificate has'),
    row('PROXY_TLS_DIR', 'where the certificates of a pod’s network role lie'),
    row('POLICY_POLL_INTERVAL_SECS', 'how often the policy is asked for'),
    row('DENIAL_FLUSH_INTERVAL_SECS', 'how often refusals are told'),
    row('ACTIVITY_FLUSH_INTERVAL_SECS', 'how often activity is told'),
    row('ROUTE_REFRESH_INTERVAL_SECS', 'how often routes to models are asked for'),
    row('LOG_PUSH_LEVEL', 'which log lines are sent'),
  ];
}

function unusedVariables(): OpenshellVariable[] {
  const row = (name: string, decides: string): OpenshellVariable => ({
    name,
    accepted: ALL,
    setBy: DRIVER,
    decides: `nothing: ${decides}`,
    fate: 'unused',
  });
  return [
    row('OPENSHELL_TELEMETRY_ENABLED', 'castellan sends no telemetry'),
    row('OPENSHELL_TELEMETRY_ENDPOINT', 'castellan sends no telemetry'),
    row('OPENSHELL_NETWORK_RUNTIME_CAPABILITIES', 'transparent TCP and policy DNS are always there'),
    row('OPENSHELL_CONTAINER_IMAGE', 'the image is whatever this runs in'),
    row('RUST_LOG', '--log-level decides'),
  ];
}
