/** Rules that end at a time: when one does, the policy in force is compiled anew, and every live connection is judged again. */
import type { Report } from '../audit/event.ts';
import { compilePolicy, type Decider } from '../policy/compile.ts';
import type { NetworkRule } from '../policy/document.ts';
import { FACT_LIMITS } from '../policy/fact-limits.ts';

export interface Expiry extends Disposable {
  /** From now on these rules are in force; gives what decides by them at this moment. */
  follow(rules: readonly NetworkRule[]): Decider;
}

/** Timers do not know that the machine slept or its clock was set: no rule outlives its end by more. */
const MAX_WAIT_MS = 30_000;

/** `replace` puts a decider in force and gives how many connections that ended. */
export function watchExpiry(replace: (decider: Decider) => number, report: Report): Expiry {
  let rules: readonly NetworkRule[] = [];
  let since = 0;
  let timer: NodeJS.Timeout | undefined;
  const compile = (): Decider => {
    clearTimeout(timer);
    since = Date.now();
    const ends = rules.flatMap(({ expires }) => (expires !== undefined && expires > since ? expires : []));
    if (ends.length > 0)
      timer = setTimeout(check, Math.min(Math.max(Math.min(...ends) - since, 1), MAX_WAIT_MS)).unref();
    return compilePolicy(rules, since);
  };
  const check = (): void => {
    const before = since;
    const decider = compile();
    const ended = rules.filter(({ expires = 0 }) => expires > before && expires <= since);
    if (ended.length === 0) return;
    const closed = replace(decider);
    report({
      kind: 'rules-expired',
      rules: ended.slice(0, FACT_LIMITS.expiredRules).map(({ name }) => name),
      closed,
    });
  };
  return {
    follow(next) {
      rules = next;
      return compile();
    },
    [Symbol.dispose]: () => clearTimeout(timer),
  };
}
