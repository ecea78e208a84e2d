/** How an arrival is told that it goes no further: recorded first, then answered in the words of its client's protocol. */
import type { Decider } from '../policy/compile.ts';
import { localPort, POLICY_HOST } from '../policy/local-names.ts';
import { type Advisor, denialBody } from '../policy/reason.ts';
import type { DenyVerdict } from '../policy/verdict.ts';
import { decide, queryOf } from './decide/decide.ts';
import { plainShape, type Shape } from './inspect/shape.ts';
import type { ConnectionRecord } from './report.ts';
import type { Arrival, Decision, IdentityResult, Refusal } from './stages.ts';

export interface Refuser {
  refuse(refusal: Refusal): void;
  deny(verdict: DenyVerdict, shape?: Shape): void;
  /** For what is under way already. Undefined: it was not the policy that ended it. */
  revoke(verdict: DenyVerdict | undefined): void;
}

export interface RefuserOptions {
  readonly decider: Pick<Decider, 'decide'>;
  readonly takesProposals: boolean;
}

const POLICY_SERVICE = { host: POLICY_HOST, port: localPort(POLICY_HOST) ?? 0 };

export function createRefuser(
  arrival: Arrival,
  record: ConnectionRecord,
  identity: IdentityResult,
  decision: Decision,
  { decider, takesProposals }: RefuserOptions,
): Refuser {
  const { identity: who, verdict: decided } = decision.ok ? decision.grant : decision;
  const rule = decided.allow ? decided.rule : undefined;
  // Only who may go there is sent there.
  const advisor = (): Advisor | undefined => {
    const there = { intent: { ...arrival.intent, ...POLICY_SERVICE }, objection: undefined };
    return decide(decider, there, identity).ok ? { takesProposals } : undefined;
  };
  const answer = (verdict: DenyVerdict, shape: Shape) =>
    shape(denialBody(verdict, queryOf(arrival, identity), arrival.intent.http, advisor()));
  const deny = (verdict: DenyVerdict, shape: Shape = plainShape): void => {
    record.refused({ result: 'denied', verdict }, who, rule);
    const { status, body } = answer(verdict, shape);
    arrival.refuse(status, body);
  };
  return {
    deny,
    refuse(refusal) {
      if (refusal.result === 'denied') return void deny(refusal.verdict);
      record.refused(refusal, who, rule);
      const { host, port } = arrival.intent;
      const { error, detail, proxyStatus } = refusal;
      const told = proxyStatus === undefined ? undefined : { proxy_status: proxyStatus };
      arrival.refuse(refusal.status, { error, detail, host, port, ...told });
    },
    revoke(verdict) {
      if (verdict !== undefined) arrival.revoke(answer(verdict, plainShape).body);
    },
  };
}
