import { CREDENTIAL_KEYS, readCredentialUse } from './credential-use.ts';
import { blockedPart } from './destination.ts';
import { type Endpoint, INSPECTED_PROTOCOLS, type Inspection } from './document.ts';
import { INSPECTION_KEYS, readInspection } from './inspection.ts';
import { localPort } from './local-names.ts';
import { canonicalAddress, formatAddress, formatBlock, parseBlock } from './match/address.ts';
import { parseHostPattern } from './match/host.ts';
import {
  describe,
  didYouMean,
  type Fields,
  isAbsent,
  readBoolean,
  readChoice,
  readInteger,
  readList,
  readMap,
  readText,
} from './source/fields.ts';
import { type Findings, notice, quote, refuse } from './source/findings.ts';
import type { TreeNode } from './source/tree.ts';
import { readTlsAuthority } from './tls-authority.ts';

const KEYS = [
  'host',
  'port',
  'ports',
  'protocol',
  'tls',
  'enforcement',
  'allowed_ips',
  'tls_authority',
  'allow_encrypted_client_hello',
  ...INSPECTION_KEYS,
  ...CREDENTIAL_KEYS,
] as const;
type Key = (typeof KEYS)[number];

const PROTOCOLS: readonly Endpoint['protocol'][] = ['', 'tcp', ...INSPECTED_PROTOCOLS];
/** Protocols of the language that nothing here can read yet. */
const UNREAD_PROTOCOLS: readonly string[] = ['sql'];

/** Shorter prefixes hold more than one site's network. */
const WIDE_PREFIX = { 4: 16, 6: 32 } as const;

/** Reads one endpoint of the rule called `rule`; undefined if it cannot be made sense of. */
export function readEndpoint(node: TreeNode, rule: string, findings: Findings): Endpoint | undefined {
  const where = `an endpoint of rule ${quote(rule)}`;
  if (node.kind === 'list' || (node.kind === 'scalar' && !isAbsent(node)))
    return refuse(findings, node.position, `${where} must be a mapping, not ${describe(node)}`);
  const fields = readEndpointFields(node, where, findings);
  const allowedIps = readAllowedIps(fields.get('allowed_ips'), findings);
  const protocol = readProtocol(fields.get('protocol'), findings);
  const host = readHost(
    fields.get('host'),
    { where, hostless: fields.has('allowed_ips'), protocol },
    node,
    findings,
  );
  const ports = readPorts(fields, where, node, findings);
  const tls = readTls(fields.get('tls'), protocol, findings);
  const enforcement = readEnforcement(fields.get('enforcement'), protocol, findings);
  const { position } = node;
  const inspected = new Map(INSPECTION_KEYS.flatMap((key) => pick(fields, key)));
  const inspection = readInspection({ fields: inspected, protocol, enforcement, where, position }, findings);
  const tlsAuthority = readTlsAuthority(fields.get('tls_authority'), { protocol, where }, findings);
  const hello = readEncryptedHello(fields.get('allow_encrypted_client_hello'), protocol, findings);
  const used = new Map(CREDENTIAL_KEYS.flatMap((key) => pick(fields, key)));
  const credentials = readCredentialUse({ fields: used, protocol, tls, host, where, position }, findings);
  if (host === undefined) return undefined;
  const endpoint = {
    ...{ host, ports, protocol, allowedIps, inspection, tlsAuthority, ...hello },
    credentials,
    skipsTls: tls === 'skip' ? true : undefined,
    position,
  };
  checkLocal(endpoint, findings);
  return endpoint;
}

