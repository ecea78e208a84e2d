/**
 * What may come over the wire, checked field by field. From the network role only facts of its own side are taken:
 * it parses hostile bytes, and once taken over it must not be able to write the process role's part of the record.
 */
import { isIP } from 'node:net';
import * as v from 'valibot';
import { PROPOSAL_STATES } from '../audit/event.ts';
import { SECRET_FILE_NAMES } from '../config/secret-files.ts';
import { MAX_PROXY_EXCEPTIONS } from '../config/upstream-proxy.ts';
import type { Identity } from '../egress/stages.ts';
import { ANY_PROGRAM } from '../policy/any-program.ts';
import { INSPECTED_PROTOCOLS } from '../policy/document.ts';
import { FACT_LIMITS } from '../policy/fact-limits.ts';
import { DENY_REASONS } from '../policy/verdict.ts';
import { atMost, count, host, limitedText, operationType, path, port, sha256, text } from './atoms.ts';
import {
  FATAL_CODES,
  MAX_HANDED_OVER,
  type ToNetworkRole,
  type ToProcessRole,
  WIRE_VERSION,
} from './message.ts';
import { policyRules } from './parse-policy.ts';

const address = v.pipe(
  v.string(),
  v.check((value) => isIP(value) !== 0, 'not an IP address'),
);
const figure = v.pipe(v.number(), v.finite(), v.minValue(0));
export const duration = figure;
/** Of a descriptor in the row that was handed over. */
const place = v.pipe(count, v.maxValue(MAX_HANDED_OVER - 1));

export const flow = v.strictObject({
  family: v.picklist([4, 6]),
  localAddress: address,
  localPort: port,
  remoteAddress: address,
  remotePort: port,
});

const holder = {
  pid: v.pipe(count, v.minValue(1)),
  startTime: v.pipe(v.string(), v.regex(/^\d{1,20}$/)),
  uid: count,
  executable: path,
  sha256,
  ancestors: atMost(FACT_LIMITS.ancestors, path),
  ancestorHashes: v.array(v.pipe(v.string(), v.regex(/^(?:[0-9a-f]{64})?$/))),
};
/** One too few would leave an ancestor without the mark that it is not trusted. */
const isAHashEach = ({ ancestors, ancestorHashes }: Pick<Identity, 'ancestors' | 'ancestorHashes'>) =>
  ancestors.length === ancestorHashes.length;
const heir = v.pipe(
  v.strictObject(holder),
  v.check((each) => isAHashEach(each), 'not a hash each'),
);
const identity = v.pipe(
  v.strictObject({ ...holder, heirs: v.exactOptional(atMost(FACT_LIMITS.heirs, heir)) }),
  v.check((each) => isAHashEach(each), 'not a hash each'),
);

/** Also where nobody looks which program asks: said by the sidecar alone. */
const caller = v.union([v.literal(ANY_PROGRAM), identity]);
const anyResult = v.strictObject({ ok: v.literal(true), identity: v.literal(ANY_PROGRAM) });

/** What a look at processes finds. */
export const identityResult = v.variant('ok', [
  v.strictObject({ ok: v.literal(true), identity }),
  v.strictObject({ ok: v.literal(false), reason: text }),
]);

const name = limitedText(FACT_LIMITS.name);
const names = <Item extends v.GenericSchema>(item: Item) => atMost(FACT_LIMITS.names, item);
const requestNames = v.strictObject({
  protocol: v.picklist(INSPECTED_PROTOCOLS),
  operations: v.exactOptional(
    names(
      v.strictObject({
        type: operationType,
        name,
        fields: names(name),
      }),
    ),
  ),
  calls: v.exactOptional(names(v.strictObject({ method: name, tool: v.exactOptional(name) }))),
  text: v.exactOptional(v.literal(true)),
  partial: v.exactOptional(v.literal(true)),
});

const requestLine = v.strictObject({
  method: limitedText(FACT_LIMITS.method),
  path: text,
  scheme: v.picklist(['http', 'https']),
  inspected: v.exactOptional(requestNames),
});

const connection = {
  connectionId: v.pipe(v.string(), v.regex(/^[0-9a-f-]{1,64}(\.\d{1,15})?$/)),
  adapter: v.picklist(['connect', 'forward', 'transparent-tls', 'transparent-http', 'transparent-dns']),
  host,
  port,
  flow,
  startedAt: duration,
};
const intent = v.strictObject({ ...connection, http: v.exactOptional(requestLine) });

