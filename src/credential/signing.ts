/** AWS Signature Version 4 over a request whose own signature was made with placeholders. */
import { createHash, createHmac, type Hash, type Hmac } from 'node:crypto';
import { SignatureV4 } from '@smithy/signature-v4';
import { encodeStrict } from './substitute.ts';

export interface SigningKeys {
  readonly accessKeyId: string;
  readonly secretAccessKey: string;
  readonly sessionToken?: string | undefined;
}

export interface RequestToSign {
  readonly method: string;
  /** Path and query. */
  readonly target: string;
  /** Host, with the port unless it is 443. */
  readonly authority: string;
  /** That travel on, as a flat list. */
  readonly fields: readonly string[];
  /** What the signature says of the body: its bytes, or a word of the protocol that stands for them. */
  readonly payload: Uint8Array | string;
}

export interface SignatureScope {
  readonly service: string;
  readonly region: string;
  readonly date: Date;
}

export interface SignedRequest {
  /** Encoded as it was signed. */
  readonly target: string;
  readonly fields: readonly string[];
}

/** What a client's own signing leaves behind. */
const OWN: ReadonlySet<string> = new Set([
  'authorization',
  'x-amz-content-sha256',
  'x-amz-date',
  'x-amz-security-token',
]);
/** The same in the query of a URL that was signed beforehand. */
const OWN_IN_QUERY = /^x-amz-(?:algorithm|credential|date|expires|signedheaders|signature|security-token)$/i;
/** Besides those of the library: written anew on the way, or changed by it. */
const UNSIGNED: ReadonlySet<string> = new Set([
  'accept-encoding',
  'amz-sdk-invocation-id',
  'amz-sdk-request',
  'content-length',
  'cookie',
  'via',
]);
/** The one service whose paths are encoded once (AWS General Reference, create a signed request). */
const ENCODED_ONCE: readonly string[] = ['s3', 's3-object-lambda', 's3-outposts', 's3express'];

/** What a client declares about its body; undefined where it declares nothing. */
export function declaredPayload(fields: readonly string[]): string | undefined {
  const index = fields.findIndex(
    (text, place) => place % 2 === 0 && text.toLowerCase() === 'x-amz-content-sha256',
  );
  return index < 0 ? undefined : fields[index + 1];
}

/** The fields without a signature. */
export function withoutSignature(fields: readonly string[]): string[] {
  return fields.flatMap((text, index) =>
    index % 2 === 0 && !OWN.has(text.toLowerCase()) ? [text, fields[index + 1] ?? ''] : [],
  );
}

/** The target without a signature. */
export function withoutSignedQuery(target: string): string {
  const mark = target.indexOf('?');
  if (mark < 0) return target;
  const kept = target
    .slice(mark + 1)
    .split('&')
    .filter((pair) => !OWN_IN_QUERY.test(pair.split('=', 1)[0] ?? ''));
  return kept.length === 0 ? target.slice(0, mark) : `${target.slice(0, mark)}?${kept.join('&')}`;
}

/** Signs a request that has no signature. What is signed is what has to be sent. */
export async function signRequest(
  request: RequestToSign,
  keys: SigningKeys,
  { service, region, date }: SignatureScope,
): Promise<SignedRequest> {
  const { method, authority, payload } = request;
  const { path, query, target } = canonicalTarget(request.target);
  const { accessKeyId, secretAccessKey, sessionToken } = keys;
  const signer = new SignatureV4({
    service,
    region,
    credentials: { accessKeyId, secretAccessKey, ...(sessionToken !== undefined && { sessionToken }) },
    sha256: Sha256,
    uriEscapePath: !ENCODED_ONCE.includes(service),
  });
  const headers = headerObject(request.fields);
  headers['host'] = authority;
  headers['x-amz-content-sha256'] =
    typeof payload === 'string' ? payload : createHash('sha256').update(payload).digest('hex');
  const signed = await signer.sign(
    { method, protocol: 'https:', hostname: authority, path, query, headers },
    { signingDate: date, unsignableHeaders: new Set(UNSIGNED) },
  );
  const added = [...OWN].flatMap((name) => {
    const value = signed.headers[name];
    return value === undefined ? [] : [name, value];
  });
  return { target, fields: [...request.fields, ...added] };
}

/** Every character but the unreserved ones encoded, on the wire as in the signature. */
function canonicalTarget(target: string): {
  readonly path: string;
  readonly query: Record<string, string[]>;
  readonly target: string;
} {
  const mark = target.indexOf('?');
  const path = (mark < 0 ? target : target.slice(0, mark))
    .split('/')
    .map((segment) => encodeStrict(decodeURIComponent(segment)))
    .join('/');
  const query: Record<string, string[]> = Object.create(null);
  if (mark < 0) return { path, query, target: path };
  const pairs = target
    .slice(mark + 1)
    .split('&')
    .filter((pair) => pair !== '')
    .map((pair): [string, string] => {
      const equals = pair.indexOf('=');
      const [key, value] = equals < 0 ? [pair, ''] : [pair.slice(0, equals), pair.slice(equals + 1)];
      return [decodeForm(key), decodeForm(value)];
    });
  for (const [key, value] of pairs) query[key] = [...(query[key] ?? []), value];
  const text = pairs.map(([key, value]) => `${encodeStrict(key)}=${encodeStrict(value)}`).join('&');
  return { path, query, target: text === '' ? path : `${path}?${text}` };
}

function decodeForm(text: string): string {
  return decodeURIComponent(text.replaceAll('+', ' '));
}

/** Values of one name together, in their order. */
function headerObject(fields: readonly string[]): Record<string, string> {
  const object: Record<string, string> = Object.create(null);
  for (let index = 0; index + 1 < fields.length; index += 2) {
    const name = (fields[index] as string).toLowerCase();
    const before = object[name];
    object[name] = before === undefined ? (fields[index + 1] as string) : `${before},${fields[index + 1]}`;
  }
  return object;
}

/** The hash as the library asks for it, with Node's own behind it. */
class Sha256 {
  readonly #secret: string | Uint8Array | undefined;
  #hash: Hash | Hmac;

  constructor(secret?: unknown) {
    this.#secret = typeof secret === 'string' || secret instanceof Uint8Array ? secret : undefined;
    this.#hash = this.#fresh();
  }

  update(data: string | Uint8Array): void {
    this.#hash.update(data);
  }

  async digest(): Promise<Uint8Array> {
    return this.#hash.digest();
  }

  reset(): void {
    this.#hash = this.#fresh();
  }

  #fresh(): Hash | Hmac {
    return this.#secret === undefined ? createHash('sha256') : createHmac('sha256', this.#secret);
  }
}
