/** The record of one connection or request: what became of it, in the words of the audit. */
import type { AuditFact, Report } from '../audit/event.ts';
import { FACT_LIMITS } from '../policy/fact-limits.ts';
import type { RequestVerdict } from '../policy/judge.ts';
import type { RequestNames } from '../policy/request-names.ts';
import type { DenyVerdict } from '../policy/verdict.ts';
import type { Caller, Grant, Intent, Outcome, Refusal, Upstream } from './stages.ts';

export interface ConnectionRecord {
  refused(refusal: Refusal, identity: Caller | undefined, rule: string | undefined): void;
  /** `address` is undefined for a tunnel whose requests are dialled one by one. */
  allowed(
    grant: Grant,
    address: string | undefined,
    path: OriginPath,
    credentials?: ReadonlySet<string>,
  ): void;
  /** What the request was found to ask for. */
  read(names: RequestNames | undefined): void;
  /** The same of a message over a WebSocket, with what became of it. */
  asked(grant: Grant, names: RequestNames, verdict: RequestVerdict): void;
  violated(grant: Grant, violation: DenyVerdict): void;
  /** `lost` is set where the policy has changed meanwhile, and ended it. */
  ended(outcome: Outcome, grant: Grant, lost: DenyVerdict | undefined): void;
}

/** How an origin was reached and proved. */
export type OriginPath = Pick<Upstream, 'proxy' | 'tls'>;

/** Starts the clock of the connection. */
export function startRecord(arrived: Intent, report: Report): ConnectionRecord {
  const began = performance.now();
  let intent = arrived;
  let address: string | undefined;
  let used: ReadonlySet<string> = new Set();
  let told: readonly string[] = [];
  return {
    refused(refusal, identity, rule) {
      if (refusal.result === 'failed') {
        report({ kind: 'connection-failed', intent, identity, rule, detail: refusal.detail });
        return;
      }
      const { reason, detail, nearest } = refusal.verdict;
      report({ kind: 'connection-denied', intent, identity, reason, detail, rule: nearest });
    },
    allowed({ identity, verdict }, dialled, { proxy, tls }, credentials = new Set()) {
      // A proxy that is told the name chooses the address.
      address = proxy?.byHostName ? undefined : dialled;
      const via = { ...(proxy && { proxy: { host: proxy.host, port: proxy.port } }), ...(tls && { tls }) };
      used = credentials;
      told = [...credentials];
      const names = told.length === 0 ? undefined : { credentials: told };
      report({ kind: 'connection-allowed', intent, identity, rule: verdict.rule, address, ...via, ...names });
    },
    read(names) {
      const { http } = intent;
      if (http !== undefined && names !== undefined)
        intent = { ...intent, http: { ...http, inspected: names } };
    },
    asked({ identity, verdict: { rule: granted } }, names, verdict) {
      if (intent.http === undefined) return;
      const asking = { intent: { ...intent, http: { ...intent.http, inspected: names } }, identity };
      const refusal = verdict.allow ? verdict.violation : verdict;
      if (refusal === undefined) {
        report({ kind: 'message-allowed', ...asking, rule: verdict.allow ? verdict.rule : granted });
        return;
      }
      const { reason, detail, nearest: rule = granted } = refusal;
      const told = { ...asking, reason, detail, rule };
      report(verdict.allow ? { kind: 'request-violation', ...told } : { kind: 'connection-denied', ...told });
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
    ended(outcome, { identity, verdict }, lost) {
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
      // Messages over a WebSocket come after the record of its opening.
      const later = [...used].filter((name) => !told.includes(name));
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
        ...(later.length > 0 && { credentials: later }),
      });
    },
  };
}

/** Facts as the process role takes them, without secrets in what the agent or an origin had a say in. */
export function cleanReport(report: Report, redact: (text: string) => string): Report {
  const clean = (text: string): string => redact(text).slice(0, FACT_LIMITS.text);
  // Cut after it: what stands for a secret may be longer than the secret.
  const cleanName = (text: string): string => redact(text).slice(0, FACT_LIMITS.host);
  return (fact) => {
    const texts = Object.entries(fact).map(([key, value]) => [
      key,
      typeof value !== 'string' || !['detail', 'message', 'name'].includes(key)
        ? value
        : key === 'name'
          ? cleanName(value)
          : clean(value),
    ]);
    const copy = Object.fromEntries(texts) as AuditFact;
    report(
      'intent' in copy
        ? ({ ...copy, intent: cleanIntent(copy.intent, clean, cleanName) } as AuditFact)
        : copy,
    );
  };
}

function cleanIntent(
  intent: Intent,
  clean: (text: string) => string,
  cleanName: (text: string) => string,
): Intent {
  const { http } = intent;
  const host = cleanName(intent.host);
  return { ...intent, host, ...(http && { http: { ...http, path: clean(http.path) } }) };
}
