import type { AuditFact } from '../event.ts';
import type { EventParts } from './base.ts';
import { endpoint } from './objects.ts';

type DnsFact = Extract<AuditFact, { kind: 'dns-answered' | 'dns-refused' }>;

const RCODES: Readonly<Record<number, string>> = {
  0: 'NoError',
  1: 'FormError',
  2: 'ServError',
  3: 'NXDomain',
  4: 'NotImp',
  5: 'Refused',
};

/** DNS Activity [4003]: what the policy's resolver answered. */
export function dnsActivity(fact: DnsFact): EventParts {
  const refused = fact.kind === 'dns-refused';
  const rcode = refused ? fact.rcode : 0;
  const answers =
    refused || fact.address === undefined ? undefined : [{ rdata: fact.address, type: fact.type }];
  const queries = refused && fact.repeats !== undefined ? fact.repeats + 1 : undefined;
  return {
    class: 'dns',
    activity: 2,
    severity: refused ? 3 : 1,
    success: !refused,
    action: refused ? 'denied' : 'allowed',
    message: refused ? `${fact.type} ${fact.name} refused` : `${fact.type} ${fact.name} answered`,
    detail: refused ? 'no rule of the policy names it' : undefined,
    body: {
      query: { hostname: fact.name, type: fact.type, class: 'IN', opcode_id: 0, opcode: 'Query' },
      rcode_id: RCODES[rcode] === undefined ? 99 : rcode,
      rcode: RCODES[rcode] ?? `RCODE ${rcode}`,
      answers,
      src_endpoint: endpoint(fact.source),
      count: queries,
    },
  };
}