/** What castellan answers itself has no address, and is plain HTTP. */
function checkLocal(
  { host, ports, protocol, allowedIps, tlsAuthority, credentials, position }: Endpoint,
  findings: Findings,
): void {
  const port = localPort(host);
  if (port === undefined) return;
  if (protocol !== '' && protocol !== 'rest')
    refuse(
      findings,
      position,
      `${quote(host)} is answered by castellan: its protocol is "rest", or left out`,
    );
  if (allowedIps.length > 0)
    refuse(findings, position, `${quote(host)} is answered by castellan, and has no address for allowed_ips`);
  if (tlsAuthority !== undefined)
    refuse(
      findings,
      position,
      `${quote(host)} is answered by castellan, and has no origin for tls_authority`,
    );
  if (credentials !== undefined)
    refuse(findings, position, `${quote(host)} is answered by castellan, and takes no credentials`);
  if (!ports.includes(port))
    notice(findings, position, `castellan answers ${quote(host)} on port ${port} only, which is not listed`);
}

function readEncryptedHello(
  node: TreeNode | undefined,
  protocol: Endpoint['protocol'],
  findings: Findings,
): Pick<Endpoint, 'allowsEncryptedHello'> {
  const allows = readBoolean(node, 'allow_encrypted_client_hello', findings) === true;
  if (node !== undefined && allows && INSPECTED_PROTOCOLS.some((known) => known === protocol))
    notice(
      findings,
      node.position,
      'allow_encrypted_client_hello has no effect where TLS is opened: nothing is hidden there',
    );
  return allows ? { allowsEncryptedHello: true } : {};
}

function pick<K extends Key>(fields: Fields<Key>, key: K): [K, TreeNode][] {
  const node = fields.get(key);
  const isEmpty = node?.kind === 'scalar' && node.value === '';
  return node === undefined || isEmpty ? [] : [[key, node]];
}

function readEndpointFields(node: TreeNode, where: string, findings: Findings): Fields<Key> {
  const fields = new Map<Key, TreeNode>();
  for (const [name, { keyPosition, value }] of readMap(node, where, findings)) {
    const key = KEYS.find((known) => known === name);
    if (key !== undefined) {
      if (!isAbsent(value)) fields.set(key, value);
    } else refuse(findings, keyPosition, `unknown key ${quote(name)} in ${where}${didYouMean(name, KEYS)}`);
  }
  return fields;
}

interface HostContext {
  readonly where: string;
  readonly hostless: boolean;
  readonly protocol: Endpoint['protocol'];
}

function readHost(
  node: TreeNode | undefined,
  { where, hostless, protocol }: HostContext,
  endpoint: TreeNode,
  findings: Findings,
): string | undefined {
  const text = node === undefined ? '' : readText(node, `host of ${where}`, findings);
  if (text === undefined) return undefined;
  const { position } = node ?? endpoint;
  const pattern = parseHostPattern(text);
  if ('problem' in pattern) return refuse(findings, position, `host ${quote(text)} ${pattern.problem}`);
  if (pattern.kind === 'any') {
    if (protocol === 'tcp')
      return refuse(findings, position, `${where} has protocol "tcp" and therefore needs a host`);
    return hostless ? '' : refuse(findings, position, `${where} needs a host, or allowed_ips`);
  }
  if (pattern.kind === 'exact' && pattern.isAddress) {
    if (protocol === 'tcp')
      return refuse(findings, position, `host ${quote(text)} must be a DNS name, because protocol is "tcp"`);
    const blocked = blockOf(pattern.host);
    if (blocked !== undefined)
      notice(findings, position, `host ${quote(text)} is ${blocked} and is never reached`);
  }
  return pattern.host;
}

function blockOf(literal: string): string | undefined {
  const block = parseBlock(literal);
  return block && blockedPart(block)?.name;
}

function readPorts(fields: Fields<Key>, where: string, endpoint: TreeNode, findings: Findings): number[] {
  const single = fields.get('port');
  const listed = fields.get('ports');
  // Tools that write policies write out lists that are empty.
  const several =
    single !== undefined && listed?.kind === 'list' && listed.items.length === 0 ? undefined : listed;
  if (single !== undefined && several !== undefined)
    refuse(findings, several.position, `${where} has both port and ports`);
  const nodes =
    several === undefined
      ? single === undefined
        ? []
        : [single]
      : readList(several, `ports of ${where}`, findings);
  if (nodes.length === 0) refuse(findings, (several ?? endpoint).position, `${where} needs a port`);
  const ports = nodes.flatMap((node) => readInteger(node, `a port of ${where}`, [1, 65535], findings) ?? []);
  return [...new Set(ports)];
}

