import type { AuditFact } from '../event.ts';
import type { EventParts, Stamp } from './base.ts';
import { endpoint, integer, observables } from './objects.ts';

type DnsFact = Extract<AuditFact, { kind: 'dns-answered' | 'dns-refused' }>;

/** The schema's words for the codes of RFC 1035 and RFC 2136; the index is the code. */
const RCODES: readonly string[] = [
  'NoError',
  'FormError',
  'ServError',
  'NXDomain',
  'NotImp',
  'Refused',
  'YXDomain',
  'YXRRSet',
  'NXRRSet',
  'NotAuth',
  'NotZone',
  'DSOTYPENI',
];
const REFUSED = 5;

/** DNS Activity [4003]: what the policy's resolver answered. */
export function dnsActivity(fact: DnsFact, stamp: Stamp): EventParts {
  const { name, type, source, repeats } = fact;
  const rcode = fact.kind === 'dns-refused' ? fact.rcode : 0;
  const address = fact.kind === 'dns-answered' ? fact.address : undefined;
  const word = RCODES[rcode];
  const hostname = name || '.';
  const refused = rcode === REFUSED;
  const more = repeats === undefined ? '' : `, ${repeats} more times`;
  return {
    class: 'dns',
    activity: 2,
    severity: refused ? 3 : rcode === 0 ? 1 : 2,
    success: rcode === 0,
    action: rcode === 0 ? 'allowed' : 'denied',
    message: `${type} ${hostname} ${rcode === 0 ? 'answered' : refused ? 'refused' : 'failed'}${more}`,
    detail: refused ? 'no rule of the policy names it' : undefined,
    body: {
      query: { hostname, type, class: 'IN', opcode_id: 0, opcode: 'Query' },
      rcode_id: word === undefined ? 99 : rcode,
      rcode: word ?? `RCODE ${rcode}`,
      answers: address === undefined ? undefined : [{ rdata: address, type, class: 'IN' }],
      response_time: stamp.time,
      src_endpoint: endpoint(source),
      // The first of them has an event of its own.
      count: repeats === undefined ? undefined : integer(repeats),
      observables: observables({ name: 'query.hostname', type_id: 1, type: 'Hostname', value: hostname }),
    },
  };
}
