/**
 * How much of the control wire each message may be. The process role has the agent's uid and is taken for lost to it: whatever it says
 * is bounded in size, in number, in rate and in phase (phase.ts), so that the sidecar's memory and log are not the agent's to fill.
 */
import type { Phase, PhaseTable } from '../phase.ts';
import type { FromProcessRole, FromSidecar } from './message.ts';

/** What limits how often a message comes. `paced`: by the budget of facts; `free`: its sender is the more trusted end. */
export type Times = 'once' | 'once for each question' | 'once for each policy' | 'paced' | 'free';

export interface Bound {
  /** Of its frame, without the length. */
  readonly bytes: number;
  readonly times: Times;
}

const KIB = 1024;

/** Names, numbers and a token. Whoever connects may send so much before anything is known of it, in a container of little memory. */
export const MAX_GREETING_BYTES = 4 * KIB;
/** A message without fields. */
const WORD_BYTES = 256;
/**
 * Paths are of a policy's text (MAX_POLICY_BYTES), each once; JSON writes a control character in six bytes, and YAML in two. Beside them
 * there are placeholders and one certificate.
 */
const POLICY_BYTES = 4 * KIB * KIB;
/** Sixty thousand targets of the usual length; those that find no room are left out (fittedTargets). */
const TARGETS_BYTES = 4 * KIB * KIB;
/** Seventeen programs with sixty-four ancestors, of the usual length; a longer one is an unknown identity (fittedAnswer). */
const ANSWER_BYTES = 256 * KIB;
/** Three texts of FACT_LIMITS.text, all of whose characters JSON has to write in six bytes, and names. */
const FACT_BYTES = 320 * KIB;
/** A reason, which is cut, in the same way. */
const ENDED_BYTES = 8 * KIB;

export const FROM_PROCESS_ROLE_BOUNDS = {
  hello: { bytes: MAX_GREETING_BYTES, times: 'once' },
  'policy-applied': { bytes: TARGETS_BYTES, times: 'once for each policy' },
  answer: { bytes: ANSWER_BYTES, times: 'once for each question' },
  fact: { bytes: FACT_BYTES, times: 'paced' },
  ready: { bytes: WORD_BYTES, times: 'once' },
  ended: { bytes: ENDED_BYTES, times: 'once' },
} as const satisfies Readonly<Record<FromProcessRole['type'], Bound>>;

export const FROM_SIDECAR_BOUNDS = {
  hello: { bytes: MAX_GREETING_BYTES, times: 'once' },
  setup: { bytes: POLICY_BYTES, times: 'once' },
  policy: { bytes: POLICY_BYTES, times: 'free' },
  identify: { bytes: KIB, times: 'free' },
  begin: { bytes: WORD_BYTES, times: 'once' },
  stop: { bytes: WORD_BYTES, times: 'free' },
  recorded: { bytes: WORD_BYTES, times: 'once' },
} as const satisfies Readonly<Record<FromSidecar['type'], Bound>>;

/** No message of either end is larger. */
export const MAX_CONTROL_FRAME_BYTES = Math.max(POLICY_BYTES, TARGETS_BYTES);

/** The size of the largest message that may come in a phase, of those that somebody waits for. */
export function largestFrame<Type extends string>(
  bounds: Readonly<Record<Type, Bound>>,
  table: PhaseTable<Type>,
  phase: Phase,
  isDue: (type: Type) => boolean = () => true,
): number {
  const due = (Object.keys(table[phase]) as Type[]).filter(isDue);
  return Math.max(0, ...due.map((type) => bounds[type].bytes));
}

/**
 * Of facts, as long as they come: what the log grows by. Some 1200 records of the usual kind a second, which is 300 sessions by SSH from
 * beginning to end: more than one process role can launch.
 */
export const FACT_BYTES_PER_SECOND = 2 * KIB * KIB;
/** All sessions that there can be (64 connections, 32 channels each) end at once, with two records each. */
export const FACT_BURST_BYTES = 8 * KIB * KIB;
/** What a record has beside the fact's own words. */
export const RECORD_BYTES = 1536;
/**
 * Queued by the process role, from which on it launches nothing. Answers and the end come after what is queued here and in the socket, and have to
 * come within their deadlines.
 */
export const CONGESTED_BYTES = 64 * KIB;
