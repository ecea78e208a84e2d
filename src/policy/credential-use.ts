/** The keys of an endpoint that are about credentials. */
import { awsRegion } from '../protocol/aws-host.ts';
import type { CredentialUse, Endpoint, RequestSigning, SourcePosition } from './document.ts';
import { type Fields, readBoolean, readChoice, readFields, readText } from './source/fields.ts';
import { type Findings, quote, refuse } from './source/findings.ts';
import type { TreeNode } from './source/tree.ts';

export const CREDENTIAL_KEYS = [
  'credential_binding',
  'request_body_credential_rewrite',
  'websocket_credential_rewrite',
  'allow_uninspected_credentials',
  'allow_cleartext_credentials',
  'credential_signing',
  'signing_service',
  'signing_region',
  'client_certificate',
] as const;
type Key = (typeof CREDENTIAL_KEYS)[number];

/** A body that is judged as something may not become something else afterwards. */
const REWRITTEN: Readonly<Partial<Record<Key, readonly Endpoint['protocol'][]>>> = {
  request_body_credential_rewrite: ['', 'rest'],
  websocket_credential_rewrite: ['', 'rest', 'websocket'],
};

const PAYLOADS: Readonly<Record<string, RequestSigning['payload']>> = {
  sigv4: 'auto',
  'sigv4:body': 'signed',
  'sigv4:no_body': 'unsigned',
};

/** Parts of a credential scope, which `/` separates. */
const SCOPE_WORD = /^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/;

export interface CredentialSource {
  readonly fields: Fields<Key>;
  readonly protocol: Endpoint['protocol'];
  readonly tls: string | undefined;
  readonly host: string | undefined;
  /** The endpoint in messages, and where it stands. */
  readonly where: string;
  readonly position: SourcePosition;
}

/** Reads them; undefined where nothing is said about credentials. */
export function readCredentialUse(source: CredentialSource, findings: Findings): CredentialUse | undefined {
  const { fields } = source;
  const flag = (key: Key): boolean => readBoolean(fields.get(key), key, findings) ?? false;
  const use: CredentialUse = {
    provider: readProvider(fields.get('credential_binding'), findings),
    rewriteBody: flag('request_body_credential_rewrite'),
    rewriteWebSocket: flag('websocket_credential_rewrite'),
    allowUninspected: flag('allow_uninspected_credentials'),
    allowCleartext: flag('allow_cleartext_credentials'),
    signing: readSigning(source, findings),
    clientCertificate: readText(fields.get('client_certificate'), 'client_certificate', findings),
  };
  refuseMisplaced(source, use, findings);
  return opensTls({ credentials: use }) || use.allowUninspected || use.allowCleartext ? use : undefined;
}

/** Whether TLS to the endpoint is opened, by what the policy says. */
export function opensTls({ inspection, credentials }: Pick<Endpoint, 'inspection' | 'credentials'>): boolean {
  if (inspection !== undefined) return true;
  if (credentials === undefined) return false;
  const { provider, rewriteBody, rewriteWebSocket, signing, clientCertificate } = credentials;
  return (
    rewriteBody ||
    rewriteWebSocket ||
    [provider, signing, clientCertificate].some((value) => value !== undefined)
  );
}

function readProvider(node: TreeNode | undefined, findings: Findings): string | undefined {
  if (node === undefined) return undefined;
  const fields = readFields(node, 'credential_binding', ['provider'], findings);
  const provider = readText(fields.get('provider'), 'provider of credential_binding', findings);
  if (provider !== undefined && provider !== '') return provider;
  if (node.kind === 'map' && (!fields.has('provider') || provider === ''))
    refuse(findings, node.position, 'credential_binding needs a provider');
  return undefined;
}

function readSigning(
  { fields, host, where }: CredentialSource,
  findings: Findings,
): RequestSigning | undefined {
  const node = fields.get('credential_signing');
  const choice = readChoice(node, 'credential_signing', Object.keys(PAYLOADS), findings);
  const service = readScopeWord(fields.get('signing_service'), 'signing_service', findings);
  const region = readScopeWord(fields.get('signing_region'), 'signing_region', findings);
  if (node === undefined) {
    const stray = fields.get('signing_service') ?? fields.get('signing_region');
    if (stray !== undefined)
      refuse(
        findings,
        stray.position,
        `signing_service and signing_region of ${where} take credential_signing`,
      );
    return undefined;
  }
  const payload = choice === undefined ? undefined : PAYLOADS[choice];
  if (payload === undefined) return undefined;
  if (service === undefined) {
    if (!fields.has('signing_service'))
      refuse(findings, node.position, `credential_signing of ${where} needs a signing_service`);
    return undefined;
  }
  if (region === undefined && host !== undefined && !host.includes('*') && awsRegion(host) === undefined)
    refuse(
      findings,
      node.position,
      `credential_signing of ${where} needs a signing_region: the host does not tell it`,
    );
  return { payload, service, region };
}

function readScopeWord(node: TreeNode | undefined, key: Key, findings: Findings): string | undefined {
  const text = readText(node, key, findings);
  if (node === undefined || text === undefined || SCOPE_WORD.test(text)) return text;
  return refuse(findings, node.position, `${key} ${quote(text)} has characters that no name of AWS has`);
}

function refuseMisplaced(
  { fields, protocol, tls, where }: CredentialSource,
  use: CredentialUse,
  findings: Findings,
): void {
  for (const [key, { position }] of fields) {
    const protocols = REWRITTEN[key];
    const isOn = key === 'request_body_credential_rewrite' ? use.rewriteBody : use.rewriteWebSocket;
    if (protocols !== undefined && isOn && protocol !== 'tcp' && !protocols.includes(protocol))
      refuse(
        findings,
        position,
        `key ${quote(key)} of ${where} takes protocol ${protocols.filter(Boolean).map(quote).join(' or ')}, or none`,
      );
  }
  const first = fields.values().next().value;
  if (first === undefined || !opensTls({ credentials: use })) return;
  if (protocol === 'tcp')
    refuse(findings, first.position, `${where} is raw TCP, in which no credentials can be used`);
  else if (tls === 'skip')
    refuse(findings, first.position, `tls "skip" of ${where} leaves no place for credentials`);
  if (use.signing !== undefined && use.rewriteBody)
    refuse(
      findings,
      first.position,
      `${where} has both credential_signing and request_body_credential_rewrite`,
    );
}
