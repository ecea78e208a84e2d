import { blockedPart } from './destination.ts';
import type { Endpoint } from './document.ts';
import { canonicalAddress, formatAddress, formatBlock, parseBlock } from './match/address.ts';
import { parseHostPattern } from './match/host.ts';
import {
  describe,
  didYouMean,
  type Fields,
  isAbsent,
  readChoice,
  readInteger,
  readList,
  readMap,
  readText,
} from './source/fields.ts';
import { type Findings, notice, quote, refuse } from './source/findings.ts';
import type { TreeNode } from './source/tree.ts';

type Key = (typeof KEYS)[number];
const KEYS = ['host', 'port', 'ports', 'protocol', 'tls', 'enforcement', 'allowed_ips'] as const;

/**
 * Keys that only a look into the requests can honour, with the value that means the same as leaving them out. To pass
 * over any other value would allow or send what the author meant to hold back.
 */
const INSPECTION_KEYS = new Map<string, string | false | null>([
  ['path', ''],
  ['access', ''],
  ['rules', null],
  ['deny_rules', null],
  ['allow_encoded_slash', false],
  ['websocket_credential_rewrite', false],
  ['request_body_credential_rewrite', false],
  ['allow_uninspected_credentials', false],
  ['persisted_queries', ''],
  ['graphql_persisted_queries', null],
  ['graphql_max_body_bytes', null],
  ['json_rpc', null],
  ['mcp', null],
  ['credential_signing', ''],
  ['signing_service', ''],
  ['signing_region', ''],
  ['credential_binding', null],
]);
const INSPECTED_PROTOCOLS: readonly string[] = ['rest', 'graphql', 'websocket', 'json-rpc', 'mcp', 'sql'];
const NEEDS_INSPECTION = 'needs request inspection, which this version does not have';

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
  readTls(fields.get('tls'), findings);
  readEnforcement(fields.get('enforcement'), findings);
  if (host === undefined) return undefined;
  return { host, ports, protocol, allowedIps, position: node.position };
}

function readEndpointFields(node: TreeNode, where: string, findings: Findings): Fields<Key> {
  const fields = new Map<Key, TreeNode>();
  for (const [name, { keyPosition, value }] of readMap(node, where, findings)) {
    const key = KEYS.find((known) => known === name);
    if (key !== undefined) {
      if (!isAbsent(value)) fields.set(key, value);
    } else if (INSPECTION_KEYS.has(name)) {
      const meansNothing =
        value.kind === 'scalar' && (value.value === null || value.value === INSPECTION_KEYS.get(name));
      if (!meansNothing) refuse(findings, keyPosition, `key ${quote(name)} of ${where} ${NEEDS_INSPECTION}`);
    } else {
      const suggestion = didYouMean(name, [...KEYS, ...INSPECTION_KEYS.keys()]);
      refuse(findings, keyPosition, `unknown key ${quote(name)} in ${where}${suggestion}`);
    }
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
  const several = fields.get('ports');
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
  const text = readText(node, 'protocol', findings) ?? '';
  if (text === '' || text === 'tcp' || node === undefined) return text === 'tcp' ? 'tcp' : '';
  if (INSPECTED_PROTOCOLS.includes(text))
    refuse(findings, node.position, `protocol ${quote(text)} ${NEEDS_INSPECTION}`);
  else {
    const suggestion = didYouMean(text, ['tcp', ...INSPECTED_PROTOCOLS]);
    refuse(findings, node.position, `unknown protocol ${quote(text)}${suggestion}`);
  }
  return '';
}

/** TLS is never opened here, so '' and skip are the same. */
function readTls(node: TreeNode | undefined, findings: Findings): void {
  if (node === undefined) return;
  const text = node.kind === 'scalar' ? node.value : undefined;
  if (text === 'terminate') refuse(findings, node.position, `tls "terminate" ${NEEDS_INSPECTION}`);
  else if (text === 'passthrough')
    notice(findings, node.position, 'tls "passthrough" is deprecated; write "skip"');
  else readChoice(node, 'tls', ['', 'skip'], findings);
}

function readEnforcement(node: TreeNode | undefined, findings: Findings): void {
  if (node?.kind === 'scalar' && node.value === 'audit')
    refuse(findings, node.position, `enforcement "audit" ${NEEDS_INSPECTION}; write "enforce"`);
  else readChoice(node, 'enforcement', ['', 'enforce'], findings);
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
