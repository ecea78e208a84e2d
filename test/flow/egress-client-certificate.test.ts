/** TLS to origins that ask who is there, with a certificate that only the network role has. */
import { createSecureServer } from 'node:http2';
import type { TLSSocket } from 'node:tls';
import { describe, expect, test } from 'vitest';
import { parseCredentials } from '../../src/credential/parse.ts';
import { CredentialStore } from '../../src/credential/store.ts';
import { compilePolicy } from '../../src/policy/compile.ts';
import { type Certificate, makeCertificate } from './egress-world.ts';
import { type Inspected, inspected as inspectedWith, rules, tunnel, type Version } from './inspect-world.ts';

function fileOf(certificates: Readonly<Record<string, Certificate>>): string {
  const indent = (pem: string) => pem.trim().replaceAll('\n', '\n      ');
  const entries = Object.entries(certificates).map(
    ([name, { cert, key }]) =>
      `  ${name}:\n    certificate: |\n      ${indent(cert)}\n    key: |\n      ${indent(key)}\n`,
  );
  return `version: 1\nclient_certificates:\n${entries.join('')}`;
}

interface Guarded extends AsyncDisposable {
  readonly it: Inspected;
  /** The names that were shown, a request each. */
  readonly shown: (string | undefined)[];
}

/** An origin that lets in `one` and `two`, and speaks both versions. */
async function guarded(keys: string, client: Version): Promise<Guarded> {
  const stack = new AsyncDisposableStack();
  const one = stack.use(makeCertificate('one.client'));
  const two = stack.use(makeCertificate('two.client'));
  const shown: Guarded['shown'] = [];
  const it = stack.use(
    await inspectedWith(keys, {
      client,
      credentials: new CredentialStore(parseCredentials(fileOf({ one, two }))),
      raw: ({ key, cert }) =>
        createSecureServer(
          {
            key,
            cert,
            allowHTTP1: true,
            requestCert: true,
            rejectUnauthorized: false,
            ca: [one.cert, two.cert],
          },
          (request, response) => {
            const peer = (request.socket as TLSSocket).getPeerCertificate();
            shown.push(peer.subjectaltname);
            if (request.url !== '/hang') response.end('in');
          },
        ),
    }),
  );
  return { it, shown, [Symbol.asyncDispose]: () => stack.disposeAsync() };
}

describe.each<Version>(['1.1', '2'])('HTTP/%s', (client) => {
  test.each([
    ['an endpoint that only needs it', 'client_certificate: one'],
    ['an inspected one', 'protocol: rest, access: read-only, client_certificate: one'],
  ])('is shown for %s', async (_, keys) => {
    await using world = await guarded(keys, client);
    const { it, shown } = world;
    const { stdout, stderr } = await it.fetch(`${it.base}/a`, `${it.base}/b`);
    expect(stdout.toString(), stderr).toBe('inin');
    expect(shown).toEqual(['DNS:one.client', 'DNS:one.client']);
    expect(it.connections()).toBe(1);
    expect(JSON.stringify(it.world.facts)).not.toContain('PRIVATE KEY');
  });

  test('goes with its path alone, over a connection of its own', async () => {
    await using world = await guarded(
      'path: "/one/**", protocol: rest, access: read-only, client_certificate: one}, {host: api.test, port: PORT, path: "/two/**", protocol: rest, access: read-only, client_certificate: two}, {host: api.test, port: PORT, path: "/**", protocol: rest, access: read-only',
      client,
    );
    const { it, shown } = world;
    await it.fetch(...['/one/a', '/two/a', '/x', '/one/b', '/y'].map((path) => `${it.base}${path}`));
    expect(shown).toEqual(['DNS:one.client', 'DNS:two.client', undefined, 'DNS:one.client', undefined]);
  });

  test('one that nobody has ends in words', async () => {
    await using world = await guarded('client_certificate: three', client);
    const { stdout } = await world.it.fetch(`${world.it.base}/`);
    expect(JSON.parse(stdout.toString())).toMatchObject({
      error: 'credential_unavailable',
      detail: 'no client certificate is known by the name three',
    });
    expect(world.shown).toEqual([]);
  });
});

test('plain HTTP in the tunnel is refused', async () => {
  await using world = await guarded('client_certificate: one', '1.1');
  const { it } = world;
  const { stdout } = await it.fetch('--proxytunnel', `http://api.test:${it.port}/`);
  expect(stdout.toString()).toContain('takes a client certificate');
});

test('a policy with another certificate ends what shows this one', async () => {
  await using world = await guarded('client_certificate: one', '1.1');
  const { it } = world;
  const socket = await tunnel(it.world, it.port, 'http/1.1');
  socket.write(`GET /hang HTTP/1.1\r\nHost: api.test:${it.port}\r\n\r\n`);
  await expect.poll(() => world.shown).toEqual(['DNS:one.client']);
  const closed = new Promise((resolve) => socket.resume().once('close', resolve));
  expect(it.world.egress.replacePolicy(compilePolicy(rules(it.port, 'client_certificate: two')))).toBe(1);
  await closed;
});
