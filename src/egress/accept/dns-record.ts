import type { AuditFact, Report } from '../../audit/event.ts';
import type { EgressLimits } from '../limits.ts';

export type DnsFact = Extract<AuditFact, { readonly kind: 'dns-answered' | 'dns-refused' }>;

export interface DnsRecord {
  add(fact: DnsFact): void;
  /** Reports what is still only counted. */
  flush(): void;
}

/** Reports the first of the queries alike at once, and the others as a count when the time is over. */
export function createDnsRecord(
  report: Report,
  { dnsFactMs, dnsFacts }: Pick<EgressLimits, 'dnsFactMs' | 'dnsFacts'>,
): DnsRecord {
  const seen = new Map<string, { readonly fact: DnsFact; repeats: number }>();
  let timer: NodeJS.Timeout | undefined;
  const flush = (): void => {
    clearTimeout(timer);
    timer = undefined;
    for (const { fact, repeats } of seen.values()) if (repeats > 0) report({ ...fact, repeats });
    seen.clear();
  };
  return {
    flush,
    add(fact) {
      timer ??= setTimeout(flush, dnsFactMs).unref();
      // One more key for whatever comes when the others are taken.
      const key = `${fact.kind} ${fact.type} ${fact.name}`;
      const full = seen.size >= dnsFacts;
      const entry = seen.get(key) ?? (full ? seen.get('') : undefined);
      if (entry !== undefined) entry.repeats += 1;
      else {
        seen.set(full ? '' : key, { fact, repeats: 0 });
        report(fact);
      }
    },
  };
}
