import type { RequestLine } from '../../egress/stages.ts';
import type { AuditFact } from '../event.ts';
import { type AuditContext, CLASSES, type EventParts, type Stamp } from './base.ts';
import { actorOf, flowOf, requestUrl, ruleOf, spanOf, trafficOf } from './objects.ts';

type RequestFact = Extract<
  AuditFact,
  {
    kind:
      | 'request-violation'
      | 'message-allowed'
      | 'connection-denied'
      | 'connection-failed'
      | 'connection-closed';
  }
>;

/** What the proxy itself answers to a request that the policy does not allow. */
const DENIED_STATUS = 403;

/**
 * HTTP Activity [4002]: the outcome of one parsed request. That a connection was opened for it is Network Activity, so
 * that counting this class counts requests.
 */
export function httpActivity(
  fact: RequestFact,
  http: RequestLine,
  stamp: Stamp,
  context: AuditContext,
): EventParts {
  const { intent, rule } = fact;
  const { method } = http;
  const known = knownMethod(method);
  const url = requestUrl(intent, http);
  const body = {
    ...flowOf(intent, 'address' in fact ? fact.address : undefined),
    actor: actorOf(fact.identity, context),
    http_request: { http_method: known && method, url },
  };
  const unmapped = {
    adapter: intent.adapter,
    http_method: known === undefined ? method : undefined,
    inspected: http.inspected,
    credentials: 'credentials' in fact ? fact.credentials : undefined,
  };
  const activity = known ?? method;
  const parts = { class: 'http', activity, correlation: intent.connectionId, unmapped } as const;
  const target = `${method} ${http.scheme}://${intent.host}:${intent.port}${url.path}`;
  switch (fact.kind) {
    case 'request-violation':
      return {
        ...parts,
        severity: 2,
        success: true,
        action: 'observed',
        code: fact.reason,
        detail: fact.detail,
        message: `${target} passes only because its endpoint is in audit: ${fact.reason}`,
        body: { ...body, firewall_rule: ruleOf(rule) },
      };
    case 'message-allowed':
      return {
        ...parts,
        severity: 1,
        success: true,
        action: 'allowed',
        message: `${target}: a message allowed by ${rule}`,
        body: { ...body, firewall_rule: ruleOf(rule) },
      };
    case 'connection-denied':
      return {
        ...parts,
        severity: 3,
        success: false,
        action: 'denied',
        code: fact.reason,
        detail: fact.detail,
        message: `${target} denied: ${fact.reason}`,
        body: { ...body, http_response: { code: DENIED_STATUS } },
        unmapped: { ...unmapped, nearest_rule: rule },
      };
    case 'connection-failed':
      return {
        ...parts,
        severity: 2,
        success: false,
        detail: fact.detail,
        message: `${target} failed`,
        body: { ...body, firewall_rule: ruleOf(rule) },
      };
    case 'connection-closed': {
      const { bytesIn, bytesOut, durationMs, httpStatus } = fact;
      return {
        ...parts,
        severity: 1,
        success: true,
        action: 'allowed',
        message: `${target} answered ${httpStatus}`,
        body: {
          ...body,
          firewall_rule: ruleOf(rule),
          http_response: httpStatus === undefined ? undefined : { code: httpStatus },
          traffic: trafficOf(bytesIn, bytesOut),
          ...spanOf(durationMs, stamp),
        },
      };
    }
  }
}

/** The number of a method's activity. The schema's methods are a closed list: another one belongs in `unmapped`. */
export function knownMethod(method: string): number | undefined {
  const known = Object.entries(CLASSES.http.activities).find(([, name]) => name.toUpperCase() === method);
  return known && Number(known[0]);
}
