/**
 * Where requests to models go, with the key that opens each: the operator's, read by the network role alone. No message about
 * a mistake in them repeats a value.
 */
import { isIP } from 'node:net';
import { CastellanError } from '../../errors.ts';
import { checkOperatorDestination } from '../../policy/destination.ts';
import type { SourcePosition, TlsAuthority } from '../../policy/document.ts';
import { localPort } from '../../policy/local-names.ts';
import { type Glob, parseGlob, TEXT_GLOB } from '../../policy/match/glob.ts';
import { canonicalHost } from '../../policy/match/host.ts';
import { didYouMean, isAbsent, readInteger, readList, readMap } from '../../policy/source/fields.ts';
import type { Findings } from '../../policy/source/findings.ts';
import { readTree, type TreeNode } from '../../policy/source/tree.ts';
import { authorityOf, parseCertificate } from '../../policy/tls-authority.ts';
import { certificatesIn } from '../../protocol/pem.ts';
import { MODEL_PROTOCOLS, type ModelProtocol } from './model-shapes.ts';

export interface ModelRoute {
  readonly name: string;
  readonly scheme: 'http' | 'https';
  readonly host: string;
  readonly port: number;
  /** Before the path of each request; without a slash at its end. */
  readonly basePath: string;
  readonly protocols: readonly ModelProtocol[];
  /** Written into every request. */
  readonly model: string;
  /** Names by which clients may ask for it; undefined for any. */
  readonly models: readonly Glob[] | undefined;
  /** The model is named in the path, by the convention of Vertex AI. */
  readonly modelInPath: boolean;
  readonly provider: string;
  /** Fields that castellan adds, in place of those of the client: the key among them. */
  readonly fields: readonly (readonly [name: string, value: string])[];
  /** For the whole of an answer that is no stream. */
  readonly timeoutMs: number;
  /** Who proves the endpoint; undefined for the authorities of this machine. */
  readonly tlsAuthority: TlsAuthority | undefined;
  /** What must not appear in anything that the client is told. */
  readonly secrets: readonly string[];
}

const KEYS = [
  'name',
  'endpoint',
  'model',
  'models',
  'model_in_path',
  'provider_type',
  'protocols',
  'api_key',
  'auth',
  'headers',
  'timeout_seconds',
  'ca',
] as const;
type Key = (typeof KEYS)[number];
type Fields = ReadonlyMap<Key, TreeNode>;

