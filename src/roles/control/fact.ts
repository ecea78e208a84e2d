/** The facts of the process role's side, and no others: what comes from the agent's container must not forge what the sidecar saw. */
import * as v from 'valibot';
import { CONTROL_TABLE, CONTROLS } from '../../audit/controls.ts';
import { DETACH_REASONS, FORWARD_ENDS, FORWARD_REFUSALS, SESSION_KINDS } from '../../audit/event.ts';
import { MAX_ID } from '../../lib/id.ts';
import { FACT_LIMITS } from '../../policy/fact-limits.ts';
import { count, text } from '../atoms.ts';
import { duration } from '../parse.ts';
import type { ProcessFact } from './message.ts';

/** Far more than a record shows of a command. */
const MAX_ARGUMENTS = 256;
const MAX_ARGUMENT = 4096;
/** Of all of them together: twice what a record's command line is made of. */
const MAX_ARGUMENT_TEXT = 16 * 1024;

const pid = v.pipe(count, v.maxValue(2 ** 31 - 1));
const id = v.pipe(count, v.maxValue(MAX_ID));
const word = v.pipe(v.string(), v.maxLength(128));
const exitCode = v.pipe(count, v.maxValue(255));
const peer = v.strictObject({ pid, uid: count, gid: count });
const session = { sessionId: word, peer };
const control = v.picklist(CONTROLS.filter((name) => CONTROL_TABLE[name]['process-only'] !== undefined));
const launched = v.strictObject({
  pid,
  argv: v.pipe(v.array(v.pipe(v.string(), v.maxLength(MAX_ARGUMENT))), v.maxLength(MAX_ARGUMENTS)),
  uid: id,
  gid: count,
  user: word,
  kind: v.picklist(SESSION_KINDS),
  sessionId: word,
});

export const processFact = v.variant('kind', [
  v.strictObject({ kind: v.literal('supervisor-started'), mode: v.literal('process-only'), pid }),
  v.strictObject({ kind: v.literal('supervisor-ready'), sshSocket: text, durationMs: duration }),
  v.strictObject({ kind: v.literal('supervisor-stopped'), exitCode, reason: text }),
  v.strictObject({ kind: v.literal('supervisor-failed'), code: word, step: text, message: text }),
  v.strictObject({ kind: v.literal('identity-resolved'), user: word, uid: id, gid: count, source: text }),
  v.strictObject({
    kind: v.literal('path-prepared'),
    path: text,
    action: v.picklist(['created', 'kept']),
  }),
  v.strictObject({ kind: v.literal('path-skipped'), path: text, reason: text }),
  v.strictObject({ kind: v.literal('control-applied'), control, detail: text }),
  v.strictObject({ kind: v.literal('control-degraded'), control, reason: text, remedy: text }),
  v.strictObject({ kind: v.literal('process-launched'), process: launched }),
  v.strictObject({
    kind: v.literal('process-exited'),
    process: launched,
    exitCode,
    signal: v.optional(v.pipe(v.string(), v.regex(/^SIG[A-Z0-9]{1,12}$/))),
    durationMs: duration,
  }),
  v.strictObject({
    kind: v.literal('launch-refused'),
    argv: launched.entries.argv,
    sessionId: word,
    step: text,
    errno: word,
    object: v.optional(text),
  }),
  v.strictObject({ kind: v.literal('ssh-listening'), path: text }),
  v.strictObject({ kind: v.literal('ssh-opened'), ...session }),
  v.strictObject({ kind: v.literal('ssh-closed'), ...session, durationMs: duration }),
  v.strictObject({ kind: v.literal('ssh-attached'), ...session, readOnly: v.boolean() }),
  v.strictObject({
    kind: v.literal('ssh-detached'),
    ...session,
    reason: v.picklist(DETACH_REASONS),
    durationMs: duration,
  }),
  v.strictObject({ kind: v.literal('ssh-refused'), ...session, reason: text }),
  v.strictObject({ kind: v.literal('ssh-forward-opened'), ...session, target: text }),
  v.strictObject({
    kind: v.literal('ssh-forward-closed'),
    ...session,
    target: text,
    reason: v.picklist(FORWARD_ENDS),
    bytesIn: count,
    bytesOut: count,
    durationMs: duration,
  }),
  v.strictObject({
    kind: v.literal('ssh-forward-refused'),
    ...session,
    target: text,
    why: v.picklist(FORWARD_REFUSALS),
    reason: text,
  }),
  v.strictObject({ kind: v.literal('internal-error'), where: text, message: text }),
]);

/** The fact with its texts and lists cut to what the sidecar takes: what somebody typed must not end the wire. */
export function fittedFact(fact: ProcessFact): ProcessFact {
  return fitted(fact, FACT_LIMITS.text) as ProcessFact;
}

function fitted(value: unknown, length: number): unknown {
  if (typeof value === 'string') return value.slice(0, length);
  if (Array.isArray(value)) return fittedArguments(value);
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(Object.entries(value).map(([key, each]) => [key, fitted(each, length)]));
}

function fittedArguments(argv: readonly string[]): string[] {
  let left = MAX_ARGUMENT_TEXT;
  return argv.slice(0, MAX_ARGUMENTS).map((argument) => {
    const cut = argument.slice(0, Math.min(MAX_ARGUMENT, left));
    left -= cut.length;
    return cut;
  });
}

const KINDS: ReadonlySet<string> = new Set(processFact.options.map(({ entries }) => entries.kind.literal));

/** Whether the process role may have it recorded. */
export function isProcessFact(fact: { readonly kind: string }): fact is ProcessFact {
  return KINDS.has(fact.kind);
}
