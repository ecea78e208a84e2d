/** Every control, and how each topology has it: README shows this table, `castellan doctor` prints it, and facts name its rows. */

/** `root` and `rootless` are one container or machine; the other two are the containers of a pod. */
export const CONTROL_TOPOLOGIES = {
  root: 'one container, as root',
  rootless: 'one machine, as an ordinary user',
  sidecar: 'pod: the sidecar (--roles network)',
  'process-only': 'pod: the agent’s container (--roles process)',
} as const;
export type ControlTopology = keyof typeof CONTROL_TOPOLOGIES;

/** `undefined`: not this container's business, and never in its record. */
type Row = Readonly<Record<ControlTopology, string | undefined>>;

export const CONTROL_TABLE = {
  'sealed-namespace': {
    root: 'own network namespace without a way out',
    rootless: 'the same, in a user namespace',
    sidecar: undefined,
    'process-only': 'the pod’s network, fenced by network-init; without a sidecar a finding',
  },
  'user-namespace': {
    root: undefined,
    rootless: 'maps the caller only',
    sidecar: undefined,
    'process-only': undefined,
  },
  'mount-view': {
    root: 'castellan’s own places covered',
    rootless: 'the same, and /run',
    sidecar: undefined,
    'process-only': 'nothing can be covered: a policy that grants such a place is refused',
  },
  landlock: {
    root: 'files, TCP ports, signals and abstract sockets, as far as the kernel’s ABI goes',
    rootless: 'the same',
    sidecar: undefined,
    'process-only': 'the same',
  },
  seccomp: {
    root: 'profile agent, relaxed only by the policy',
    rootless: 'the same',
    sidecar: undefined,
    'process-only': 'the same',
  },
  privileges: {
    root: 'another uid, no capabilities, no_new_privs',
    rootless: 'the caller’s uid, the rest the same',
    sidecar: undefined,
    'process-only': 'the container’s uid, the rest the same',
  },
  'network-role': {
    root: 'own uid, no capabilities, Landlock, seccomp',
    rootless: 'the caller’s uid, the rest the same',
    sidecar: 'the exempt uid, the rest the same',
    'process-only': undefined,
  },
  'account-view': {
    root: 'passwd and group name a uid without an account',
    rootless: 'the same',
    sidecar: undefined,
    'process-only': 'a line is appended where the image lets us',
  },
  'trust-store': {
    root: 'the run’s authority over the system’s certificates',
    rootless: 'the same',
    sidecar: undefined,
    'process-only': 'variables that name it',
  },
  'upstream-proxy': {
    root: 'the only way out, but for its exceptions',
    rootless: 'the same',
    sidecar: 'the same',
    'process-only': undefined,
  },
  'binary-identity': {
    root: 'a finding where programs cannot be seen (without CAP_SYS_PTRACE)',
    rootless: undefined,
    sidecar: 'a finding where programs are not judged (--binary-identity none)',
    'process-only': undefined,
  },
  'bypass-watch': {
    root: undefined,
    rootless: undefined,
    sidecar: 'a finding where refused packets are not recorded (without CAP_NET_ADMIN)',
    'process-only': undefined,
  },
  'control-wire': {
    root: undefined,
    rootless: undefined,
    sidecar: 'one process role, known by its uid and a token',
    'process-only': undefined,
  },
  limits: {
    root: 'a delegated cgroup, and limits of each process',
    rootless: 'the same',
    sidecar: undefined,
    'process-only': 'the same',
  },
  teardown: {
    root: 'a delegated cgroup, else a Landlock signal scope, else rounds of KILL',
    rootless: 'the same',
    sidecar: undefined,
    'process-only': 'the same',
  },
} as const satisfies Readonly<Record<string, Row>>;

export type Control = keyof typeof CONTROL_TABLE;
export const CONTROLS = Object.keys(CONTROL_TABLE) as readonly Control[];

/** The table as Markdown. */
export function controlTable(): string {
  const topologies = Object.keys(CONTROL_TOPOLOGIES) as ControlTopology[];
  const line = (cells: readonly string[]) => `| ${cells.join(' | ')} |`;
  return [
    line(['control', ...topologies.map((topology) => CONTROL_TOPOLOGIES[topology])]),
    line(['control', ...topologies].map(() => '---')).replaceAll(' ', ''),
    ...CONTROLS.map((control) =>
      line([`\`${control}\``, ...topologies.map((topology) => CONTROL_TABLE[control][topology] ?? '–')]),
    ),
  ].join('\n');
}