/** Each is looked at for every request. */
const MAX_ROUTES = 64;
const MAX_HEADERS = 16;
/** What is shorter is no secret, and may stand in any answer. */
const MIN_SECRET = 8;
const DEFAULT_TIMEOUT_S = 60;
/** A buffered answer may need all of a reasoning model's time. */
const MAX_TIMEOUT_S = 3600;
/** RFC 9110 §5.5, without what is not ASCII: a key with a line break in it would write fields of its own. */
const FIELD_VALUE = /^[\x20-\x7e]{1,8192}$/;
const FIELD_NAME = /^[A-Za-z0-9!#$%&'*+.^_`|~-]{1,64}$/;
/** Written by castellan from what it knows. */
const OWN_FIELDS: readonly string[] = [
  'accept-encoding',
  'connection',
  'content-length',
  'content-type',
  'expect',
  'host',
  'keep-alive',
  'te',
  'trailer',
  'transfer-encoding',
  'upgrade',
];
/** Anthropic's API asks every client for a version. */
const ANTHROPIC_VERSION: readonly [string, string] = ['anthropic-version', '2023-06-01'];

class Mistake extends Error {
  readonly position: SourcePosition;

  constructor(position: SourcePosition, message: string) {
    super(message);
    this.position = position;
  }
}

/**
 * The routes a text stands for, in its order. `file` names it in messages.
 * @throws CastellanError `usage`, whose message begins with FILE:LINE:COLUMN and repeats no value of the file
 */
export function parseModelRoutes(text: string, file: string): ModelRoute[] {
  const findings: Findings = { file, problems: [], notices: [] };
  try {
    const tree = readTree(text, findings);
    const [broken] = findings.problems;
    if (tree === undefined || broken !== undefined)
      throw new Mistake(broken?.position ?? { line: 1, column: 1 }, 'is no YAML, or has a key twice');
    const routes = readMap(tree, 'the file', findings);
    for (const [key, { keyPosition }] of routes)
      if (key !== 'routes') throw new Mistake(keyPosition, 'the only key here is routes');
    const list = routes.get('routes')?.value;
    if (list?.kind !== 'list' || list.items.length === 0)
      throw new Mistake(list?.position ?? tree.position, 'routes must be a list of at least one');
    if (list.items.length > MAX_ROUTES)
      throw new Mistake(list.position, `there are more than ${MAX_ROUTES} routes`);
    return list.items.map(readRoute);
  } catch (error) {
    if (!(error instanceof Mistake)) throw error;
    const { line, column } = error.position;
    throw new CastellanError('usage', `${file}:${line}:${column}: ${error.message}`, {
      step: 'inference-routes',
      object: file,
      remedy: 'correct the file at the line and column given',
    });
  }
}

function readRoute(node: TreeNode): ModelRoute {
  const fields = readRouteFields(node);
  const endpoint = readEndpoint(required(fields, 'endpoint', node));
  const key = fields.get('api_key');
  const provider = word(fields, 'provider_type') ?? 'openai-compatible';
  const isAnthropic = provider === 'anthropic';
  const auth = word(fields, 'auth') ?? (key === undefined ? 'none' : isAnthropic ? 'x-api-key' : 'bearer');
  const secret = key && fieldValue(key, 'api_key');
  const credential = credentialField(auth, secret, fields.get('auth') ?? node);
  const headers = readHeaders(fields.get('headers'));
  const protocols = readProtocols(required(fields, 'protocols', node));
  const modelInPath = readFlag(fields.get('model_in_path'), 'model_in_path');
  const versioned = isAnthropic && !headers.some(([name]) => name === ANTHROPIC_VERSION[0]);
  return {
    ...endpoint,
    name: plain(required(fields, 'name', node), 'name'),
    protocols,
    model: plain(required(fields, 'model', node), 'model'),
    models: readModels(fields.get('models')),
    modelInPath,
    provider,
    fields: [...credential, ...headers, ...(versioned ? [ANTHROPIC_VERSION] : [])],
    timeoutMs: readTimeout(fields.get('timeout_seconds')) * 1000,
    tlsAuthority: readAuthority(fields.get('ca'), endpoint.scheme),
    secrets: [secret ?? '', ...headers.map(([, value]) => value)].filter(
      ({ length }) => length >= MIN_SECRET,
    ),
  };
}

function readRouteFields(node: TreeNode): Fields {
  if (node.kind !== 'map') throw new Mistake(node.position, 'a route must be a mapping');
  const fields = new Map<Key, TreeNode>();
  for (const [name, { keyPosition, value }] of node.entries) {
    const key = KEYS.find((known) => known === name);
    // Where the indentation is wrong a value may stand in a key's place.
    const near = didYouMean(name, KEYS);
    if (name === 'api_key_env')
      throw new Mistake(keyPosition, 'api_key_env: the network role has no variables; write api_key');
    if (key === undefined) throw new Mistake(keyPosition, `unknown key in a route${near}`);
    if (!isAbsent(value)) fields.set(key, value);
  }
  return fields;
}

function required(fields: Fields, key: Key, { position }: TreeNode): TreeNode {
  const node = fields.get(key);
  if (node === undefined) throw new Mistake(position, `the route needs ${key}`);
  return node;
}

function textOf(node: TreeNode, key: string): string {
  if (node.kind === 'scalar' && typeof node.value === 'string') return node.value;
  throw new Mistake(node.position, `${key} must be a text; put it in quotes`);
}

function plain(node: TreeNode, key: string): string {
  const text = textOf(node, key);
  if (/^[\x21-\x7e]{1,256}$/.test(text)) return text;
  throw new Mistake(node.position, `${key} must be 1 to 256 visible characters without blanks`);
}

function word(fields: Fields, key: Key): string | undefined {
  const node = fields.get(key);
  if (node === undefined) return undefined;
  const text = textOf(node, key);
  if (/^[a-z0-9][a-z0-9_-]{0,63}$/.test(text)) return text;
  throw new Mistake(node.position, `${key} must be a word of a-z, 0-9, - and _`);
}

function fieldValue(node: TreeNode, key: string): string {
  const text = textOf(node, key);
  if (FIELD_VALUE.test(text) && text.trim() === text) return text;
  throw new Mistake(node.position, `${key} must be ASCII in one line, without blanks at its ends`);
}

function readFlag(node: TreeNode | undefined, key: string): boolean {
  if (node === undefined) return false;
  if (node.kind === 'scalar' && typeof node.value === 'boolean') return node.value;
  throw new Mistake(node.position, `${key} must be true or false`);
}

function readEndpoint(node: TreeNode): Pick<ModelRoute, 'scheme' | 'host' | 'port' | 'basePath'> {
  const text = textOf(node, 'endpoint');
  const url = /^[\x21-\x7e]+$/.test(text) && URL.canParse(text) ? new URL(text) : undefined;
  const scheme = url?.protocol === 'https:' ? 'https' : url?.protocol === 'http:' ? 'http' : undefined;
  const host = url && canonicalHost(url.hostname.replace(/^\[(.*)\]$/, '$1').replace(/\.$/, ''));
  if (url === undefined || scheme === undefined || host === undefined)
    throw new Mistake(node.position, 'endpoint must be a URL such as https://host/v1');
  if (url.username !== '' || url.password !== '' || url.search !== '' || url.hash !== '')
    throw new Mistake(node.position, 'endpoint must have no user, query or fragment');
  if (localPort(host) !== undefined)
    throw new Mistake(node.position, 'endpoint must not be castellan itself');
  const port = url.port === '' ? (scheme === 'https' ? 443 : 80) : Number(url.port);
  const literal = isIP(host) === 0 ? undefined : checkOperatorDestination(scheme, host, port, [host]);
  if (literal?.ok === false)
    throw new Mistake(node.position, 'endpoint is an address that may not be reached, or not by http');
  return { scheme, host, port, basePath: url.pathname.replace(/\/+$/, '') };
}

function readProtocols(node: TreeNode): ModelProtocol[] {
  const items = node.kind === 'list' ? node.items : [];
  if (items.length === 0) throw new Mistake(node.position, 'protocols must be a list of at least one');
  return items.map((item) => {
    const text = textOf(item, 'a protocol');
    const protocol = MODEL_PROTOCOLS.find((known) => known === text);
    if (protocol === undefined)
      throw new Mistake(
        item.position,
        `a protocol must be one of ${MODEL_PROTOCOLS.join(', ')}${didYouMean(text, MODEL_PROTOCOLS)}`,
      );
    return protocol;
  });
}

function readModels(node: TreeNode | undefined): Glob[] | undefined {
  if (node === undefined) return undefined;
  const findings: Findings = { file: '', problems: [], notices: [] };
  const items = readList(node, 'models', findings);
  if (items.length === 0) throw new Mistake(node.position, 'models must be a list of at least one');
  return items.map((item) => {
    const glob = parseGlob(plain(item, 'an entry of models'), TEXT_GLOB);
    if ('problem' in glob) throw new Mistake(item.position, 'an entry of models is no pattern');
    return glob;
  });
}

function credentialField(
  auth: string,
  secret: string | undefined,
  { position }: TreeNode,
): readonly (readonly [string, string])[] {
  if (auth === 'none' && secret === undefined) return [];
  if (secret === undefined || auth === 'none')
    throw new Mistake(
      position,
      'auth and api_key belong together: auth is bearer, x-api-key, or none without a key',
    );
  if (auth === 'bearer') return [['authorization', `Bearer ${secret}`]];
  if (auth === 'x-api-key') return [['x-api-key', secret]];
  throw new Mistake(position, 'auth must be bearer, x-api-key or none');
}

function readHeaders(node: TreeNode | undefined): (readonly [string, string])[] {
  if (node === undefined) return [];
  if (node.kind !== 'map') throw new Mistake(node.position, 'headers must be a mapping');
  if (node.entries.size > MAX_HEADERS)
    throw new Mistake(node.position, `there are more than ${MAX_HEADERS} headers`);
  return [...node.entries].map(([name, { keyPosition, value }]) => {
    const lower = name.toLowerCase();
    if (!FIELD_NAME.test(name) || OWN_FIELDS.includes(lower) || lower.startsWith('proxy-'))
      throw new Mistake(keyPosition, 'a header that a route may not set');
    return [lower, fieldValue(value, 'a header')];
  });
}

function readTimeout(node: TreeNode | undefined): number {
  const findings: Findings = { file: '', problems: [], notices: [] };
  const seconds = readInteger(node, 'timeout_seconds', [1, MAX_TIMEOUT_S], findings);
  if (node !== undefined && seconds === undefined)
    throw new Mistake(node.position, `timeout_seconds must be a whole number from 1 to ${MAX_TIMEOUT_S}`);
  return seconds ?? DEFAULT_TIMEOUT_S;
}

function readAuthority(node: TreeNode | undefined, scheme: 'http' | 'https'): TlsAuthority | undefined {
  if (node === undefined) return undefined;
  const text = textOf(node, 'ca');
  const certificates = certificatesIn(text);
  const isPem = /^-----BEGIN CERTIFICATE-----\n[\s\S]*-----END CERTIFICATE-----\s*$/.test(text);
  if (scheme === 'https' && isPem && certificates.length > 0 && certificates.every(parseCertificate))
    return authorityOf('inference routes', certificates);
  throw new Mistake(node.position, 'ca must be PEM certificates, for an https endpoint');
}
