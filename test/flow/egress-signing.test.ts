/** Requests signed anew, by a real client that signs with placeholders, checked as AWS checks them. */
import { writeFileSync } from 'node:fs';
import type { IncomingMessage } from 'node:http';
import { dirname, join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { parseCredentials } from '../../src/credential/parse.ts';
import { CredentialStore } from '../../src/credential/store.ts';
import { signatureFlaw } from '../fakes/sigv4.ts';
import { type Inspected, inspected as inspectedWith, type Version } from './inspect-world.ts';

const SECRET = 'wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY';
const FILE = `version: 1
credentials:
  AWS_ACCESS_KEY_ID: { value: AKIAIOSFODNN7EXAMPLE, provider: aws }
  AWS_SECRET_ACCESS_KEY: { value: ${SECRET}, provider: aws }
  AWS_SESSION_TOKEN: { value: session-token-of-the-test, provider: aws }
`;
const SIGNED = 'credential_binding: {provider: aws}, signing_service: s3, signing_region: eu-west-1';
const OWN = ['--aws-sigv4', 'aws:amz:us-east-1:s3', '--user'];
const PLACEHOLDERS = 'openshell:resolve:env:AWS_ACCESS_KEY_ID:openshell:resolve:env:AWS_SECRET_ACCESS_KEY';

interface Bucket {
  readonly it: Inspected;
  readonly flaws: (string | undefined)[];
  readonly headers: IncomingMessage['headers'][];
}

async function bucket(
  keys: string,
  [client, server]: readonly [Version, Version],
  file = FILE,
): Promise<Bucket> {
  const flaws: (string | undefined)[] = [];
  const headers: IncomingMessage['headers'][] = [];
  const it = await inspectedWith(keys, {
    client,
    server,
    credentials: new CredentialStore(parseCredentials(file)),
    handler(request, response) {
      const chunks: Buffer[] = [];
      request.on('data', (chunk: Buffer) => chunks.push(chunk));
      request.on('end', () => {
        const { method = '', url = '' } = request;
        headers.push(request.headers);
        const received = { method, url, headers: request.headers, body: Buffer.concat(chunks) };
        flaws.push(signatureFlaw(received, (id) => (id === 'AKIAIOSFODNN7EXAMPLE' ? SECRET : 'of nobody')));
        response.end(String(received.body.length));
      });
    },
  });
  return { it, flaws, headers };
}

describe.each<readonly [Version, Version]>([
  ['1.1', '1.1'],
  ['2', '2'],
])('from HTTP/%s to HTTP/%s', (...versions) => {
  test.each([
    ['sigv4', 'protocol: rest, rules: [{allow: {method: "*", path: "/**"}}]'],
    ['sigv4', 'tls: ""'],
    ['sigv4:body', 'tls: ""'],
    ['sigv4:no_body', 'tls: ""'],
  ])('%s, %s', async (signing, keys) => {
    const { it, flaws, headers } = await bucket(
      `${keys}, ${SIGNED}, credential_signing: ${signing}`,
      versions,
    );
    await using _it = it;
    const target = `${it.base}/a%20b/(c)?list-type=2&prefix=x%2Fy&empty`;
    await it.fetch(...OWN, PLACEHOLDERS, '-H', 'x-amz-acl: private', target);
    const upload = await it.fetch(...OWN, PLACEHOLDERS, '-d', 'a body', `${it.base}/file`);
    expect([upload.stdout.toString(), flaws]).toEqual(['6', [undefined, undefined]]);
    expect(headers[1]).toMatchObject({
      'x-amz-security-token': 'session-token-of-the-test',
      authorization: expect.stringContaining('/eu-west-1/s3/aws4_request'),
      'x-amz-content-sha256':
        signing === 'sigv4:no_body' ? 'UNSIGNED-PAYLOAD' : expect.stringMatching(/^[0-9a-f]{64}$/),
    });
    expect(JSON.stringify([it.world.facts])).not.toContain(SECRET);
    expect(it.world.facts).toContainEqual(
      expect.objectContaining({
        credentials: ['AWS_ACCESS_KEY_ID', 'AWS_SECRET_ACCESS_KEY', 'AWS_SESSION_TOKEN'],
      }),
    );
  });

  test.each(['UNSIGNED-PAYLOAD', 'STREAMING-UNSIGNED-PAYLOAD-TRAILER'])(
    'a body that the client declares as %s is streamed',
    async (declared) => {
      const { it, flaws, headers } = await bucket(`${SIGNED}, credential_signing: sigv4`, versions);
      await using _it = it;
      const path = join(dirname(it.certificate.path), 'upload');
      writeFileSync(path, Buffer.alloc(12 * 1024 * 1024, 'x'));
      const { stdout } = await it.fetch(
        '-H',
        `x-amz-content-sha256: ${declared}`,
        '-T',
        path,
        `${it.base}/f`,
      );
      expect([stdout.toString(), flaws]).toEqual([String(12 * 1024 * 1024), [undefined]]);
      expect(headers[0]?.['x-amz-content-sha256']).toBe(declared);
    },
  );

  test('a URL that was signed beforehand is signed in the header', async () => {
    const { it, flaws } = await bucket(`${SIGNED}, credential_signing: sigv4`, versions);
    await using _it = it;
    const query =
      'X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=openshell%3Aresolve%3Aenv%3AAWS_ACCESS_KEY_ID%2Fx&X-Amz-Signature=00';
    await it.fetch(`${it.base}/f?x=1&${query}`);
    expect(flaws).toEqual([undefined]);
  });

  test.each([
    [
      'chunks with signatures',
      ['-H', 'x-amz-content-sha256: STREAMING-AWS4-HMAC-SHA256-PAYLOAD'],
      FILE,
      'request_unreadable',
    ],
    ['no key at all', [], 'version: 1\ncredentials: {}', 'credential_unavailable'],
    [
      'a key of elsewhere',
      [],
      FILE.replaceAll('provider: aws', 'provider: other'),
      'credential_endpoint_mismatch',
    ],
  ])('refuses %s', async (_, args, file, error) => {
    const { it, flaws } = await bucket(`${SIGNED}, credential_signing: sigv4`, versions, file);
    await using _it = it;
    const { stdout } = await it.fetch(...args, '-d', 'x', `${it.base}/f`);
    expect(stdout.toString()).toContain(error);
    expect(flaws).toEqual([]);
  });
});
