/** What AWS does with a signed request: the signature made again from the bytes that arrived (AWS General Reference, SigV4). */
import { createHash, createHmac } from 'node:crypto';
import type { IncomingHttpHeaders } from 'node:http';

export interface ReceivedRequest {
  readonly method: string;
  readonly url: string;
  readonly headers: IncomingHttpHeaders;
  readonly body: Buffer;
}

const AUTHORIZATION =
  /^AWS4-HMAC-SHA256 Credential=(?<id>[^/]+)\/(?<date>\d{8})\/(?<region>[^/]+)\/(?<service>[^/]+)\/aws4_request, SignedHeaders=(?<names>[^,]+), Signature=(?<signature>[0-9a-f]{64})$/;

/** What is wrong with the signature; undefined for a right one. */
export function signatureFlaw(
  request: ReceivedRequest,
  secretOf: (id: string) => string,
): string | undefined {
  const { headers } = request;
  const parts = AUTHORIZATION.exec(String(headers['authorization']))?.groups;
  if (parts === undefined) return `no signature in ${headers['authorization']}`;
  const { id = '', date = '', region = '', service = '', names = '', signature = '' } = parts;
  const payload = String(headers['x-amz-content-sha256']);
  if (/^[0-9a-f]{64}$/.test(payload) && payload !== sha256(request.body)) return 'another body';
  const signed = names.split(';');
  const required = ['host', ...Object.keys(headers).filter((name) => name.startsWith('x-amz-'))];
  const missing = required.find((name) => !signed.includes(name));
  if (missing !== undefined) return `${missing} is not signed`;
  const [path = '', query = ''] = request.url.split('?');
  const canonical = [
    request.method,
    canonicalPath(path, service === 's3'),
    canonicalQuery(query),
    ...signed.map((name) => `${name}:${signedValue(headers, name)}`),
    '',
    names,
    payload,
  ].join('\n');
  const scope = `${date}/${region}/${service}/aws4_request`;
  const toSign = ['AWS4-HMAC-SHA256', headers['x-amz-date'], scope, sha256(canonical)].join('\n');
  const key = [date, region, service, 'aws4_request'].reduce<Buffer | string>(hmac, `AWS4${secretOf(id)}`);
  return hmac(key, toSign).toString('hex') === signature ? undefined : `another signature over\n${canonical}`;
}

function signedValue(headers: IncomingHttpHeaders, name: string): string {
  const value = headers[name] ?? headers[':authority'];
  return [value].flat().join(',').trim().replaceAll(/ +/g, ' ');
}

function canonicalPath(path: string, isS3: boolean): string {
  const once = path.split('/').map((segment) => encode(decodeURIComponent(segment)));
  return (isS3 ? once : once.map(encode)).join('/');
}

function canonicalQuery(query: string): string {
  return query
    .split('&')
    .filter((pair) => pair !== '')
    .map((pair) => {
      const [key = '', value = ''] = pair.split('=', 2);
      return `${encode(decodeURIComponent(key))}=${encode(decodeURIComponent(value))}`;
    })
    .sort()
    .join('&');
}

function encode(text: string): string {
  return [...Buffer.from(text)]
    .map((byte) => {
      const character = String.fromCharCode(byte);
      return /[A-Za-z0-9._~-]/.test(character)
        ? character
        : `%${byte.toString(16).toUpperCase().padStart(2, '0')}`;
    })
    .join('');
}

function sha256(data: string | Buffer): string {
  return createHash('sha256').update(data).digest('hex');
}

function hmac(key: Buffer | string, data: string): Buffer {
  return createHmac('sha256', key).update(data).digest();
}