const denyReason = v.picklist(DENY_REASONS);

const shortText = limitedText(FACT_LIMITS.tlsText);
const tlsFacts = v.strictObject({
  version: shortText,
  cipher: shortText,
  serverName: v.optional(host),
  isResumed: v.boolean(),
  issuer: v.optional(shortText),
  serialNumber: v.optional(shortText),
});
const variable = v.pipe(limitedText(FACT_LIMITS.credentialName), v.regex(/^[A-Za-z_][A-Za-z0-9_]*$/));
const usedCredentials = v.exactOptional(atMost(FACT_LIMITS.credentials, variable));
/** Characters of placeholders only: they become environment. */
const placeholder = v.pipe(limitedText(FACT_LIMITS.placeholder), v.regex(/^[\w.~:-]+$/));
export const placeholders = v.pipe(
  v.record(variable, placeholder),
  v.check((all) => Object.keys(all).length <= FACT_LIMITS.credentials, 'too many placeholders'),
);

const rule = v.optional(text);
const word = limitedText(FACT_LIMITS.modelWord);
/** OCSF's integer_t. */
const tokens = v.pipe(count, v.maxValue(2 ** 31 - 1));
const lines = atMost(FACT_LIMITS.proposalLines, text);
const socketAddress = v.strictObject({ address, port });
const dns = {
  name: host,
  type: v.pipe(v.string(), v.maxLength(32)),
  source: socketAddress,
  repeats: v.exactOptional(count),
};

/** The facts of the network side, and no others. */
const networkFact = v.variant('kind', [
  v.strictObject({
    kind: v.literal('connection-allowed'),
    intent,
    identity: caller,
    rule: text,
    address: v.optional(address),
    proxy: v.exactOptional(v.strictObject({ host, port })),
    tls: v.exactOptional(tlsFacts),
    credentials: usedCredentials,
  }),
  v.strictObject({
    kind: v.literal('message-allowed'),
    intent: v.strictObject({ ...connection, http: requestLine }),
    identity: caller,
    rule: text,
  }),
  v.strictObject({
    kind: v.literal('request-violation'),
    intent: v.strictObject({ ...connection, http: requestLine }),
    identity: caller,
    reason: denyReason,
    detail: text,
    rule: text,
  }),
  v.strictObject({
    kind: v.literal('connection-denied'),
    intent,
    identity: v.optional(caller),
    reason: denyReason,
    detail: text,
    rule,
  }),
  v.strictObject({
    kind: v.literal('connection-failed'),
    intent,
    identity: v.optional(caller),
    rule,
    detail: text,
  }),
  v.strictObject({
    kind: v.literal('connection-closed'),
    intent,
    identity: caller,
    rule: text,
    address: v.optional(address),
    bytesOut: count,
    bytesIn: count,
    durationMs: duration,
    httpStatus: v.exactOptional(v.pipe(count, v.maxValue(999))),
    credentials: usedCredentials,
  }),
  v.strictObject({
    kind: v.literal('model-called'),
    intent: v.strictObject({ ...connection, http: requestLine }),
    identity: caller,
    rule: text,
    route: word,
    provider: word,
    model: word,
    operation: word,
    streamed: v.boolean(),
    durationMs: duration,
    httpStatus: v.exactOptional(v.pipe(count, v.maxValue(999))),
    detail: v.exactOptional(text),
    inputTokens: v.exactOptional(tokens),
    outputTokens: v.exactOptional(tokens),
  }),
  v.strictObject({
    kind: v.literal('policy-proposal'),
    state: v.picklist(PROPOSAL_STATES),
    intent,
    identity: caller,
    id: v.pipe(v.string(), v.uuid()),
    ruleName: word,
    summary: limitedText(FACT_LIMITS.proposalSummary),
    yaml: text,
    grants: lines,
    notes: lines,
  }),
  v.strictObject({
    kind: v.literal('denials-counted'),
    since: duration,
    total: count,
    unlisted: count,
    denials: atMost(
      FACT_LIMITS.denials,
      v.strictObject({
        host,
        port,
        binary: v.optional(path),
        reason: denyReason,
        count,
        firstSeen: duration,
        lastSeen: duration,
        requests: atMost(FACT_LIMITS.deniedRequests, limitedText(FACT_LIMITS.deniedRequest)),
      }),
    ),
  }),
  v.strictObject({ kind: v.literal('dns-answered'), ...dns, address: v.optional(address) }),
  v.strictObject({ kind: v.literal('dns-refused'), ...dns, rcode: v.pipe(count, v.maxValue(15)) }),
  v.strictObject({
    kind: v.literal('bypass-refused'),
    protocol: v.pipe(count, v.maxValue(255)),
    source: socketAddress,
    destination: socketAddress,
    uid: v.optional(count),
  }),
  v.strictObject({
    kind: v.literal('rules-expired'),
    rules: atMost(FACT_LIMITS.expiredRules, text),
    closed: count,
  }),
  v.strictObject({ kind: v.literal('internal-error'), where: text, message: text }),
]);

