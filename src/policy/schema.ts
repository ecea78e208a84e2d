/** The language of policies as JSON Schema (draft 2020-12), for editors. The parser says more: what depends on something else. */
import { INSPECTED_PROTOCOLS } from './document.ts';
import { SECCOMP_GROUPS } from './seccomp.ts';

type Schema = Readonly<Record<string, unknown>>;

const text: Schema = { type: 'string' };
const flag: Schema = { type: 'boolean' };
const texts: Schema = { type: 'array', items: text };
const port: Schema = { type: 'integer', minimum: 1, maximum: 65_535 };
const bytes: Schema = { type: 'integer', minimum: 1 };
const paths: Schema = { type: 'array', items: { type: 'string', pattern: '^/' } };
const sha256: Schema = { type: 'string', pattern: '^[0-9a-fA-F]{64}$' };
const account: Schema = { type: ['string', 'integer'] };

function map(properties: Schema, required: readonly string[] = []): Schema {
  return {
    type: 'object',
    additionalProperties: false,
    properties,
    ...(required.length > 0 && { required }),
  };
}

function described(description: string, schema: Schema): Schema {
  return { description, ...schema };
}

const anyOf: Schema = { oneOf: [text, map({ any: { ...texts, minItems: 1 } }), map({ glob: text })] };
const values: Schema = { type: 'object', additionalProperties: anyOf };

const pattern = map({
  method: described('HTTP method or *, JSON-RPC method', text),
  path: described('glob: * stops at /, ** does not', { type: 'string', pattern: '^(/|\\*\\*$)' }),
  query: described('every key has to be there, and all of its values have to match', values),
  operation_type: { enum: ['query', 'mutation', 'subscription', '*'] },
  operation_name: text,
  fields: described('globs over root fields', texts),
  tool: described('MCP: name of the tool', anyOf),
  params: map({ name: anyOf }),
  arguments: described('MCP: arguments of the tool', values),
});

const persistedQuery = map(
  { operation_type: { enum: ['query', 'mutation', 'subscription'] }, operation_name: text, fields: texts },
  ['operation_type', 'fields'],
);

const endpoint = map({
  host: described('name, IP address, or wildcard (*.example.org, **.example.org)', text),
  port,
  ports: { type: 'array', items: port, minItems: 1 },
  protocol: described('absent: TLS or TCP, not looked into', { enum: ['', 'tcp', ...INSPECTED_PROTOCOLS] }),
  tls: { enum: ['', 'skip', 'terminate', 'passthrough'] },
  enforcement: described('audit lets pass and records; absent means enforce', {
    enum: ['', 'enforce', 'audit'],
  }),
  allowed_ips: described('addresses or CIDR blocks; needed for private ones', { ...texts, minItems: 1 }),
  tls_authority: described('PEM file: the only authorities that its certificate may come from', {
    type: 'string',
    pattern: '^/',
  }),
  allow_encrypted_client_hello: described('lets TLS that is not opened hide the name it asks for', flag),
  path: described('the paths this endpoint is about', text),
  access: { enum: ['', 'read-only', 'read-write', 'full'] },
  rules: { type: 'array', minItems: 1, items: map({ allow: pattern }, ['allow']) },
  deny_rules: { type: 'array', minItems: 1, items: pattern },
  allow_encoded_slash: flag,
  persisted_queries: { enum: ['', 'deny', 'allow_registered'] },
  graphql_persisted_queries: { type: 'object', additionalProperties: persistedQuery },
  graphql_max_body_bytes: bytes,
  json_rpc: map({ max_body_bytes: bytes }),
  mcp: map({ max_body_bytes: bytes, strict_tool_names: flag, allow_all_known_mcp_methods: flag }),
  credential_binding: described(
    'credentials of this provider may go here',
    map({ provider: text }, ['provider']),
  ),
  request_body_credential_rewrite: described('put secrets into JSON, forms and text', flag),
  websocket_credential_rewrite: described('put secrets into text messages', flag),
  allow_uninspected_credentials: described('let placeholders pass in bodies and messages, as they are', flag),
  allow_cleartext_credentials: described('put secrets into plain HTTP too', flag),
  credential_signing: described('sign requests for AWS', {
    enum: ['', 'sigv4', 'sigv4:body', 'sigv4:no_body'],
  }),
  signing_service: text,
  signing_region: described('absent: as the host name tells', text),
  client_certificate: described('shown to the origin; by its name in the file of credentials', text),
});

const rule = map({
  name: text,
  expires: described('from then on the rule grants nothing (2026-12-31T18:00:00Z)', {
    type: 'string',
    format: 'date-time',
  }),
  endpoints: { type: 'array', items: endpoint },
  binaries: {
    type: 'array',
    items: map(
      {
        path: described('absolute path, or glob', text),
        sha256: described('its content has to be this, or one of these', {
          oneOf: [sha256, { type: 'array', items: sha256, minItems: 1 }],
        }),
        harness: flag,
      },
      ['path'],
    ),
  },
});

export const POLICY_SCHEMA: Schema = {
  $schema: 'https://json-schema.org/draft/2020-12/schema',
  title: 'castellan policy',
  ...map(
    {
      version: { const: 1 },
      filesystem_policy: map({ include_workdir: flag, read_only: paths, read_write: paths }),
      landlock: map({
        compatibility: { enum: ['best_effort', 'hard_requirement'] },
        bind_tcp_ports: { type: 'array', items: port },
        connect_tcp_ports: { type: 'array', items: port },
      }),
      process: map({ run_as_user: account, run_as_group: account }),
      seccomp: map({ relax: { type: 'array', items: { enum: Object.keys(SECCOMP_GROUPS) } } }),
      network_policies: { type: 'object', additionalProperties: rule },
      network_middlewares: described('not in this version', { type: 'object', maxProperties: 0 }),
    },
    ['version'],
  ),
};
