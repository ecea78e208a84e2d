/** The record of one connection or request: what became of it, in the words of the audit. */
import type { AuditFact, Report } from '../audit/event.ts';
import type { DenyVerdict } from '../policy/verdict.ts';
import type { Grant, Identity, Intent, Outcome, Refusal } from './stages.ts';

export interface ConnectionRecord {
  refused(refusal: Refusal, identity: Identity | undefined, rule: string | undefined): void;
  /** `address` is undefined for a tunnel whose requests are dialled one by one. */
  allowed(grant: Grant, address: string | undefined, credentials?: ReadonlySet<string>): void;
  violated(grant: Grant, violation: DenyVerdict): void;
  /** `lost` is set where the policy has changed meanwhile, and ended it. */
  ended(outcome: Outcome, grant: Grant, address: string | undefined, lost: DenyVerdict | undefined): void;
}

/** Starts the clock of the connection. */
export function startRecord(intent: Intent, report: Report): ConnectionRecord {
  const began = performance.now();
  return {
    refused(refusal, identity, rule) {
      if (refusal.result === 'failed') {
        report({ kind: 'connection-failed', intent, identity, rule, detail: refusal.detail });
        return;
      }
      const { reason, detail, nearest } = refusal.verdict;
      report({ kind: 'connection-denied', intent, identity, reason, detail, rule: nearest });
    },
    allowed({ identity, verdict: { rule } }, address, credentials = new Set()) {
      const used = credentials.size === 0 ? undefined : { credentials: [...credentials] };
      report({ kind: 'connection-allowed', intent, identity, rule, address, ...used });
    },
    violated({ identity, verdict }, { reason, detail, nearest = verdict.rule }) {
      const { http } = intent;
      if (http !== undefined)
        report({
          kind: 'request-violation',
          intent: { ...intent, http },
          identity,
          reason,
          detail,
          rule: nearest,
        });
    },
    ended(outcome, { identity, verdict }, address, lost) {
      const { bytesOut, bytesIn, httpStatus } = outcome;
      const {
        result,
        reason = 'name_mismatch',
        detail = '',
      } = lost === undefined
        ? outcome
        : { ...lost, result: 'denied', detail: `the policy has changed: ${lost.detail}` };
      const { rule } = verdict;
      if (result === 'denied') report({ kind: 'connection-denied', intent, identity, reason, detail, rule });
      if (result === 'failed') report({ kind: 'connection-failed', intent, identity, rule, detail });
      const durationMs = performance.now() - began;
      const status = httpStatus === undefined ? undefined : { httpStatus };
      report({
        kind: 'connection-closed',
        intent,
        identity,
        rule,
        address,
        bytesOut,
        bytesIn,
        durationMs,
        ...status,
      });
    },
  };
}

/** As much as a text of a fact may have on its way to the log. */
const MAX_TEXT = 16 * 1024;

/** Facts without secrets in what the agent had a say in. */
export function redactingReport(report: Report, redact: (text: string) => string): Report {
  const clean = (text: string): string => redact(text).slice(0, MAX_TEXT);
  return (fact) => {
    const texts = Object.entries(fact).map(([key, value]) => [
      key,
      ['detail', 'message', 'name'].includes(key) && typeof value === 'string' ? clean(value) : value,
    ]);
    const copy = Object.fromEntries(texts) as AuditFact;
    report('intent' in copy ? ({ ...copy, intent: cleanIntent(copy.intent, clean) } as AuditFact) : copy);
  };
}

function cleanIntent(intent: Intent, clean: (text: string) => string): Intent {
  const { http } = intent;
  const host = clean(intent.host);
  return { ...intent, host, ...(http && { http: { ...http, path: clean(http.path) } }) };
}
