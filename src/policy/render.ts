/** Rules as the YAML that stands for them: to be read by people, and pasted into a policy. parsePolicy gives the same rules back. */
import { stringify } from 'yaml';
import type {
  BinaryPattern,
  CredentialUse,
  Endpoint,
  Inspection,
  NetworkRule,
  RequestPattern,
  ValuePattern,
} from './document.ts';
import { speaksGraphql } from './judge.ts';

type Value = string | number | boolean | readonly Value[] | { readonly [key: string]: Value };
type Fields = Readonly<Record<string, Value | undefined>>;

/**
 * No text spans lines: folded ones are harder to compare, and one with line ends in it could look like more of the rule than it is.
 */
const FORM = {
  lineWidth: 0,
  blockQuote: false,
  doubleQuotedAsJSON: true,
  aliasDuplicateObjects: false,
} as const;

/** The section network_policies. Pure. */
export function renderRules(rules: readonly NetworkRule[]): string {
  const section = Object.fromEntries(rules.map((rule) => [rule.name, ruleValue(rule)]));
  return stringify({ network_policies: section }, FORM);
}

function ruleValue({ endpoints, binaries, expires, name: _, position: __, ...others }: NetworkRule): Value {
  // A key that is new and not written here does not compile; here and below.
  others satisfies Record<string, never>;
  return given({
    expires: expires === undefined ? undefined : timeText(expires),
    endpoints: endpoints.map(endpointValue),
    binaries: binaries.map(binaryValue),
  });
}

/** Policies tell whole seconds. */
function timeText(time: number): string {
  return new Date(time).toISOString().replace(/\.\d+Z$/, 'Z');
}

function binaryValue({ path, sha256, ...others }: BinaryPattern): Value {
  others satisfies Record<string, never>;
  const [only] = sha256 ?? [];
  return given({ path, sha256: sha256?.length === 1 ? only : sha256 });
}

function endpointValue({
  host,
  ports,
  protocol,
  allowedIps,
  inspection,
  tlsAuthority,
  allowsEncryptedHello,
  credentials,
  skipsTls,
  position: _,
  ...others
}: Endpoint): Value {
  others satisfies Record<string, never>;
  return given({
    host,
    ...(ports.length === 1 ? { port: ports[0] } : { ports }),
    protocol: protocol || undefined,
    allowed_ips: filled(allowedIps),
    tls_authority: tlsAuthority?.path,
    allow_encrypted_client_hello: allowsEncryptedHello,
    tls: skipsTls ? 'skip' : undefined,
    ...(credentials && credentialFields(credentials)),
    ...(inspection && inspectionFields(inspection, protocol)),
  });
}

const SIGNING = { auto: 'sigv4', signed: 'sigv4:body', unsigned: 'sigv4:no_body' } as const;

function credentialFields(use: CredentialUse): Fields {
  const { provider, signing, clientCertificate } = use;
  return {
    credential_binding: provider === undefined ? undefined : { provider },
    request_body_credential_rewrite: use.rewriteBody || undefined,
    websocket_credential_rewrite: use.rewriteWebSocket || undefined,
    allow_uninspected_credentials: use.allowUninspected || undefined,
    allow_cleartext_credentials: use.allowCleartext || undefined,
    credential_signing: signing && SIGNING[signing.payload],
    signing_service: signing?.service,
    signing_region: signing?.region,
    client_certificate: clientCertificate,
  };
}

function inspectionFields(inspection: Inspection, protocol: Endpoint['protocol']): Fields {
  const { path, enforcement, allow, deny, allowEncodedSlash, maxBodyBytes, persistedQueries } = inspection;
  const { strictToolNames, allowKnownMethods, ...others } = inspection;
  others satisfies Omit<Inspection, 'strictToolNames' | 'allowKnownMethods'>;
  const queries = Object.entries(persistedQueries);
  return {
    path,
    enforcement,
    // Where nothing is allowed there is still a rule to be written: one that never matches.
    rules:
      allow.length === 0
        ? allowKnownMethods
          ? undefined
          : [{ allow: {} }]
        : allow.map((pattern) => ({ allow: patternValue(pattern) })),
    deny_rules: filled(deny.map(patternValue)),
    allow_encoded_slash: allowEncodedSlash || undefined,
    ...(queries.length > 0 && {
      persisted_queries: 'allow_registered',
      graphql_persisted_queries: Object.fromEntries(
        queries.map(([id, { type, name, fields }]) => [
          id,
          given({ operation_type: type, operation_name: name || undefined, fields }),
        ]),
      ),
    }),
    ...((protocol === 'graphql' || (protocol === 'websocket' && speaksGraphql(inspection))) && {
      graphql_max_body_bytes: maxBodyBytes,
    }),
    ...(protocol === 'json-rpc' && { json_rpc: { max_body_bytes: maxBodyBytes } }),
    ...(protocol === 'mcp' && {
      mcp: given({
        max_body_bytes: maxBodyBytes,
        strict_tool_names: strictToolNames ? undefined : false,
        allow_all_known_mcp_methods: allowKnownMethods || undefined,
      }),
    }),
  };
}

function patternValue(pattern: RequestPattern): Value {
  switch (pattern.kind) {
    case 'http':
      return given({ method: pattern.method, path: pattern.path, query: valuesValue(pattern.query) });
    case 'graphql':
      return given({
        operation_type: pattern.operationType,
        operation_name: pattern.operationName,
        fields: filled(pattern.fields),
      });
    case 'rpc':
      return given({
        method: pattern.method,
        tool: pattern.tool.length === 0 ? undefined : anyOf(pattern.tool),
        arguments: valuesValue(pattern.arguments),
      });
  }
}

function valuesValue(values: readonly ValuePattern[]): Value | undefined {
  return values.length === 0
    ? undefined
    : Object.fromEntries(values.map(({ key, any }) => [key, anyOf(any)]));
}

function anyOf(globs: readonly string[]): Value {
  const [only] = globs;
  return globs.length === 1 && only !== undefined ? only : { any: globs };
}

function filled<T extends Value>(items: readonly T[]): readonly T[] | undefined {
  return items.length === 0 ? undefined : items;
}

function given(fields: Fields): Value {
  return Object.fromEntries(
    Object.entries(fields).flatMap(([key, value]) => (value === undefined ? [] : [[key, value]])),
  );
}
