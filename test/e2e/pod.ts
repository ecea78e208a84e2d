/**
 * A pod in a test world: a network namespace of its own with a way to the origin, fenced by `castellan network-init`; a sidecar in
 * it, and an agent's container with mount and pid namespaces of its own, no capability and a uid that no account has.
 */
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, chownSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { makePodNetwork } from '../fakes/pod-network.ts';
import { CALLER_UID, CASTELLAN, type World } from '../fakes/world.ts';
import { type AuditEvent, auditEvents, finish, type Result } from './sandbox.ts';

export const PROXY_UID = 21_337;
export const SANDBOX_UID = 21_500;
export const OTHER_UID = 21_501;

/** What the sidecar's container may do. */
export const SIDECARS = {
  /** The network role's own uid, and nothing else. */
  plain: [
    `--reuid=${PROXY_UID}`,
    `--regid=${PROXY_UID}`,
    '--clear-groups',
    '--bounding-set=-all',
    '--inh-caps=-all',
    '--no-new-privs',
  ],
  root: ['--bounding-set=-all,+setuid,+setgid,+setpcap,+dac_override', '--inh-caps=-all', '--no-new-privs'],
  tracer: [
    '--bounding-set=-all,+setuid,+setgid,+setpcap,+dac_override,+sys_ptrace',
    '--inh-caps=-all',
    '--no-new-privs',
  ],
} as const;
export type SidecarKind = keyof typeof SIDECARS;

export const AGENT = (uid = SANDBOX_UID): string[] => [
  `--reuid=${uid}`,
  `--regid=${uid}`,
  '--clear-groups',
  '--bounding-set=-all',
  '--inh-caps=-all',
  '--no-new-privs',
];

export interface Pod extends AsyncDisposable {
  readonly directory: string;
  /** Of the pod, as the world reaches it. */
  readonly address: string;
  readonly work: string;
  readonly socket: string;
  readonly auditPath: string;
  readonly policy: string;
  /** Starts a sidecar; resolves when it listens for the process role. */
  sidecar(
    kind?: SidecarKind,
    options?: readonly string[],
    environment?: NodeJS.ProcessEnv,
  ): Promise<ChildProcess>;
  /** Starts an agent's container. */
  agent(command: readonly string[], options?: AgentOptions): ChildProcess;
  /** Runs a program in the pod's network, in the sidecar's own pid namespace. */
  spawn(
    argv: readonly string[],
    options?: { readonly stdin?: 'pipe'; readonly environment?: NodeJS.ProcessEnv },
  ): ChildProcess;
  events(): AuditEvent[];
}

export interface AgentOptions {
  readonly options?: readonly string[];
  readonly uid?: number;
  readonly stdin?: 'pipe';
  /** Sees the processes of the whole pod. */
  readonly sharesProcesses?: boolean;
}

const RUN_OF: Readonly<Record<number, string>> = {
  [SANDBOX_UID]: 'agent-run',
  [CALLER_UID]: 'caller-run',
  [OTHER_UID]: 'other-run',
};

let count = 0;

