import { expect, it } from 'vitest';
import { parsePolicy } from '../../../src/policy/parse.ts';
import { credentialRemarks } from '../../../src/start/credential-remarks.ts';

const policy = (keys: string) =>
  parsePolicy(
    `version: 1\nnetwork_policies: { r: { endpoints: [{ host: a.example, port: 443${keys} }], binaries: [{ path: /b }] } }`,
    'p',
  );

it.each([
  ['', undefined, []],
  [', allow_cleartext_credentials: true', undefined, []],
  [
    ', credential_binding: { provider: x }',
    undefined,
    ['rule r uses credentials at a.example, and there are none (--credentials)'],
  ],
  [', client_certificate: x', undefined, [expect.stringContaining('there are none')]],
  [
    ', credential_binding: { provider: x }',
    '/c.yaml',
    [expect.stringContaining('castellan credentials /c.yaml checks it')],
  ],
])('%s with %s', (keys, credentials, expected) => {
  const secretFiles = credentials === undefined ? {} : { credentials };
  expect(credentialRemarks({ secretFiles }, policy(keys))).toEqual(expected);
});
