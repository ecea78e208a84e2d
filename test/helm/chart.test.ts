/**
 * Renders the chart by what Helm is made of (render.go; Debian has the parts, and not Helm itself) and compares with the goldens, which
 * `npm test` looks into. Helm 3.22 and 4 itself rendered the same from the same values, and `helm lint --strict` had nothing to say.
 * UPDATE_GOLDENS=1 writes them anew.
 */
import { execFileSync, spawnSync } from 'node:child_process';
import { createPrivateKey, X509Certificate } from 'node:crypto';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { parseAllDocuments } from 'yaml';
import {
  CHART,
  chartDigest,
  DIGEST,
  GOLDENS,
  goldenText,
  HELM_CASES,
  type HelmCase,
  NAMESPACE,
  objectsOf,
  RELEASE,
  YAML,
} from './cases.ts';

const directory = mkdtempSync(join(tmpdir(), 'castellan-helm-'));
const renderer = join(directory, 'render');
const updating = process.env['UPDATE_GOLDENS'] === '1';

beforeAll(() => {
  execFileSync('/usr/lib/go/bin/go', ['build', '-o', renderer, join(import.meta.dirname, 'render.go')], {
    env: {
      HOME: directory,
      PATH: '/usr/bin:/bin',
      GOPATH: '/usr/share/gocode',
      GO111MODULE: 'off',
      GOCACHE: join(directory, 'cache'),
    },
  });
});
afterAll(() => rmSync(directory, { recursive: true, force: true }));

function render(asked: Partial<HelmCase>): { readonly text: string; readonly error: string } {
  const input = JSON.stringify({
    kubeVersion: 'v1.33.0',
    ...asked,
    values: asked.values ?? {},
    release: RELEASE,
    namespace: NAMESPACE,
  });
  const { stdout, stderr, status } = spawnSync(renderer, [CHART], { input, encoding: 'utf8' });
  return { text: stdout, error: status === 0 ? '' : stderr };
}

describe('the chart', () => {
  it.each(HELM_CASES)('renders what it should: $name', (one) => {
    const { text, error } = render(one);
    expect(error).toBe('');
    const golden = join(GOLDENS, `${one.name}.yaml`);
    if (updating) {
      mkdirSync(GOLDENS, { recursive: true });
      writeFileSync(golden, goldenText(objectsOf(text)));
      writeFileSync(DIGEST, `${chartDigest()}\n`);
    }
    expect(goldenText(objectsOf(text))).toBe(readFileSync(golden, 'utf8'));
  });

  it('makes a certificate that is good for the name that API servers use', () => {
    const objects = parseAllDocuments(render({}).text, YAML).flatMap((document) => document.toJS() ?? []);
    const { data } = objects.find(({ kind }) => kind === 'Secret');
    const { webhooks } = objects.find(({ kind }) => kind === 'MutatingWebhookConfiguration');
    const pem = (name: string) => Buffer.from(data[name], 'base64').toString();
    const certificate = new X509Certificate(pem('tls.crt'));
    const authority = new X509Certificate(pem('ca.crt'));
    expect(certificate.checkHost(`${RELEASE}-castellan.${NAMESPACE}.svc`)).toBeDefined();
    expect(certificate.verify(authority.publicKey)).toBe(true);
    expect(certificate.checkPrivateKey(createPrivateKey(pem('tls.key')))).toBe(true);
    for (const { clientConfig } of webhooks) expect(clientConfig.caBundle).toBe(data['ca.crt']);
  });

  it('keeps the certificate that is there', () => {
    const kept = { data: { 'ca.crt': 'Y2E=', 'tls.crt': 'Y3J0', 'tls.key': 'a2V5' } };
    const { text } = render({ lookup: { [`Secret/${NAMESPACE}/${RELEASE}-castellan-tls`]: kept } });
    const objects = objectsOf(text);
    expect(objects.find(({ kind }) => kind === 'Secret')).toMatchObject(kept);
    expect(JSON.stringify(objects.find(({ kind }) => kind === 'MutatingWebhookConfiguration'))).toContain(
      '"caBundle":"Y2E="',
    );
  });
});

