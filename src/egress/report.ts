/** The record of one connection or request: what became of it, in the words of the audit. */
import type { Report } from '../audit/event.ts';
import type { Grant, Identity, Intent, Outcome, Refusal } from './stages.ts';

export interface ConnectionRecord {
  refused(refusal: Refusal, identity: Identity | undefined, rule: string | undefined): void;
  allowed(grant: Grant, address: string): void;
  ended(outcome: Outcome, grant: Grant, address: string): void;
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
    allowed({ identity, verdict }, address) {
      report({ kind: 'connection-allowed', intent, identity, rule: verdict.rule, address });
    },
    ended({ result, bytesOut, bytesIn, detail = '', httpStatus }, { identity, verdict }, address) {
      const { rule } = verdict;
      if (result === 'denied')
        report({ kind: 'connection-denied', intent, identity, reason: 'name_mismatch', detail, rule });
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
