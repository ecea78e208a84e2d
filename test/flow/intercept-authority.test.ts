/** What the authority issues, looked at by those who have to take it: OpenSSL, Node, Python and curl. */
import { X509Certificate } from 'node:crypto';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { connect as connectTcp, createServer, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { connect } from 'node:tls';
import { afterAll, describe, expect, it } from 'vitest';
import {
  type CertificateAuthority,
  createCertificateAuthority,
} from '../../src/egress/intercept/authority.ts';
import { terminateTls } from '../../src/egress/intercept/terminate.ts';
import { EGRESS_LIMITS } from '../../src/egress/limits.ts';
import { pem } from '../../src/protocol/x509.ts';
import { listen, run } from './egress-world.ts';

const LONG_NAME = `${'a'.repeat(63)}.${'b'.repeat(63)}.${'c'.repeat(63)}.example.org`;
const HOSTS = ['api.example.org', LONG_NAME, 'x-1_y.example.org', '192.0.2.7', '2001:db8::5', '::1:2:3'];
const directory = mkdtempSync(join(tmpdir(), 'castellan-authority-'));
afterAll(() => rmSync(directory, { recursive: true }));

/** A server that proves `host`, whoever asks. */
function serverFor(authority: CertificateAuthority, host: string) {
  return listen(
    createServer(async (client: Socket) => {
      const { ok, socket } = {
        socket: undefined,
        ...(await terminateTls(client, host, authority, EGRESS_LIMITS)),
      };
      if (ok) socket?.end('HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nyes');
    }),
  );
}

async function leafOf(authority: CertificateAuthority, host: string): Promise<X509Certificate> {
  await using server = await serverFor(authority, host);
  const socket = connect({ port: server.port, host: '127.0.0.1', rejectUnauthorized: false });
  await once(socket, 'secureConnect');
  const { raw } = socket.getPeerCertificate();
  socket.destroy();
  return new X509Certificate(raw);
}

describe('the authority', () => {
  const authority = createCertificateAuthority();
  const root = new X509Certificate(authority.certificatePem);
  const rootPath = join(directory, 'root.pem');
  writeFileSync(rootPath, authority.certificatePem);

  it('may sign certificates, and no authorities', async () => {
    expect(root.ca).toBe(true);
    expect(root.checkIssued(root) && root.verify(root.publicKey)).toBe(true);
    const { stdout } = await run('openssl', ['x509', '-in', rootPath, '-noout', '-text']);
    expect(stdout.toString()).toMatch(/Basic Constraints: critical\s+CA:TRUE, pathlen:0/);
    expect(stdout.toString()).toMatch(/Key Usage: critical\s+Certificate Sign, CRL Sign/);
  });

  it.each(HOSTS)('proves %s to OpenSSL by its strict rules', async (host) => {
    const leaf = await leafOf(authority, host);
    expect(leaf.ca).toBe(false);
    const path = join(directory, `${HOSTS.indexOf(host)}.pem`);
    writeFileSync(path, pem(leaf.raw));
    const name = /^[\d.]+$|:/.test(host) ? ['-verify_ip', host] : ['-verify_hostname', host];
    const verified = await run('openssl', [
      ...['verify', '-x509_strict', '-purpose', 'sslserver', '-CAfile', rootPath, '-no-CApath'],
      ...[...name, path],
    ]);
    expect(verified.stdout.toString(), verified.stderr).toContain('OK');
  });

  it.each(['api.example.org', LONG_NAME])(
    'proves %s to Node, curl and Python, and no other name',
    async (host) => {
      await using server = await serverFor(authority, host);
      const options = { port: server.port, host: '127.0.0.1', ca: authority.certificatePem };
      const socket = connect({ ...options, servername: host });
      await once(socket, 'secureConnect');
      expect(socket.authorized).toBe(true);
      socket.destroy();
      const other = connect({ ...options, servername: 'other.example.org' });
      const [error] = await once(other, 'error');
      expect(error).toMatchObject({ code: 'ERR_TLS_CERT_ALTNAME_INVALID' });
      const fetched = await run('curl', [
        ...[
          '-sS',
          '--http1.1',
          '--cacert',
          rootPath,
          '--connect-to',
          `${host}:443:127.0.0.1:${server.port}`,
          `https://${host}/`,
        ],
      ]);
      expect(fetched.stdout.toString(), fetched.stderr).toBe('yes');
      const script = `import socket, ssl
context = ssl.create_default_context(cafile=${JSON.stringify(rootPath)})
context.verify_flags |= ssl.VERIFY_X509_STRICT
with context.wrap_socket(socket.create_connection(("127.0.0.1", ${server.port})), server_hostname=${JSON.stringify(host)}) as s: print(s.version())`;
      const python = await run('python3', ['-c', script]);
      expect(python.stdout.toString(), python.stderr).toBe('TLSv1.3\n');
    },
  );

  it('is another one in every run', () => {
    const other = createCertificateAuthority();
    expect(other.certificatePem).not.toBe(authority.certificatePem);
  });

  it('leaves no client waiting that sends something else than TLS', async () => {
    await using server = await serverFor(authority, 'api.example.org');
    const socket = connectTcp(server.port, '127.0.0.1');
    socket.resume().write('GET / HTTP/1.1\r\n\r\n');
    await once(socket, 'close');
  });
});

describe('contexts', () => {
  it('are kept while they are used, and renewed before they are too old', () => {
    let now = Date.UTC(2026, 0, 1);
    const { contextFor } = createCertificateAuthority({ capacity: 2, now: () => now });
    const first = contextFor('a.example.org');
    contextFor('b.example.org');
    expect(contextFor('a.example.org')).toBe(first);
    contextFor('c.example.org');
    expect(contextFor('a.example.org')).toBe(first);
    now += 20 * 24 * 60 * 60 * 1000;
    expect(contextFor('a.example.org')).not.toBe(first);
  });

  it('make room for others', () => {
    const { contextFor } = createCertificateAuthority({ capacity: 2 });
    const first = contextFor('a.example.org');
    contextFor('b.example.org');
    contextFor('c.example.org');
    expect(contextFor('a.example.org')).not.toBe(first);
  });
});
