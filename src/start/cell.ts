import type { Report } from '../audit/event.ts';
import type { RunConfig } from '../config/config.ts';
import { CastellanError } from '../errors.ts';
import type { SandboxCgroup } from '../kernel/cgroup.ts';
import type { LandlockSupport } from '../kernel/landlock.ts';
import type { SealedNamespace } from '../kernel/sealed-namespace.ts';
import type { Cell, SandboxIdentity } from '../launch/cell.ts';
import { NO_CORE } from '../launch/confine.ts';
import { operatorEnvironment, placeholderEnvironment, proxyEnvironment } from '../launch/environment.ts';
import { landlockGaps, landlockSpec } from '../launch/landlock.ts';
import type { LandlockSpec, MountStep, ResourceLimit } from '../launch/spec.ts';
import type { PolicyDocument } from '../policy/document.ts';
import { SECCOMP_GROUPS } from '../policy/seccomp.ts';
import type { PreparedFilesystem } from './filesystem.ts';
import type { TrustStore } from './trust.ts';

export interface CellParts {
  readonly config: RunConfig;
  readonly policy: PolicyDocument;
  readonly identity: SandboxIdentity;
  readonly files: PreparedFilesystem;
  readonly mounts: readonly MountStep[];
  readonly trust: Pick<TrustStore, 'environment' | 'granted'>;
  /** Undefined where somebody else fences the network. */
  readonly namespace: SealedNamespace | undefined;
  /** Of the proxy on loopback; undefined where there is none. */
  readonly proxyPort: number | undefined;
  readonly cgroup: SandboxCgroup | undefined;
  readonly resourceLimits: readonly ResourceLimit[];
  readonly landlock: LandlockSupport;
  readonly report: Report;
}

/**
 * Puts together what every launch of the sandbox shares, and reports each control.
 * @throws CastellanError `kernel_feature_missing` when the policy requires Landlock and the kernel has none
 */
export function buildCell(parts: CellParts): Cell {
  const { config, policy, identity, namespace, proxyPort, mounts, cgroup, resourceLimits, trust, report } =
    parts;
  const landlock = confineFiles(parts);
  report({ kind: 'control-applied', control: 'seccomp', detail: 'profile agent' });
  for (const group of policy.seccomp.relax)
    report({
      kind: 'control-degraded',
      control: 'seccomp',
      reason: `the policy relaxes ${group}: ${SECCOMP_GROUPS[group]}`,
      remedy: `take ${group} out of seccomp.relax where nothing needs it`,
    });
  report({
    kind: 'control-applied',
    control: 'privileges',
    detail: `uid ${identity.uid}, no capabilities, no_new_privs`,
  });
  report({
    kind: 'control-applied',
    control: 'mount-view',
    detail: mounts.map(({ kind, path }) => `${kind} ${path}`).join(' ') || 'none',
  });
  return {
    identity,
    changeCredentials: config.mode === 'root',
    workingDirectory: config.workingDirectory,
    cgroup,
    namespaces: { user: namespace?.userDescriptor, network: namespace?.networkDescriptor },
    view: undefined,
    mounts,
    landlock,
    seccompRelax: policy.seccomp.relax,
    resourceLimits: [NO_CORE, ...resourceLimits],
    environment: {
      ...operatorEnvironment(config.sharedEnvironment, '--shared-env'),
      ...(proxyPort !== undefined && proxyEnvironment(`http://127.0.0.1:${proxyPort}`)),
      ...trust.environment,
    },
  };
}

/**
 * The cell with placeholders in the environment of everything that is started in it.
 * @throws CastellanError `credentials_invalid` for names that are taken or that no program may be given
 */
export function withPlaceholders(
  cell: Cell,
  placeholders: Readonly<Record<string, string>>,
  chosen: Readonly<Record<string, string>>,
): Cell {
  const taken = { ...cell.environment, ...chosen };
  return { ...cell, environment: { ...cell.environment, ...placeholderEnvironment(placeholders, taken) } };
}

function confineFiles({ policy, files, trust, landlock, report }: CellParts): LandlockSpec | undefined {
  const { compatibility, bindPorts, connectPorts } = policy.landlock;
  const { abi } = landlock;
  if (landlock.reason !== undefined) return withoutLandlock(landlock.reason, compatibility, report);
  const spec = landlockSpec(abi, [...files.granted, ...trust.granted], {
    bind: bindPorts,
    connect: connectPorts,
  });
  if (spec.handledNet === 0n && (bindPorts !== undefined || connectPorts !== undefined))
    withoutLandlock(`its ABI ${abi} knows no TCP ports, which the policy lists`, compatibility, report);
  report({
    kind: 'control-applied',
    control: 'landlock',
    detail: `ABI ${abi}, ${spec.rules.length} paths, ${spec.ports.length} ports`,
  });
  for (const gap of landlockGaps(abi))
    report({
      kind: 'control-degraded',
      control: 'landlock',
      reason: `ABI ${abi}: ${gap}`,
      remedy: 'use a newer kernel',
    });
  return spec;
}

function withoutLandlock(
  reason: string,
  compatibility: PolicyDocument['landlock']['compatibility'],
  report: Report,
): undefined {
  if (compatibility === 'hard_requirement')
    throw new CastellanError('kernel_feature_missing', `the policy requires Landlock: ${reason}`, {
      step: 'filesystem',
      object: 'landlock',
    });
  // FAIL-OPEN: best_effort is the operator's written wish to run on; a finding in the log says so.
  report({ kind: 'control-degraded', control: 'landlock', reason, remedy: 'use a kernel with Landlock' });
  return undefined;
}
