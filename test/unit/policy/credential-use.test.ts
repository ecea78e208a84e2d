import { describe, expect, it } from 'vitest';
import { compilePolicy } from '../../../src/policy/compile.ts';
import type { CredentialUse } from '../../../src/policy/document.ts';
import { checkPolicy, parsePolicy } from '../../../src/policy/parse.ts';
import { parseToNetworkRole } from '../../../src/roles/parse.ts';

const policy = (...endpoints: readonly string[]) =>
  `version: 1\nnetwork_policies:\n${endpoints.map((keys, index) => `  r${index}: {endpoints: [{${keys}}], binaries: [{path: /b}]}\n`).join('')}`;
const A = 'host: a.example, port: 443';
const AWS = 'host: sqs.eu-west-1.amazonaws.com, port: 443';
const OFF: CredentialUse = {
  rewriteBody: false,
  rewriteWebSocket: false,
  allowUninspected: false,
  allowCleartext: false,
};

const EVERYTHING = `${AWS}, protocol: rest, access: full, credential_binding: {provider: aws}, credential_signing: "sigv4:no_body", signing_service: sqs, signing_region: us-gov-west-1, websocket_credential_rewrite: true, allow_uninspected_credentials: true, allow_cleartext_credentials: true, client_certificate: corp`;

describe('keys about credentials', () => {
  it.each<[string, CredentialUse | undefined]>([
    [A, undefined],
    [
      `${A}, credential_binding: , credential_signing: "", request_body_credential_rewrite: false, client_certificate: ""`,
      undefined,
    ],
    [`${A}, credential_binding: {provider: github}`, { ...OFF, provider: 'github' }],
    [`${A}, request_body_credential_rewrite: true`, { ...OFF, rewriteBody: true }],
    [`${A}, allow_uninspected_credentials: true, tls: skip`, { ...OFF, allowUninspected: true }],
    [
      `${AWS}, credential_signing: sigv4, signing_service: sqs`,
      { ...OFF, signing: { payload: 'auto', service: 'sqs' } },
    ],
    [
      `host: "*.example.org", port: 1, credential_signing: "sigv4:body", signing_service: s3`,
      { ...OFF, signing: { payload: 'signed', service: 's3' } },
    ],
    [
      EVERYTHING,
      {
        ...OFF,
        provider: 'aws',
        signing: { payload: 'unsigned', service: 'sqs', region: 'us-gov-west-1' },
        rewriteWebSocket: true,
        allowUninspected: true,
        allowCleartext: true,
        clientCertificate: 'corp',
      },
    ],
  ])('%s', (keys, expected) => {
    const { document, problems } = checkPolicy(policy(keys), 'p');
    expect(problems).toEqual([]);
    expect(document?.network[0]?.endpoints[0]?.credentials).toEqual(expected);
  });

  it.each([
    [`${A}, protocol: tcp, credential_binding: {provider: x}`, 'is raw TCP'],
    [`${A}, tls: skip, credential_binding: {provider: x}`, 'tls "skip" of an endpoint of rule "r0" leaves no place'],
    [`${A}, tls: skip, client_certificate: x`, 'leaves no place for credentials'],
    [`${A}, credential_binding: x`, 'credential_binding must be a mapping'],
    [`${A}, credential_binding: {}`, 'credential_binding needs a provider'],
    [`${A}, credential_binding: {provider: ""}`, 'credential_binding needs a provider'],
    [`${A}, credential_binding: {providers: x}`, 'unknown key "providers" in credential_binding, did you mean "provider"?'],
    [`${A}, credential_signing: sigv5, signing_service: x`, 'credential_signing must be "sigv4" or'],
    [`${AWS}, credential_signing: sigv4`, 'needs a signing_service'],
    [`${A}, credential_signing: sigv4, signing_service: s3`, 'needs a signing_region: the host does not tell it'],
    [`${AWS}, credential_signing: sigv4, signing_service: "a/b"`, 'has characters that no name of AWS has'],
    [`${A}, signing_region: x`, 'take credential_signing'],
    [`${AWS}, credential_signing: sigv4, signing_service: sqs, request_body_credential_rewrite: true`, 'has both credential_signing and'],
    [`${A}, protocol: graphql, access: full, request_body_credential_rewrite: true`, 'takes protocol "rest", or none'],
    [`${A}, protocol: graphql, access: full, websocket_credential_rewrite: true`, 'takes protocol "rest" or "websocket", or none'],
    [`${A}, request_body_credential_rewrite: yes`, 'must be true or false'],
    [`${A}, credential_bindings: {provider: x}`, 'did you mean "credential_binding"?'],
  ])('%s is refused', (keys, message) => {
    const { document, problems } = checkPolicy(policy(keys), 'p');
    expect(document).toBeUndefined();
    expect(problems.map((problem) => problem.message).join('\n')).toContain(message);
  }); // biome-ignore format: a table
});

it('they cross the wire to the network role', () => {
  const rules = parsePolicy(
    policy(EVERYTHING, `${A}, tls: skip`, 'host: b.example, port: 1, request_body_credential_rewrite: true'),
    'p',
  ).network;
  const message = JSON.parse(JSON.stringify({ type: 'policy', generation: 2, rules }));
  expect(parseToNetworkRole(message)).toEqual({ type: 'policy', generation: 2, rules });
});

describe('a decision', () => {
  const ask = (...endpoints: readonly string[]) => {
    const decider = compilePolicy(parsePolicy(policy(...endpoints), 'p').network);
    const verdict = decider.decide({ host: 'a.example', port: 443, binaries: ['/b'] });
    if (!verdict.allow) throw new Error(verdict.detail);
    return { ...verdict, inspects: decider.inspects };
  };
  const BOUND = 'credential_binding: {provider: x}';

  it('tells how credentials are used, and that TLS has to be opened', () => {
    expect(ask(`${A}, ${BOUND}`)).toMatchObject({
      inspects: true,
      credentials: { provider: 'x' },
      requests: undefined,
    });
    expect(ask(A)).toMatchObject({ inspects: false, credentials: undefined, skipsTls: undefined });
    expect(ask(`${A}, allow_cleartext_credentials: true`)).toMatchObject({ inspects: false });
    expect(ask(`${A}, tls: skip`)).toMatchObject({ skipsTls: true });
    expect(ask(`${A}, protocol: tcp`)).toMatchObject({ skipsTls: true });
  });

  it('takes them from any endpoint for the destination', () => {
    const wide = `host: "*.example", port: 443`.replace('*.example', '**.a.example');
    expect(ask(A, `${A}, ${BOUND}`, wide).credentials).toMatchObject({ provider: 'x' });
  });

  it('takes those of a request from its route', () => {
    const rest = 'protocol: rest, access: full';
    const { requests } = ask(`${A}, path: "/x/**", ${rest}, ${BOUND}`, `${A}, ${rest}`);
    const route = (path: string) => {
      const found = requests?.route({ allow: [path], deny: [path] });
      return found !== undefined && 'judge' in found ? found.credentials?.provider : 'denied';
    };
    expect([route('/x/y'), route('/y')]).toEqual(['x', undefined]);
  });
});
