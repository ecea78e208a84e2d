/** The rules as they cross the wire. JSON leaves out what is undefined: such a key of the contract may be absent. */
import * as v from 'valibot';
import { INSPECTED_PROTOCOLS, type NetworkRule } from '../policy/document.ts';
import { FACT_LIMITS } from '../policy/fact-limits.ts';
import { count, host, limitedText, operationType, path, port, sha256, text } from './atoms.ts';

const texts = v.array(text);
const position = v.strictObject({ line: count, column: count });
const values = v.array(v.strictObject({ key: text, any: texts }));

const pattern = v.variant('kind', [
  v.strictObject({
    kind: v.literal('http'),
    method: v.optional(text),
    path: v.optional(text),
    query: values,
    position,
  }),
  v.strictObject({
    kind: v.literal('graphql'),
    operationType: v.optional(v.union([operationType, v.literal('*')])),
    operationName: v.optional(text),
    fields: texts,
    position,
  }),
  v.strictObject({
    kind: v.literal('rpc'),
    method: v.optional(text),
    tool: texts,
    arguments: values,
    position,
  }),
]);

const inspection = v.strictObject({
  path: v.optional(text),
  enforcement: v.picklist(['enforce', 'audit']),
  allow: v.array(pattern),
  deny: v.array(pattern),
  allowEncodedSlash: v.boolean(),
  maxBodyBytes: count,
  persistedQueries: v.record(text, v.strictObject({ type: operationType, name: text, fields: texts })),
  strictToolNames: v.boolean(),
  allowKnownMethods: v.boolean(),
});

const tlsAuthority = v.strictObject({
  path,
  certificates: v.pipe(v.array(limitedText(FACT_LIMITS.certificates)), v.minLength(1)),
  digest: text,
});
const credentialUse = v.strictObject({
  provider: v.optional(text),
  rewriteBody: v.boolean(),
  rewriteWebSocket: v.boolean(),
  allowUninspected: v.boolean(),
  allowCleartext: v.boolean(),
  signing: v.optional(
    v.strictObject({
      payload: v.picklist(['auto', 'signed', 'unsigned']),
      service: text,
      region: v.optional(text),
    }),
  ),
  clientCertificate: v.optional(text),
});

const common = {
  host,
  ports: v.array(port),
  allowedIps: v.array(host),
  allowsEncryptedHello: v.exactOptional(v.literal(true)),
  credentials: v.optional(credentialUse),
  skipsTls: v.optional(v.boolean()),
  position,
};

/** An inspected protocol without an inspection would be an endpoint without rules: such a one is no message. */
const endpoint = v.variant('protocol', [
  v.strictObject({ ...common, protocol: v.picklist(['', 'tcp']) }),
  v.strictObject({
    ...common,
    protocol: v.picklist(INSPECTED_PROTOCOLS),
    inspection,
    tlsAuthority: v.optional(tlsAuthority),
  }),
]);

const networkRules = v.array(
  v.strictObject({
    name: text,
    endpoints: v.array(endpoint),
    binaries: v.array(
      v.strictObject({
        path,
        // An empty list would be a pin that nothing can meet, or none: it is no message.
        sha256: v.exactOptional(v.pipe(v.array(sha256), v.minLength(1))),
      }),
    ),
    expires: v.optional(v.pipe(v.number(), v.safeInteger())),
    position,
  }),
);

/** A schema of its own size, for the message that carries the policy. */
export const policyRules = v.pipe(
  networkRules,
  v.transform((rules) => rules as readonly NetworkRule[]),
);
