/**
 * The file of credentials to a set of them. No message repeats what the file holds, not even keys it does not know: whoever
 * misplaces a colon or a quote would find the secret in a log.
 */
import { createPrivateKey, X509Certificate } from 'node:crypto';
import { CastellanError } from '../errors.ts';
import type { SourcePosition } from '../policy/document.ts';
import { FACT_LIMITS } from '../policy/fact-limits.ts';
import { PATH_GLOB, parseGlob } from '../policy/match/glob.ts';
import { parseHostPattern } from '../policy/match/host.ts';
import { didYouMean, isAbsent } from '../policy/source/fields.ts';
import { type Findings, inTextOrder, refuse } from '../policy/source/findings.ts';
import { readTree, type TreeNode } from '../policy/source/tree.ts';
import type { BoundEndpoint, ClientCertificate, Credential, CredentialSet, Place } from './credential.ts';
import { PLACES } from './credential.ts';
import { isCredentialName, mentionsPlaceholder, placeholderOf } from './placeholder.ts';

const START: SourcePosition = { line: 1, column: 1 };
const DEFAULT_PORT = 443;
/** execve(2) takes less as one variable, and no header is as long. */
const MAX_SECRET_LENGTH = 64 * 1024;

type Entries = ReadonlyMap<string, { readonly keyPosition: SourcePosition; readonly value: TreeNode }>;

/** @throws CastellanError `credentials_invalid` with the first problem: `LINE:COLUMN: what is wrong` */
export function parseCredentials(text: string): CredentialSet {
  const findings: Findings = { file: '', problems: [], notices: [] };
  const set = readSet(text, findings);
  const [first, ...others] = findings.problems.toSorted((a, b) => inTextOrder(a.position, b.position));
  if (first === undefined) return set;
  const { position, message } = first;
  const more = others.length === 0 ? '' : ` (and ${others.length} more)`;
  throw new CastellanError('credentials_invalid', `${position.line}:${position.column}: ${message}${more}`, {
    step: 'credentials',
  });
}

function readSet(text: string, findings: Findings): CredentialSet {
  const nothing: CredentialSet = { credentials: [], clientCertificates: new Map() };
  const syntax: Findings = { file: '', problems: [], notices: [] };
  const tree = readTree(text, syntax);
  for (const { position } of syntax.problems)
    refuse(findings, position, 'the text is no YAML that can be read (or a key is given twice)');
  if (tree === undefined || syntax.problems.length > 0) return nothing;
  const fields = fieldsOf(tree, 'the file', ['version', 'credentials', 'client_certificates'], findings);
  const version = fields.get('version');
  if (version?.kind !== 'scalar' || version.value !== 1)
    refuse(findings, version?.position ?? START, 'the file needs "version: 1"');
  const entries = entriesOf(fields.get('credentials'), 'credentials', findings);
  if (entries.size > FACT_LIMITS.credentials)
    refuse(findings, tree.position, `the file has more than ${FACT_LIMITS.credentials} credentials`);
  const credentials = [...entries].flatMap(([name, entry]) => {
    if (isCredentialName(name)) return readCredential(name, entry.value, findings) ?? [];
    return refuse(findings, entry.keyPosition, 'the name of a credential must be that of a variable') ?? [];
  });
  return {
    credentials,
    clientCertificates: readClientCertificates(fields.get('client_certificates'), findings),
  };
}

function readCredential(name: string, node: TreeNode, findings: Findings): Credential | undefined {
  const keys = ['value', 'provider', 'endpoints', 'places', 'prefix', 'expires'] as const;
  const fields = fieldsOf(node, name, keys, findings);
  const value = textOf(fields.get('value'), `value of ${name}`, findings);
  const provider = textOf(fields.get('provider'), `provider of ${name}`, findings);
  const listed = fields.get('endpoints');
  const endpoints = itemsOf(listed, `endpoints of ${name}`, findings).flatMap(
    (item) => readEndpoint(item, name, findings) ?? [],
  );
  const prefix = textOf(fields.get('prefix'), `prefix of ${name}`, findings);
  if (prefix !== undefined && !/^[A-Za-z0-9_.~-]{1,64}$/.test(prefix))
    refuse(findings, node.position, `prefix of ${name} may have letters, digits and -._~ only`);
  if (
    provider === undefined &&
    (listed === undefined || (listed.kind === 'list' && listed.items.length === 0))
  )
    refuse(findings, node.position, `${name} may go nowhere: give it endpoints, or a provider`);
  if (value === undefined) {
    if (!fields.has('value')) refuse(findings, node.position, `${name} needs a value`);
    return undefined;
  }
  const problem = secretProblem(value);
  if (problem !== undefined)
    return refuse(findings, fields.get('value')?.position ?? node.position, `value of ${name} ${problem}`);
  return {
    name,
    value,
    placeholder: placeholderOf(name, prefix),
    provider,
    endpoints,
    places: readPlaces(fields.get('places'), name, findings),
    expiresAt: readExpiry(fields.get('expires'), name, findings),
    handle: undefined,
  };
}

/** What could end a header or a variable, or would be taken for a placeholder again. */
function secretProblem(value: string): string | undefined {
  if (value === '') return 'is empty';
  if (value.length > MAX_SECRET_LENGTH) return `is longer than ${MAX_SECRET_LENGTH} characters`;
  // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for
  if (/[\x00-\x08\x0a-\x1f\x7f]/.test(value))
    return 'has a line break or another control character (a block text ends with one: write "|-")';
  if (value !== value.trim()) return 'begins or ends with a space';
  return mentionsPlaceholder(value) ? 'has a placeholder in it' : undefined;
}