export async function makePod(world: World, rules: string, extra = ''): Promise<Pod> {
  const directory = join(world.directory, `pod-${++count}`);
  const path = (name: string): string => join(directory, name);
  for (const [name, mode, owner] of [
    ['.', 0o755, 0],
    ['state', 0o755, 0],
    ['work', 0o755, SANDBOX_UID],
    ['agent-run', 0o700, SANDBOX_UID],
    ['caller-run', 0o700, CALLER_UID],
    ['other-run', 0o700, OTHER_UID],
    ['sidecar-run', 0o700, PROXY_UID],
    ['sidecar-log', 0o700, PROXY_UID],
  ] as const) {
    mkdirSync(path(name), { recursive: true });
    chmodSync(path(name), mode);
    chownSync(path(name), owner, owner);
  }
  const policy = path('policy.yaml');
  writeFileSync(
    policy,
    `version: 1\nfilesystem_policy: { include_workdir: true, read_only: [${path('sidecar-log')}], read_write: [${path('work')}] }\n${extra}${rules}`,
  );
  const network = await makePodNetwork(world);
  const children: ChildProcess[] = [];
  const spawn: Pod['spawn'] = (argv, { stdin, environment } = {}) => {
    const child = network.spawn(argv, {
      stdio: [stdin ?? 'ignore', 'pipe', 'pipe'],
      env: { PATH: '/usr/sbin:/usr/bin:/sbin:/bin', ...environment },
    });
    children.push(child);
    return child;
  };
  const must = async (child: ChildProcess): Promise<void> => {
    const { code, stderr, stdout } = await finish(child);
    if (code !== 0) throw new Error(`${child.spawnargs.join(' ')}: ${code} ${stderr} ${stdout}`);
  };
  await must(
    spawn([CASTELLAN, 'network-init', '--proxy-uid', String(PROXY_UID), '--state-directory', path('state')]),
  );
  const socket = path('state/control.sock');
  const auditPath = path('sidecar-log/audit.jsonl');
  return {
    directory,
    address: network.address,
    work: path('work'),
    socket,
    auditPath,
    policy,
    spawn,
    events: () => auditEvents({ auditPath }),
    async sidecar(kind = 'plain', options = [], environment = {}) {
      const child = spawn(
        [
          'setpriv',
          ...SIDECARS[kind],
          '--',
          CASTELLAN,
          'run',
          '--roles',
          'network',
          '--control-socket',
          socket,
          '--policy',
          policy,
          '--audit-file',
          auditPath,
          '--proxy-uid',
          String(PROXY_UID),
          ...options,
        ],
        { environment: { XDG_RUNTIME_DIR: path('sidecar-run'), ...environment } },
      );
      await untilSaid(child, 'sandbox ready');
      return child;
    },
    agent(command, { options = [], uid = SANDBOX_UID, stdin, sharesProcesses = false } = {}) {
      const pids = sharesProcesses ? [] : ['--pid', '--fork', '--mount-proc'];
      return spawn(
        [
          'unshare',
          '--mount',
          ...pids,
          '--',
          'setpriv',
          ...AGENT(uid),
          '--',
          CASTELLAN,
          'run',
          '--roles',
          'process',
          '--control-socket',
          socket,
          '--workdir',
          path('work'),
          ...options,
          '--',
          ...command,
        ],
        {
          ...(stdin && { stdin }),
          environment: {
            XDG_RUNTIME_DIR: path(RUN_OF[uid] ?? ''),
            HOME: path('work'),
            SECRET_OF_THE_CALLER: 'must not get in',
          },
        },
      );
    },
    async [Symbol.asyncDispose]() {
      for (const child of children) {
        killAll(child);
        if (child.exitCode === null && child.signalCode === null) await once(child, 'exit');
      }
      await network[Symbol.asyncDispose]();
    },
  };
}

/** The first process of an agent's container. */
export function childOf({ pid }: ChildProcess): string {
  return readFileSync(`/proc/${pid}/task/${pid}/children`, 'latin1').trim();
}

/** KILL to what runs below a child, and to itself: a change of uid ends what would have tied them together. */
export function killAll({ pid, exitCode, signalCode }: ChildProcess): void {
  if (pid === undefined || exitCode !== null || signalCode !== null) return;
  const below = (parent: number): number[] => {
    try {
      const children = readFileSync(`/proc/${parent}/task/${parent}/children`, 'latin1').trim();
      const pids = children === '' ? [] : children.split(' ').map(Number);
      return [...pids.flatMap(below), parent];
    } catch {
      return [];
    }
  };
  for (const each of below(pid)) {
    try {
      process.kill(each, 'SIGKILL');
    } catch {
      // It has ended with its namespace.
    }
  }
}

/** Resolves when the child has said `text` on standard error; what it says goes on being read. */
export async function untilSaid(child: ChildProcess, text: string): Promise<void> {
  let seen = '';
  await new Promise<void>((resolve, reject) => {
    child.stderr?.on('data', (chunk: Buffer) => {
      seen += chunk.toString();
      if (seen.includes(text)) resolve();
    });
    child.once('close', (code) =>
      reject(new Error(`ended with ${code} before saying ${text}; said ${seen}`)),
    );
  });
}

export type { Result };
