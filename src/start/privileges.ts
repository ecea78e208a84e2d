/** Whether this process may do what it was asked to, by the one table of capabilities (config/capabilities.ts), before it does any of it. */
import { readFileSync } from 'node:fs';
import type { Control } from '../audit/controls.ts';
import type { Report } from '../audit/event.ts';
import {
  CAPABILITY_HOLDERS,
  type CapabilityHolder,
  missingCapabilities,
  renderedCapabilities,
} from '../config/capabilities.ts';
import type { BinaryIdentity } from '../config/pod.ts';
import type { Surroundings } from '../config/surroundings.ts';
import { CastellanError } from '../errors.ts';
import { parseCapabilities } from '../kernel/probe.ts';

/** Of this process, at this moment. */
function heldCapabilities(): readonly string[] {
  return parseCapabilities(readFileSync('/proc/self/status', 'utf8'));
}

/**
 * Tells all that a start cannot do without, each with what it is for.
 * @throws CastellanError `privilege_missing`
 */
export function requireCapabilities(holder: CapabilityHolder, held = heldCapabilities()): void {
  const missing = missingCapabilities(holder, held).filter(
    ({ without }) => 'refused' in without && without.refused === 'start',
  );
  if (missing.length === 0) return;
  const { otherwise } = CAPABILITY_HOLDERS[holder];
  throw refused(
    missing.map(({ capability, gives }) => `CAP_${capability} is missing: ${gives}`).join('; '),
    missing.map(({ capability }) => `CAP_${capability}`).join(' '),
    `start it as uid 0 with ${renderedCapabilities(holder).join(', ')} (capabilities.add in a pod, --cap-add elsewhere)${otherwise === undefined ? '' : `, ${otherwise}`}; castellan doctor --capabilities tells what each is for`,
  );
}

/**
 * Of a run as root that has both roles. That it will not see who asks is a finding, which no later stage would make.
 * @throws CastellanError `privilege_missing`
 */
export function requireRootPrivileges(report: Report): void {
  const held = heldCapabilities();
  requireCapabilities('combined', held);
  reportLacks('binary-identity', report, held);
}

/** A finding for each capability that root lacks for a control. */
export function reportLacks(control: Control, report: Report, held = heldCapabilities()): void {
  for (const { capability, gives, without } of missingCapabilities('combined', held))
    if ('finding' in without && without.control === control)
      report({
        kind: 'control-degraded',
        control,
        reason: `CAP_${capability} is missing (${gives}): ${without.finding}`,
        remedy: `add ${capability} to the capabilities of the container`,
      });
}

/**
 * Of the sidecar of a pod, before it serves anybody.
 * @throws CastellanError `privilege_missing`
 */
export function requireSidecarPrivileges(
  { uid, pid, initPid }: Surroundings,
  identity: BinaryIdentity,
): void {
  if (uid === 0) requireCapabilities('sidecar');
  if (identity !== 'sidecar') return;
  requireCapabilities('identifying');
  if (pid === 1 || initPid === 1)
    throw refused(
      'the sidecar cannot tell which program asks: the pod does not share its process namespace',
      'shareProcessNamespace',
      `set shareProcessNamespace: true in the pod, ${CAPABILITY_HOLDERS.identifying.otherwise}`,
    );
}

/**
 * Of network-init. Its proof is made as root, whom the fence does not exempt.
 * @throws CastellanError `privilege_missing`
 */
export function requireFencePrivileges({ uid }: Surroundings): void {
  requireCapabilities('fence');
  if (uid !== 0)
    throw refused(
      'network-init may not fence this network: it is not uid 0',
      'uid 0',
      'run its container as uid 0',
    );
}

function refused(message: string, object: string, remedy: string): CastellanError {
  return new CastellanError('privilege_missing', message, { step: 'privileges', object, remedy });
}
