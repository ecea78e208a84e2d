/** Every parser of castellan's own, and what has to hold for it. */
import type { Target } from './target.ts';
import { DECISION_TARGETS } from './targets/decision.ts';
import { PROTOCOL_TARGETS } from './targets/protocol.ts';
import { TLS_TARGETS } from './targets/tls.ts';

export const TARGETS: readonly Target[] = [...DECISION_TARGETS, ...PROTOCOL_TARGETS, ...TLS_TARGETS];
