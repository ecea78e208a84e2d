/** What this machine can enforce, found out by trying wherever a look could deceive. */
import { readFile } from 'node:fs/promises';
import { release } from 'node:os';
import { CastellanError } from '../errors.ts';
import { landlockSupport } from './landlock.ts';
import { createSealedNamespace } from './sealed-namespace.ts';
import { findTool } from './tools.ts';

/** A value, or why there is none. */
export type Fact<T> =
  | { readonly ok: true; readonly value: T }
  | { readonly ok: false; readonly reason: string };

export interface KernelFacts {
  readonly kernelRelease: string;
  readonly nodeVersion: string;
  readonly root: boolean;
  /** Effective capabilities of this process, `CAP_…`. */
  readonly capabilities: Fact<readonly string[]>;
  /** Highest ABI version of landlock(7). */
  readonly landlockAbi: Fact<number>;
  /** Actions that seccomp(2) filters may return. */
  readonly seccomp: Fact<readonly string[]>;
  /** Whether this process may make a user namespace and be privileged in it. */
  readonly userNamespaces: Fact<'usable'>;
  /** The way in which a sealed namespace with redirect, NFLOG and listeners was made and taken down again. */
  readonly sealedNamespace: Fact<'as root' | 'in a user namespace'>;
  readonly cgroups: Fact<'v1' | 'v2' | 'hybrid'>;
  /** Command name of PID 1; `this process` when it is us. */
  readonly pidOne: Fact<string>;
  readonly ip: Fact<string>;
  readonly nft: Fact<string>;
}

/** Linux capability numbers in order, linux/capability.h. */
const CAPABILITY_NAMES = [
  ...['CHOWN', 'DAC_OVERRIDE', 'DAC_READ_SEARCH', 'FOWNER', 'FSETID', 'KILL', 'SETGID', 'SETUID', 'SETPCAP'],
  ...[
    'LINUX_IMMUTABLE',
    'NET_BIND_SERVICE',
    'NET_BROADCAST',
    'NET_ADMIN',
    'NET_RAW',
    'IPC_LOCK',
    'IPC_OWNER',
  ],
  ...[
    'SYS_MODULE',
    'SYS_RAWIO',
    'SYS_CHROOT',
    'SYS_PTRACE',
    'SYS_PACCT',
    'SYS_ADMIN',
    'SYS_BOOT',
    'SYS_NICE',
  ],
  ...[
    'SYS_RESOURCE',
    'SYS_TIME',
    'SYS_TTY_CONFIG',
    'MKNOD',
    'LEASE',
    'AUDIT_WRITE',
    'AUDIT_CONTROL',
    'SETFCAP',
  ],
  ...['MAC_OVERRIDE', 'MAC_ADMIN', 'SYSLOG', 'WAKE_ALARM', 'BLOCK_SUSPEND', 'AUDIT_READ', 'PERFMON', 'BPF'],
  'CHECKPOINT_RESTORE',
];

/** Tries and looks; rejects only when `signal` aborts. `helper` is the absolute path of castellan-netns. */
export async function probeKernel(options: {
  readonly helper: string;
  /** Where `ip` and `nft` are looked for. */
  readonly toolDirectories: readonly string[];
  readonly signal?: AbortSignal;
}): Promise<KernelFacts> {
  const root = process.geteuid?.() === 0;
  const [ip, nft] = await Promise.all([
    fact(() => findTool('ip', options.toolDirectories)),
    fact(() => findTool('nft', options.toolDirectories)),
  ]);
  const attempt = async (userNamespace: boolean): Promise<Attempt> => {
    if (!ip.ok) return { ok: false, reason: ip.reason, step: 'tools' };
    if (!nft.ok) return { ok: false, reason: nft.reason, step: 'tools' };
    return tryNamespace({ ...options, userNamespace, ip: ip.value, nft: nft.value });
  };
  const inUserNamespace = await attempt(true);
  const sealed = root ? await attempt(false) : inUserNamespace;
  return {
    kernelRelease: release(),
    nodeVersion: process.version,
    root,
    capabilities: await fact(async () => parseCapabilities(await readFile('/proc/self/status', 'utf8'))),
    landlockAbi: await fact(async () => {
      const { abi, reason } = landlockSupport();
      return reason === undefined ? abi : absent(reason);
    }),
    seccomp: await fact(async () =>
      (await readFile('/proc/sys/kernel/seccomp/actions_avail', 'utf8')).trim().split(' '),
    ),
    userNamespaces: userNamespaceFact(inUserNamespace),
    sealedNamespace: sealed.ok
      ? { ok: true, value: root ? 'as root' : 'in a user namespace' }
      : without(sealed),
    cgroups: await fact(async () => parseCgroups(await readFile('/proc/self/mountinfo', 'utf8'))),
    pidOne: await fact(async () =>
      process.pid === 1 ? 'this process' : (await readFile('/proc/1/comm', 'utf8')).trimEnd(),
    ),
    ip,
    nft,
  };
}

/** The names in `CapEff` of /proc/pid/status; numbers that this list does not know are given as such. */
export function parseCapabilities(status: string): readonly string[] {
  const mask = /^CapEff:\s*([0-9a-f]{1,16})$/m.exec(status)?.[1] ?? absent('the status has no CapEff');
  const bits = BigInt(`0x${mask}`);
  return Array.from({ length: 64 }, (_, number) => number)
    .filter((number) => (bits >> BigInt(number)) & 1n)
    .map((number) => `CAP_${CAPABILITY_NAMES[number] ?? number}`);
}

/** Which hierarchies are mounted, by the file system types in /proc/pid/mountinfo. */
export function parseCgroups(mountinfo: string): 'v1' | 'v2' | 'hybrid' {
  const types = new Set(mountinfo.split('\n').map((line) => / - (\S+) /.exec(line)?.[1]));
  if (types.has('cgroup')) return types.has('cgroup2') ? 'hybrid' : 'v1';
  return types.has('cgroup2') ? 'v2' : absent('no cgroup file system is mounted');
}

type Attempt = { readonly ok: true } | { readonly ok: false; readonly reason: string; readonly step: string };

async function tryNamespace(options: Parameters<typeof createSealedNamespace>[0]): Promise<Attempt> {
  try {
    using _ = await createSealedNamespace(options);
    return { ok: true };
  } catch (error) {
    options.signal?.throwIfAborted();
    return {
      ok: false,
      reason: messageOf(error),
      step: error instanceof CastellanError ? error.step : 'helper',
    };
  }
}

/** Steps at and before which a failure says that there was no usable user namespace; later ones fail inside it. */
const STEPS_TO_USER_NAMESPACE = [
  'tools',
  'helper',
  'namespace/helper',
  'namespace/user-namespace',
  'namespace/network-namespace',
];

function userNamespaceFact(attempt: Attempt): Fact<'usable'> {
  return attempt.ok || !STEPS_TO_USER_NAMESPACE.includes(attempt.step)
    ? { ok: true, value: 'usable' }
    : without(attempt);
}

function without({ reason }: { readonly reason: string }): { readonly ok: false; readonly reason: string } {
  return { ok: false, reason };
}

async function fact<T>(find: () => Promise<T>): Promise<Fact<T>> {
  try {
    return { ok: true, value: await find() };
  } catch (error) {
    return { ok: false, reason: messageOf(error) };
  }
}

function absent(reason: string): never {
  throw new Error(reason);
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
