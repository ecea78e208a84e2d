import type { AuditFact } from '../event.ts';
import type { AuditContext, EventParts, Stamp } from './base.ts';
import { knownMethod } from './http-activity.ts';
import { actorOf, flowOf, integer, requestUrl, ruleOf, spanOf } from './objects.ts';

type ModelFact = Extract<AuditFact, { kind: 'model-called' }>;

/** API Activity [6003] with the profile ai_operation: one request to a model. What was said is not in it. */
export function modelActivity(fact: ModelFact, stamp: Stamp, context: AuditContext): EventParts {
  const { intent, provider, model, operation, route, httpStatus, detail, durationMs, rule } = fact;
  const { method } = intent.http;
  const known = knownMethod(method);
  const { src_endpoint, dst_endpoint, observables } = flowOf(intent);
  const answer = detail ?? `answered ${httpStatus ?? 'nothing'}`;
  return {
    class: 'api',
    activity: method === 'GET' ? 2 : 1,
    severity: detail === undefined ? 1 : 2,
    success: detail === undefined,
    detail,
    action: 'allowed',
    correlation: intent.connectionId,
    message: `${model} of ${provider} asked by ${operation}, route ${route}: ${answer}`,
    body: {
      src_endpoint,
      dst_endpoint,
      observables,
      actor: actorOf(fact.identity, context),
      api: { operation, service: { name: intent.host } },
      http_request: { http_method: known && method, url: requestUrl(intent, intent.http) },
      http_response: httpStatus === undefined ? undefined : { code: httpStatus },
      firewall_rule: ruleOf(rule),
      ai_model: { name: model, ai_provider: provider },
      message_context: { ...tokensOf(fact), service: { name: route } },
      ...spanOf(durationMs, stamp),
    },
    unmapped: { route, streamed: fact.streamed, http_method: known === undefined ? method : undefined },
  };
}

function tokensOf({ inputTokens, outputTokens }: ModelFact): object {
  const all =
    inputTokens === undefined || outputTokens === undefined ? undefined : inputTokens + outputTokens;
  return {
    prompt_tokens: inputTokens,
    completion_tokens: outputTokens,
    total_tokens: all === undefined ? undefined : integer(all),
  };
}
