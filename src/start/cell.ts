import type { Report } from '../audit/event.ts';
import type { RunConfig } from '../config/config.ts';
import { CastellanError } from '../errors.ts';
import { PROXY_PORT, type SealedNamespace } from '../kernel/sealed-namespace.ts';
import type { Cell, SandboxIdentity } from '../launch/cell.ts';
import { NO_CORE } from '../launch/confine.ts';
import { proxyEnvironment } from '../launch/environment.ts';
import { landlockSpec } from '../launch/landlock.ts';
import type { LandlockSpec, MountStep } from '../launch/spec.ts';
import type { PolicyDocument } from '../policy/document.ts';
import type { PreparedFilesystem } from './filesystem.ts';

export interface CellParts {
  readonly config: RunConfig;
  readonly policy: PolicyDocument;
  readonly identity: SandboxIdentity;
  readonly files: PreparedFilesystem;
  readonly mounts: readonly MountStep[];
  readonly namespace: SealedNamespace;
  readonly landlockAbi: number;
  readonly report: Report;
}

/**
 * Puts together what every launch of the sandbox shares, and reports each control.
 * @throws CastellanError `kernel_feature_missing` when the policy requires Landlock and the kernel has none
 */
export function buildCell(parts: CellParts): Cell {
  const { config, identity, namespace, mounts, report } = parts;
  const landlock = confineFiles(parts);
  report({ kind: 'control-applied', control: 'seccomp', detail: 'profile agent' });
  report({
    kind: 'control-applied',
    control: 'privileges',
    detail: `uid ${identity.uid}, no capabilities, no_new_privs`,
  });
  report({
    kind: 'control-applied',
    control: 'mount-view',
    detail: mounts.map(({ path }) => path).join(' '),
  });
  return {
    identity,
    changeCredentials: config.mode === 'root',
    workingDirectory: config.workingDirectory,
    namespaces: { user: namespace.userDescriptor, network: namespace.networkDescriptor },
    mounts,
    landlock,
    resourceLimits: [NO_CORE],
    environment: proxyEnvironment(`http://127.0.0.1:${PROXY_PORT}`),
  };
}

function confineFiles({ policy, files, landlockAbi, report }: CellParts): LandlockSpec | undefined {
  if (landlockAbi > 0) {
    report({
      kind: 'control-applied',
      control: 'landlock',
      detail: `ABI ${landlockAbi}, ${files.granted.length} rules`,
    });
    return landlockSpec(landlockAbi, files.granted);
  }
  if (policy.landlock.compatibility === 'hard_requirement')
    throw new CastellanError(
      'kernel_feature_missing',
      'the policy requires Landlock, which this kernel does not offer',
      {
        step: 'filesystem',
        object: 'landlock',
      },
    );
  // FAIL-OPEN: best_effort is the operator's written wish to run on; a finding in the log says so.
  report({
    kind: 'control-degraded',
    control: 'landlock',
    reason: 'this kernel does not offer it',
    remedy: 'use a kernel with Landlock',
  });
  return undefined;
}
