/** Every parser of castellan's own, and what has to hold for it. */
import type { Target } from './target.ts';
import { ACCEPT_TARGETS } from './targets/accept.ts';
import { ADMISSION_TARGETS } from './targets/admission.ts';
import { AUDIT_TARGETS } from './targets/audit.ts';
import { DECISION_TARGETS } from './targets/decision.ts';
import { INSPECT_TARGETS } from './targets/inspect.ts';
import { POLICY_TARGETS } from './targets/policy.ts';
import { PROTOCOL_TARGETS } from './targets/protocol.ts';
import { SMUGGLING_TARGETS } from './targets/smuggling.ts';
import { TEXT_TARGETS } from './targets/texts.ts';
import { TLS_TARGETS } from './targets/tls.ts';
import { WIRE_TARGETS } from './targets/wire.ts';

export const TARGETS: readonly Target[] = [
  ...PROTOCOL_TARGETS,
  ...TLS_TARGETS,
  ...ACCEPT_TARGETS,
  ...SMUGGLING_TARGETS,
  ...INSPECT_TARGETS,
  ...POLICY_TARGETS,
  ...DECISION_TARGETS,
  ...WIRE_TARGETS,
  ...TEXT_TARGETS,
  ...AUDIT_TARGETS,
  ...ADMISSION_TARGETS,
];