const figures = v.strictObject({
  openDescriptors: v.exactOptional(figure),
  ...v.entriesFromList(
    [
      ...(['cpuSeconds', 'residentBytes', 'heapBytes', 'lagP99Seconds', 'lagMaxSeconds'] as const),
      ...(['clients', 'splicedTunnels', 'liveArriving', 'liveUnread', 'liveOpened', 'liveRequests'] as const),
      ...(['lookupsRunning', 'lookupsWaiting', 'namesRemembered', 'identificationsWaiting'] as const),
    ],
    figure,
  ),
});

const toProcessRole = v.variant('type', [
  v.strictObject({ type: v.literal('hello'), version: count, pid: count }),
  v.strictObject({
    type: v.literal('ready'),
    authority: v.optional(text),
    placeholders: v.optional(placeholders),
  }),
  v.strictObject({ type: v.literal('policy-applied'), generation: count, closed: count }),
  v.strictObject({ type: v.literal('identify'), id: count, flow }),
  v.strictObject({ type: v.literal('fact'), fact: networkFact }),
  v.strictObject({ type: v.literal('figures'), id: count, figures }),
  v.strictObject({
    type: v.literal('fatal'),
    message: text,
    code: v.exactOptional(v.picklist(FATAL_CODES)),
  }),
  v.strictObject({ type: v.literal('stopped') }),
]);

const upstreamProxy = v.strictObject({
  scheme: v.picklist(['http', 'https']),
  host,
  port,
  exceptions: atMost(
    MAX_PROXY_EXCEPTIONS,
    v.strictObject({
      kind: v.picklist(['any', 'domain', 'subdomains', 'block']),
      value: host,
      port: v.optional(port),
    }),
  ),
  byHostName: v.boolean(),
});

const places = atMost(8, place);
const policyUpdate = { generation: count, rules: policyRules };
const toNetworkRole = v.variant('type', [
  v.strictObject({
    type: v.literal('start'),
    version: v.literal(WIRE_VERSION),
    listeners: v.strictObject({
      proxy: places,
      transparent: places,
      dnsUdp: places,
      dnsTcp: places,
      nflog: v.exactOptional(place),
    }),
    secrets: v.strictObject(v.entriesFromList(SECRET_FILE_NAMES, v.exactOptional(place))),
    upstreamProxy: v.exactOptional(upstreamProxy),
    policy: v.strictObject({ ...policyUpdate, mayChange: v.boolean() }),
    takesProposals: v.boolean(),
  }),
  v.strictObject({ type: v.literal('policy'), ...policyUpdate }),
  v.strictObject({ type: v.literal('answer'), id: count, result: v.union([identityResult, anyResult]) }),
  v.strictObject({ type: v.literal('measure'), id: count }),
  v.strictObject({ type: v.literal('stop') }),
]);

/** A message of the network role. @throws ValiError for anything else. */
export function parseToProcessRole(value: unknown): ToProcessRole {
  // JSON leaves out what is undefined: a key of the contract may be absent, which reads the same.
  return v.parse(toProcessRole, value) as ToProcessRole;
}

/** A message of the process role. @throws ValiError for anything else. */
export function parseToNetworkRole(value: unknown): ToNetworkRole {
  return v.parse(toNetworkRole, value) as ToNetworkRole;
}