function readProtocol(node: TreeNode | undefined, findings: Findings): Endpoint['protocol'] {
  const text = readText(node, 'protocol', findings);
  if (node === undefined || text === undefined) return '';
  const protocol = PROTOCOLS.find((known) => known === text);
  if (protocol !== undefined) return protocol;
  if (UNREAD_PROTOCOLS.includes(text))
    refuse(
      findings,
      node.position,
      `protocol ${quote(text)} has no inspector; leave it out, and the connection alone is judged`,
    );
  else {
    const suggestion = didYouMean(text, [...PROTOCOLS, ...UNREAD_PROTOCOLS]);
    refuse(findings, node.position, `unknown protocol ${quote(text)}${suggestion}`);
  }
  return '';
}

/** TLS is opened exactly where requests are inspected, or carry credentials. */
function readTls(
  node: TreeNode | undefined,
  protocol: Endpoint['protocol'],
  findings: Findings,
): string | undefined {
  if (node === undefined) return undefined;
  const inspected = INSPECTED_PROTOCOLS.some((known) => known === protocol);
  const { position } = node;
  const tls = readChoice(node, 'tls', ['', 'skip', 'terminate', 'passthrough'], findings);
  switch (tls) {
    case 'skip':
      if (inspected)
        refuse(findings, position, `tls "skip" leaves protocol ${quote(protocol)} nothing to inspect`);
      break;
    case 'terminate':
      if (!inspected)
        notice(
          findings,
          position,
          'tls "terminate" has no effect: TLS is opened only where a protocol is inspected, or credentials are used',
        );
      break;
    case 'passthrough':
      notice(
        findings,
        position,
        `tls "passthrough" is deprecated; ${inspected ? 'leave it out' : 'write "skip"'}`,
      );
  }
  return tls;
}

function readEnforcement(
  node: TreeNode | undefined,
  protocol: Endpoint['protocol'],
  findings: Findings,
): Inspection['enforcement'] | undefined {
  const enforcement = readChoice(node, 'enforcement', ['', 'enforce', 'audit'], findings);
  if (enforcement === undefined || enforcement === '') return undefined;
  if (node !== undefined && enforcement === 'audit' && (protocol === '' || protocol === 'tcp'))
    refuse(findings, node.position, 'enforcement "audit" is about requests, and this endpoint inspects none');
  return enforcement;
}

function readAllowedIps(node: TreeNode | undefined, findings: Findings): string[] {
  if (node?.kind === 'list' && node.items.length === 0)
    refuse(findings, node.position, 'allowed_ips is empty; leave it out to allow public addresses only');
  const blocks = readList(node, 'allowed_ips', findings).flatMap(
    (item) => readAllowedIp(item, findings) ?? [],
  );
  return [...new Set(blocks)];
}

function readAllowedIp(node: TreeNode, findings: Findings): string | undefined {
  const text = readText(node, 'an entry of allowed_ips', findings);
  if (text === undefined) return undefined;
  const block = parseBlock(text);
  if (block === undefined)
    return refuse(
      findings,
      node.position,
      `${quote(text)} in allowed_ips is neither an IP address nor a CIDR block`,
    );
  const blocked = blockedPart(block);
  if (blocked !== undefined)
    return refuse(
      findings,
      node.position,
      `${quote(text)} in allowed_ips overlaps a range that is never reached: ${blocked.name}`,
    );
  const canonical = formatBlock(block);
  if (canonicalAddress(text.split('/')[0] ?? '') !== formatAddress(block))
    notice(findings, node.position, `${quote(text)} in allowed_ips means ${canonical}`);
  if (block.prefix < WIDE_PREFIX[block.family])
    notice(
      findings,
      node.position,
      `${quote(text)} in allowed_ips is wider than /${WIDE_PREFIX[block.family]}`,
    );
  return canonical;
}