describe('values that do not fit are refused', () => {
  const rows: readonly { name: string; values: Record<string, unknown>; message: RegExp }[] = [
    { name: 'an unknown key', values: { supervisr: {} }, message: /supervisr is not allowed/ },
    {
      name: 'an unknown key further in',
      values: { supervisor: { toplogy: 'sidecar' } },
      message: /toplogy is not allowed/,
    },
    {
      name: 'an unknown topology',
      values: { supervisor: { topology: 'pod' } },
      message: /topology must be one of/,
    },
    {
      name: 'nothing for a word',
      values: { supervisor: { topology: null } },
      message: /topology is required/,
    },
    {
      name: 'nothing for a number',
      values: { supervisor: { graceSeconds: null } },
      message: /graceSeconds is required/,
    },
    { name: 'nothing at all', values: { webhook: null }, message: /webhook is required/ },
    {
      name: 'a text for a switch',
      values: { supervisor: { readOnlyRoot: 'true' } },
      message: /readOnlyRoot: Invalid type/,
    },
    {
      name: 'a text for a port',
      values: { supervisor: { healthPort: '9000' } },
      message: /healthPort: Invalid type/,
    },
    { name: 'no policy', values: { supervisor: { policy: '' } }, message: /policy: Does not match/ },
    {
      name: 'a place in two ways',
      values: { supervisor: { workdir: '/work/' } },
      message: /workdir: Does not match/,
    },
    { name: 'root', values: { identity: { uid: 0 } }, message: /identity.uid: Must be greater/ },
    {
      name: 'a uid that means "unchanged"',
      values: { identity: { gid: 2_147_483_648 } },
      message: /identity.gid: Must be less/,
    },
    { name: 'a uid in quotes', values: { identity: { uid: '1000' } }, message: /identity.uid: Invalid type/ },
    { name: 'half a uid', values: { identity: { uid: 1.5 } }, message: /identity.uid: Invalid type/ },
    {
      name: 'a proxy that is root',
      values: { supervisor: { proxyUid: 0 } },
      message: /proxyUid: Must be greater/,
    },
    {
      name: 'a sidecar’s identity without one',
      values: { supervisor: { topology: 'combined', binaryIdentity: 'sidecar' } },
      message: /binaryIdentity/,
    },
    {
      name: 'companions without a fence',
      values: { supervisor: { topology: 'combined', companions: 'fenced' } },
      message: /companions/,
    },
    {
      name: 'a proxy with a password in its address',
      values: { supervisor: { upstreamProxy: { url: 'http://me:secret@proxy:3128' } } },
      message: /upstreamProxy.url: Does not match/,
    },
    {
      name: 'a proxy’s password without a proxy',
      values: { supervisor: { upstreamProxy: { authSecret: 'proxy' } } },
      message: /upstreamProxy takes a url/,
    },
    {
      name: 'a port of castellan’s that takes root',
      values: { supervisor: { healthPort: 80 } },
      message: /healthPort: Must be greater/,
    },
    {
      name: 'an amount that is none',
      values: { supervisor: { resources: { limits: { memory: 'lots' } } } },
      message: /memory: Does not match/,
    },
    {
      name: 'an own choice of the proxy',
      values: { supervisor: { podsMayChoose: ['upstream-proxy'] } },
      message: /podsMayChoose/,
    },
    {
      name: 'an own choice of image',
      values: { supervisor: { podsMayChoose: ['image'] } },
      message: /podsMayChoose/,
    },
    {
      name: 'to be asked about kube-system',
      values: { webhook: { excludedNamespaces: ['other'] } },
      message: /excludedNamespaces/,
    },
    { name: 'a port that takes root', values: { webhook: { port: 443 } }, message: /port: Must be greater/ },
    {
      name: 'a certificate from nowhere',
      values: { certificate: { source: 'acme' } },
      message: /source must be one of/,
    },
    {
      name: 'a secret without a name',
      values: { certificate: { source: 'secret' } },
      message: /takes certificate.secret.name/,
    },
    {
      name: 'a secret without an authority',
      values: { certificate: { source: 'secret', secret: { name: 'x' } } },
      message: /takes certificate.secret.caBundle/,
    },
  ];
  it.each(rows)('$name', ({ values, message }) => {
    expect(render({ values }).error).toMatch(message);
  });
});
