import type { AuditFact } from '../event.ts';
import { type AuditContext, CLASSES, type EventParts } from './base.ts';
import { actorOf, flowOf, ruleOf } from './objects.ts';

type RequestFact = Extract<
  AuditFact,
  { kind: 'connection-denied' | 'connection-failed' | 'connection-closed' }
>;

/** Status of the answers the proxy gives itself; see egress/relay and policy/reason. */
const DENIED_STATUS = 403;

/** HTTP Activity [4002]: one parsed request and its answer. */
export function httpActivity(
  fact: RequestFact,
  http: { readonly method: string; readonly path: string },
  context: AuditContext,
): EventParts {
  const { intent } = fact;
  const { method } = http;
  const known = Object.entries(CLASSES.http.activities).find(([, name]) => name.toUpperCase() === method);
  const url = { scheme: 'http', hostname: intent.host, port: intent.port, path: http.path };
  const status =
    fact.kind === 'connection-denied'
      ? DENIED_STATUS
      : fact.kind === 'connection-closed'
        ? fact.httpStatus
        : undefined;
  const address = fact.kind === 'connection-closed' ? fact.address : undefined;
  const parts = {
    class: 'http',
    activity: known === undefined ? method : Number(known[0]),
    correlation: intent.connectionId,
    body: {
      ...flowOf(intent, address),
      actor: actorOf(fact.identity, context),
      firewall_rule: ruleOf(fact.rule),
      // The schema's methods are a closed list: another one stays in `unmapped`.
      http_request: { http_method: known === undefined ? undefined : method, url },
      http_response: status === undefined ? undefined : { code: status },
    },
    unmapped: { adapter: intent.adapter, ...(known === undefined && { http_method: method }) },
  } as const;
  const target = `${method} http://${intent.host}:${intent.port}${http.path}`;
  switch (fact.kind) {
    case 'connection-denied':
      return {
        ...parts,
        severity: 3,
        success: false,
        action: 'denied',
        detail: fact.detail,
        message: `${target} denied: ${fact.reason}`,
        unmapped: { ...parts.unmapped, reason: fact.reason },
      };
    case 'connection-failed':
      return { ...parts, severity: 2, success: false, detail: fact.detail, message: `${target} failed` };
    case 'connection-closed': {
      const { bytesIn, bytesOut, durationMs } = fact;
      const traffic = { bytes_in: bytesIn, bytes_out: bytesOut, bytes: bytesIn + bytesOut };
      return {
        ...parts,
        severity: 1,
        success: true,
        action: 'allowed',
        message: `${target} ${status ?? ''}`.trimEnd(),
        body: { ...parts.body, traffic, duration: Math.round(durationMs) },
      };
    }
  }
}
