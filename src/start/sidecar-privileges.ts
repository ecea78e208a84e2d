import { readFileSync } from 'node:fs';
import type { BinaryIdentity } from '../config/pod.ts';
import type { Surroundings } from '../config/surroundings.ts';
import { CastellanError } from '../errors.ts';
import { parseCapabilities } from '../kernel/probe.ts';

/** To start the network role under its own uid, with nothing left of ours. */
const TO_CHANGE_UID = ['CAP_SETUID', 'CAP_SETGID', 'CAP_SETPCAP'];
/** To see what processes of another uid run and hold open; either of the last two opens their directories. */
const TO_IDENTIFY = ['CAP_SYS_PTRACE'];
const TO_LIST = ['CAP_DAC_READ_SEARCH', 'CAP_DAC_OVERRIDE'];

/**
 * Looks whether the sidecar can do what it was asked to, before it serves anybody.
 * @throws CastellanError `privilege_missing`
 */
export function requireSidecarPrivileges(
  { uid, pid, initPid }: Surroundings,
  identity: BinaryIdentity,
): void {
  const held = parseCapabilities(readFileSync('/proc/self/status', 'utf8'));
  const missing = (uid === 0 ? TO_CHANGE_UID : []).filter((name) => !held.includes(name));
  if (missing.length > 0)
    throw refused(
      `the network role cannot get its own uid: ${missing.join(', ')} is missing`,
      missing.join(', '),
      `add ${missing.join(', ')} to the container, or run it as the network role’s own uid`,
    );
  if (identity !== 'sidecar') return;
  const unseen = TO_IDENTIFY.filter((name) => !held.includes(name));
  if (!TO_LIST.some((name) => held.includes(name))) unseen.push('CAP_DAC_READ_SEARCH');
  if (unseen.length > 0)
    throw refused(
      `the sidecar cannot tell which program asks: ${unseen.join(', ')} is missing`,
      unseen.join(', '),
      `run its container as root with ${unseen.join(', ')}, or choose another --binary-identity`,
    );
  if (pid === 1 || initPid === 1)
    throw refused(
      'the sidecar cannot tell which program asks: the pod does not share its process namespace',
      'shareProcessNamespace',
      'set shareProcessNamespace: true in the pod, or choose another --binary-identity',
    );
}

function refused(message: string, object: string, remedy: string): CastellanError {
  return new CastellanError('privilege_missing', message, { step: 'privileges', object, remedy });
}
