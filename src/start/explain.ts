/** What a run would apply, for people: the very LaunchSpec, with names in the place of numbers and descriptors. */
import { readFile } from 'node:fs/promises';
import type { AuditFact } from '../audit/event.ts';
import { confine } from '../launch/confine.ts';
import { operatorEnvironment } from '../launch/environment.ts';
import { FILESYSTEM_RIGHTS, NETWORK_RIGHTS, RESTRICT_FLAGS, SCOPES } from '../launch/landlock.ts';
import { parseSeccompTable, type SeccompRow } from '../launch/seccomp-table.ts';
import type { LandlockSpec, LaunchSpec } from '../launch/spec.ts';
import { LAUNCH_STEPS } from '../launch/spec.ts';
import { credentialRemarks } from './credential-remarks.ts';
import type { PreparedFilesystem } from './filesystem.ts';
import { mainCommand } from './main-command.ts';
import { type PreviewRequest, preview } from './preview.ts';

/**
 * Prepares everything but creates nothing that lasts, and gives the spec of the main process.
 * @throws CastellanError as a run would
 */
export async function explain(request: PreviewRequest): Promise<object> {
  const facts: AuditFact[] = [];
  return preview(request, {
    report: (fact) => facts.push(fact),
    stage: (_, work) => Promise.resolve(work()),
    use: async ({ cell, files }, { policy }) => {
      const environment = operatorEnvironment(request.config.environment);
      const spec = confine(cell, { argv: await mainCommand(request.config, cell.identity), environment });
      const rows = parseSeccompTable(await readFile(request.install.seccompTable, 'utf8'));
      return {
        steps: LAUNCH_STEPS,
        ...describeSpec(spec, files, [
          ...Object.keys(environment),
          ...Object.keys(request.config.sharedEnvironment),
        ]),
        cgroup: spec.cgroup === undefined ? 'none' : request.config.limits.together,
        refusedSystemCalls: refusedCalls(spec, rows),
        remarks: [...facts.flatMap(remark), ...credentialRemarks(request.config, policy)],
      };
    },
  });
}

/** Pure. Values that the operator gave to the command are left out: they may be secrets. */
export function describeSpec(
  spec: LaunchSpec,
  { granted }: PreparedFilesystem,
  secretNames: readonly string[],
): object {
  const pathOf = (descriptor: number) =>
    granted.find((grant) => grant.descriptor === descriptor)?.path ?? `descriptor ${descriptor}`;
  return {
    argv: spec.argv,
    environment: spec.environment.map((variable) => {
      const name = variable.slice(0, variable.indexOf('='));
      return secretNames.includes(name) ? `${name}=<set>` : variable;
    }),
    workingDirectory: spec.workingDirectory,
    directoryAccess: spec.directoryAccess,
    credentials: spec.credentials ?? 'those of castellan',
    newSession: spec.newSession,
    umask: spec.umask.toString(8).padStart(4, '0'),
    resourceLimits: spec.resourceLimits.map(({ resource, soft, hard }) => ({
      resource: RESOURCE_NAMES[resource] ?? `${resource}`,
      soft: limitText(soft),
      hard: limitText(hard),
    })),
    namespaces: {
      user: spec.namespaces.user === undefined ? 'shared' : 'own',
      network: spec.namespaces.network === undefined ? 'shared' : 'sealed',
      mount: spec.mounts.length === 0 ? 'shared' : 'own',
      ipc: spec.mounts.length === 0 ? 'shared' : 'own',
    },
    mounts: spec.mounts.map(({ kind, path }) => ({ kind, path })),
    landlock: spec.landlock === undefined ? 'not available' : describeLandlock(spec.landlock, pathOf),
    seccomp: { profile: spec.seccomp, relaxed: spec.seccompRelax },
    descriptors: ['0', '1', '2', ...spec.keep.map(({ target }) => String(target))],
  };
}

/** Numbers above the newest that the launcher knows are refused besides, with ENOSYS. Pure. */
export function refusedCalls(
  { seccomp, seccompRelax }: LaunchSpec,
  rows: readonly SeccompRow[],
): Omit<SeccompRow, 'profile'>[] {
  const relaxed: readonly string[] = seccompRelax;
  return rows
    .filter(({ profile, group }) => (profile === 'both' || profile === seccomp) && !relaxed.includes(group))
    .map(({ profile, ...row }) => row);
}

/** getrlimit(2), in the order of the numbers. */
const RESOURCE_NAMES: readonly string[] = [
  ...[
    'CPU',
    'FSIZE',
    'DATA',
    'STACK',
    'CORE',
    'RSS',
    'NPROC',
    'NOFILE',
    'MEMLOCK',
    'AS',
    'LOCKS',
    'SIGPENDING',
  ],
  ...['MSGQUEUE', 'NICE', 'RTPRIO', 'RTTIME'],
];
const INFINITY = 2n ** 64n - 1n;

function limitText(value: bigint): string {
  return value === INFINITY ? 'unlimited' : String(value);
}

function describeLandlock(spec: LandlockSpec, pathOf: (descriptor: number) => string): object {
  return {
    refused: names(FILESYSTEM_RIGHTS, spec.handledFs),
    refusedOnTcp: names(Object.values(NETWORK_RIGHTS), spec.handledNet),
    scoped: names(SCOPES, spec.scoped),
    log: names(RESTRICT_FLAGS, BigInt(spec.restrictFlags)),
    paths: spec.rules.map(({ descriptor, access }) => ({
      path: pathOf(descriptor),
      rights: names(FILESYSTEM_RIGHTS, access),
    })),
    ports: spec.ports.map(({ port, access }) => ({
      port,
      rights: names(Object.values(NETWORK_RIGHTS), access),
    })),
  };
}

function names(rights: readonly { readonly name: string; readonly bit: number }[], mask: bigint): string[] {
  return rights.filter(({ bit }) => (mask >> BigInt(bit)) & 1n).map(({ name }) => name);
}

/** What a reader of the spec should know besides. */
function remark(fact: AuditFact): string[] {
  switch (fact.kind) {
    case 'path-skipped':
      return [`${fact.path} is not granted: ${fact.reason}`];
    case 'control-degraded':
      return [`${fact.control}: ${fact.reason}`];
    case 'control-applied':
      return fact.control === 'upstream-proxy' ? [fact.detail] : [];
    case 'identity-resolved':
      return [`runs as ${fact.user} (${fact.uid}:${fact.gid}), by ${fact.source}`];
    case 'policy-loaded':
      return fact.notices.map((notice) => `policy: ${notice}`);
    default:
      return [];
  }
}
