import type { BinaryPattern, NetworkRule } from './document.ts';
import { readEndpoint } from './endpoint.ts';
import { PATH_GLOB, parseGlob } from './match/glob.ts';
import { parsePath } from './path.ts';
import { readFields, readList, readMap, readText } from './source/fields.ts';
import { type Findings, notice, quote, refuse } from './source/findings.ts';
import type { MapEntry, TreeNode } from './source/tree.ts';
import { MAX_ALL_AUTHORITIES_BYTES } from './tls-authority.ts';

/** Kept for rules that are made from provider profiles. */
const RESERVED_PREFIX = '_provider_';
/** A policy has to fit into one message between the roles. */
const MAX_ENDPOINTS = 10_000;

/** Reads network_policies. */
export function readNetwork(node: TreeNode | undefined, findings: Findings): NetworkRule[] {
  if (node === undefined) return [];
  const entries = readMap(node, 'network_policies', findings);
  const rules = [...entries].map(([name, entry]) => readRule(name, entry, findings));
  if (rules.reduce((sum, { endpoints }) => sum + endpoints.length, 0) > MAX_ENDPOINTS)
    refuse(findings, node.position, `network_policies lists more than ${MAX_ENDPOINTS} endpoints`);
  if (sizeOfAuthorities(rules) > MAX_ALL_AUTHORITIES_BYTES)
    refuse(
      findings,
      node.position,
      `the certificates of tls_authority are larger than ${MAX_ALL_AUTHORITIES_BYTES} bytes together, counted for each endpoint`,
    );
  return rules;
}

function sizeOfAuthorities(rules: readonly NetworkRule[]): number {
  const endpoints = rules.flatMap((rule) => rule.endpoints);
  return endpoints
    .flatMap(({ tlsAuthority }) => tlsAuthority?.certificates ?? [])
    .reduce((sum, { length }) => sum + length, 0);
}

function readRule(name: string, { keyPosition, value }: MapEntry, findings: Findings): NetworkRule {
  if (!/^[A-Za-z0-9_.-]{1,64}$/.test(name))
    refuse(
      findings,
      keyPosition,
      `rule name ${quote(name)} must be 1 to 64 of the characters A-Z a-z 0-9 _ . -`,
    );
  if (name.startsWith(RESERVED_PREFIX))
    refuse(
      findings,
      keyPosition,
      `rule name ${quote(name)} begins with ${quote(RESERVED_PREFIX)}, which is reserved`,
    );
  const rule = `rule ${quote(name)}`;
  const fields = readFields(value, rule, ['name', 'endpoints', 'binaries', 'expires'], findings);
  const label = readText(fields.get('name'), `name of ${rule}`, findings);
  if (label !== undefined && label !== name)
    notice(findings, keyPosition, `${rule} is called by its key; its name ${quote(label)} is not used`);
  const endpointNodes = readList(fields.get('endpoints'), `endpoints of ${rule}`, findings);
  if (endpointNodes.length === 0)
    notice(findings, keyPosition, `${rule} lists no endpoints and can never match`);
  const binaryNodes = readList(fields.get('binaries'), `binaries of ${rule}`, findings);
  if (binaryNodes.length === 0)
    notice(findings, keyPosition, `${rule} lists no binaries and can never match; write path: "/**" for any`);
  const binaries = binaryNodes.flatMap((node) => readBinary(node, rule, findings) ?? []);
  const unpinned = binaries.find(
    ({ path, sha256 }) =>
      sha256 === undefined && binaries.some((other) => other.path === path && other.sha256 !== undefined),
  );
  if (unpinned !== undefined)
    refuse(findings, keyPosition, `${rule} lists ${quote(unpinned.path)} both with sha256 and without`);
  return {
    name,
    endpoints: endpointNodes.flatMap((node) => readEndpoint(node, name, findings) ?? []),
    binaries,
    expires: readTime(fields.get('expires'), `expires of ${rule}`, findings),
    position: keyPosition,
  };
}

/** RFC 3339, of which only what names one moment everywhere. */
function readTime(node: TreeNode | undefined, where: string, findings: Findings): number | undefined {
  const text = readText(node, where, findings);
  if (node === undefined || text === undefined) return undefined;
  const [, date = ''] = /^(\d{4}-\d\d-\d\d)T\d\d:\d\d(?::\d\d)?(?:Z|[+-]\d\d:\d\d)$/.exec(text) ?? [];
  const day = Date.parse(`${date}T00:00:00Z`);
  const time = Date.parse(text);
  if (Number.isFinite(time) && Number.isFinite(day) && new Date(day).toISOString().startsWith(date))
    return time;
  return refuse(
    findings,
    node.position,
    `${where} must be a time such as 2026-12-31T18:00:00Z, with Z or an offset, not ${quote(text)}`,
  );
}

function readBinary(node: TreeNode, rule: string, findings: Findings): BinaryPattern | undefined {
  const where = `a binary of ${rule}`;
  const fields = readFields(node, where, ['path', 'sha256', 'harness'], findings);
  const harness = fields.get('harness');
  if (harness !== undefined)
    notice(findings, harness.position, `harness of ${where} is deprecated and has no effect`);
  const pathNode = fields.get('path');
  if (pathNode === undefined) return refuse(findings, node.position, `${where} needs a path`);
  const path = readText(pathNode, `path of ${where}`, findings);
  if (path === undefined) return undefined;
  const pattern = path.includes('*')
    ? readBinaryGlob(path, pathNode, findings)
    : readBinaryPath(path, pathNode, findings);
  const hashNode = fields.get('sha256');
  if (hashNode === undefined || pattern === undefined) return pattern;
  return { ...pattern, sha256: readHashes(hashNode, `sha256 of ${where}`, findings) };
}

/** One or a list, in lower case and without repetition. A pin that cannot be read never becomes none: the policy is refused. */
function readHashes(node: TreeNode, where: string, findings: Findings): string[] {
  const items = node.kind === 'list' ? node.items : [node];
  if (items.length === 0)
    refuse(findings, node.position, `${where} lists no hash: leave the key out where any content will do`);
  const hashes = items.flatMap((item) => {
    const text = readText(item, where, findings);
    if (text === undefined) return [];
    if (/^[0-9a-f]{64}$/i.test(text)) return [text.toLowerCase()];
    return (
      refuse(findings, item.position, `${where} must be 64 hexadecimal digits, not ${quote(text)}`) ?? []
    );
  });
  return [...new Set(hashes)];
}

function readBinaryPath(text: string, { position }: TreeNode, findings: Findings): BinaryPattern | undefined {
  const parsed = parsePath(text);
  if ('problem' in parsed) return refuse(findings, position, `binary ${quote(text)} ${parsed.problem}`);
  if (/[?[\]{}\\]/.test(text))
    notice(findings, position, `binary ${quote(text)} is taken literally, because it has no "*"`);
  return parsed;
}

function readBinaryGlob(text: string, { position }: TreeNode, findings: Findings): BinaryPattern | undefined {
  if (!text.startsWith('/') && !text.startsWith('**'))
    return refuse(findings, position, `binary ${quote(text)} must begin with "/" or "**"`);
  const glob = parseGlob(text, PATH_GLOB);
  if ('problem' in glob)
    return refuse(findings, position, `binary ${quote(text)} is not a valid pattern: ${glob.problem}`);
  return { path: text };
}
