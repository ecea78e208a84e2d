import { describe, expect, it } from 'vitest';
import { signRequest, withoutSignature, withoutSignedQuery } from '../../../src/credential/signing.ts';
import { signatureFlaw } from '../../fakes/sigv4.ts';

/** Of AWS's own examples. */
const KEYS = {
  accessKeyId: 'AKIAIOSFODNN7EXAMPLE',
  secretAccessKey: 'wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY',
};
const AT = new Date('2013-05-24T00:00:00Z');
const S3 = { service: 's3', region: 'us-east-1', date: AT };
const BUCKET = 'examplebucket.s3.amazonaws.com';

const fieldOf = (fields: readonly string[], name: string) => fields[fields.indexOf(name) + 1];

/** Amazon S3 API Reference, "Authenticating Requests: Using the Authorization Header". */
describe('the published examples of S3', () => {
  it.each([
    ['GET object', 'GET', '/test.txt', ['Range', 'bytes=0-9'], '', 'f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41'],
    ['GET bucket lifecycle', 'GET', '/?lifecycle', [], '', 'fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543'],
    ['GET bucket', 'GET', '/?max-keys=2&prefix=J', [], '', '34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7'],
  ])('%s', async (_, method, target, fields, body, signature) => {
    const request = { method, target, authority: BUCKET, fields, payload: Buffer.from(body) };
    const signed = await signRequest(request, KEYS, S3);
    expect(fieldOf(signed.fields, 'authorization')).toMatch(new RegExp(`Signature=${signature}$`));
  }); // biome-ignore format: a table
});

describe('what is signed is what is sent, as AWS reads it', () => {
  it.each([
    ['s3', '/a b/ü/(x)/%2F?x=1&list-type=2&a=b+c&a=%20d&empty&prefix=a/b'],
    ['s3', '/'],
    ['sqs', '/queue/a%20b/!x*?Action=Send&Text=it%27s'],
    ['execute-api', '/stage/a:b@c/;d=1'],
  ])('%s %s', async (service, path) => {
    const target = encodeURI(path).replaceAll('%25', '%');
    const signed = await signRequest(
      {
        method: 'POST',
        target,
        authority: 'x.example:8443',
        fields: [
          'X-Two',
          'a',
          'Content-Type',
          'text/plain',
          'x-two',
          '  b   c ',
          'Cookie',
          'a=1',
          'X-Amz-Meta-A',
          'ü',
        ],
        payload: Buffer.from('body'),
      },
      { ...KEYS, sessionToken: 'token' },
      { service, region: 'eu-west-1', date: AT },
    );
    const headers = Object.fromEntries(
      Array.from({ length: signed.fields.length / 2 }, (_, index) => [
        (signed.fields[2 * index] ?? '').toLowerCase(),
        signed.fields[2 * index + 1] ?? '',
      ]),
    );
    const received = { ...headers, 'x-two': 'a, b   c', host: 'x.example:8443' };
    const flaw = signatureFlaw(
      {
        method: 'POST',
        url: signed.target,
        headers: { ...received, 'x-two': 'a,  b   c' },
        body: Buffer.from('body'),
      },
      () => KEYS.secretAccessKey,
    );
    expect(flaw).toBeUndefined();
    expect(headers).toMatchObject({ 'x-amz-security-token': 'token' });
    const forged = signatureFlaw(
      { method: 'POST', url: signed.target, headers: received, body: Buffer.from('bodY') },
      () => KEYS.secretAccessKey,
    );
    expect(forged).toBe('another body');
  });
});

describe('what a client signed before', () => {
  it('is taken out of the header', () => {
    const sent = [
      'Authorization',
      'AWS4-HMAC-SHA256 x',
      'X-Amz-Date',
      'd',
      'X-Amz-Security-Token',
      't',
      'x-amz-content-sha256',
      'h',
      'x-amz-acl',
      'private',
    ];
    expect(withoutSignature(sent)).toEqual(['x-amz-acl', 'private']);
  });
  it.each([
    [
      '/a?X-Amz-Algorithm=A&X-Amz-Credential=c&X-Amz-Date=d&X-Amz-Expires=1&X-Amz-SignedHeaders=host&X-Amz-Signature=s&x=1',
      '/a?x=1',
    ],
    ['/a?X-Amz-Signature=s', '/a'],
    ['/a?x=1', '/a?x=1'],
    ['/a', '/a'],
  ])('is taken out of the query: %s', (target, rest) => {
    expect(withoutSignedQuery(target)).toBe(rest);
  });
});