function readEndpoint(node: TreeNode, name: string, findings: Findings): BoundEndpoint | undefined {
  const where = `an endpoint of ${name}`;
  const fields = fieldsOf(node, where, ['host', 'port', 'path'], findings);
  const text = textOf(fields.get('host'), `host of ${where}`, findings) ?? '';
  const host = parseHostPattern(text);
  if ('problem' in host) return refuse(findings, node.position, `host of ${where} ${host.problem}`);
  if (host.kind === 'any') return refuse(findings, node.position, `${where} needs a host`);
  const portNode = fields.get('port');
  const port = portNode === undefined ? DEFAULT_PORT : portNode.kind === 'scalar' && portNode.value;
  if (typeof port !== 'number' || !Number.isInteger(port) || port < 1 || port > 65_535)
    return refuse(findings, portNode?.position ?? node.position, `port of ${where} must be from 1 to 65535`);
  const path = textOf(fields.get('path'), `path of ${where}`, findings);
  if (path !== undefined && !path.startsWith('/'))
    return refuse(findings, node.position, `path of ${where} must begin with "/"`);
  const glob = path === undefined ? undefined : parseGlob(path, PATH_GLOB);
  if (glob !== undefined && 'problem' in glob)
    return refuse(findings, node.position, `path of ${where} is no pattern: ${glob.problem}`);
  return { host, port, path: glob, text: `${host.host}:${port}${path ?? ''}` };
}

function readPlaces(node: TreeNode | undefined, name: string, findings: Findings): ReadonlySet<Place> {
  if (node === undefined) return new Set(PLACES);
  const places = itemsOf(node, `places of ${name}`, findings).flatMap((item): Place[] => {
    const text = item.kind === 'scalar' ? String(item.value).toLowerCase() : '';
    const place = PLACES.find((known) => known === text);
    if (place !== undefined) return [place];
    if (/^header:[a-z0-9!#$%&'*+.^_`|~-]+$/.test(text)) return [text as Place];
    const choices = `${PLACES.join(', ')} or header:NAME`;
    return refuse(findings, item.position, `places of ${name} are ${choices}`) ?? [];
  });
  if (node.kind === 'list' && node.items.length === 0)
    refuse(findings, node.position, `places of ${name} are empty; leave them out`);
  return new Set(places);
}

/** RFC 3339, with the offset that tells which moment is meant. */
function readExpiry(node: TreeNode | undefined, name: string, findings: Findings): number | undefined {
  const text = textOf(node, `expires of ${name}`, findings);
  if (node === undefined || text === undefined) return undefined;
  const moment = /^\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(?:\.\d+)?(?:[Zz]|[+-]\d\d:\d\d)$/.test(text)
    ? Date.parse(text)
    : Number.NaN;
  if (!Number.isNaN(moment)) return moment;
  return refuse(findings, node.position, `expires of ${name} must be a time such as 2027-01-31T12:00:00Z`);
}

function readClientCertificates(
  node: TreeNode | undefined,
  findings: Findings,
): CredentialSet['clientCertificates'] {
  const read = new Map<string, ClientCertificate>();
  for (const [name, { keyPosition, value }] of entriesOf(node, 'client_certificates', findings)) {
    if (!/^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/.test(name)) {
      refuse(findings, keyPosition, 'the name of a client certificate may have letters, digits and ._- only');
      continue;
    }
    const fields = fieldsOf(value, name, ['certificate', 'key'], findings);
    const certificate = textOf(fields.get('certificate'), `certificate of ${name}`, findings);
    const key = textOf(fields.get('key'), `key of ${name}`, findings);
    if (certificate === undefined || key === undefined)
      refuse(findings, value.position, `client certificate ${name} needs a certificate and a key, in PEM`);
    else if (!belongTogether(certificate, key))
      refuse(
        findings,
        value.position,
        `client certificate ${name}: certificate and key are no PEM without password, or do not belong together`,
      );
    else read.set(name, { certificate, key });
  }
  return read;
}

function belongTogether(certificate: string, key: string): boolean {
  try {
    return new X509Certificate(certificate).checkPrivateKey(createPrivateKey(key));
  } catch {
    return false;
  }
}

function fieldsOf<Key extends string>(
  node: TreeNode,
  where: string,
  keys: readonly Key[],
  findings: Findings,
): ReadonlyMap<Key, TreeNode> {
  const fields = new Map<Key, TreeNode>();
  for (const [name, { keyPosition, value }] of entriesOf(node, where, findings)) {
    const key = keys.find((known) => known === name);
    if (key === undefined) refuse(findings, keyPosition, `unknown key in ${where}${didYouMean(name, keys)}`);
    else if (!isAbsent(value)) fields.set(key, value);
  }
  return fields;
}

function entriesOf(node: TreeNode | undefined, where: string, findings: Findings): Entries {
  if (node?.kind === 'map') return node.entries;
  if (node !== undefined && !isAbsent(node)) refuse(findings, node.position, `${where} must be a mapping`);
  return new Map();
}

function itemsOf(node: TreeNode | undefined, where: string, findings: Findings): readonly TreeNode[] {
  if (node?.kind === 'list') return node.items;
  if (node !== undefined) refuse(findings, node.position, `${where} must be a list`);
  return [];
}

function textOf(node: TreeNode | undefined, where: string, findings: Findings): string | undefined {
  if (node === undefined) return undefined;
  if (node.kind === 'scalar' && typeof node.value === 'string') return node.value;
  const hint = node.kind === 'scalar' ? '; put it into quotes' : '';
  return refuse(findings, node.position, `${where} must be a text${hint}`);
}
