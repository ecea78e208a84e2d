/** Inspected requests of real clients in a real cell: what they trust, what they may ask, and what the log says. */
import { dirname } from 'node:path';
import { describe, expect, it } from 'vitest';
import {
  auditEvents,
  DIRECT,
  finish,
  isRoot,
  MODES,
  prepare,
  run,
  type Setup,
  useWorld,
  writePolicy,
} from './sandbox.ts';

const sharedWorld = useWorld();

const READ_ONLY = `network_policies:
  reading:
    endpoints:
      - host: allowed.demo.test
        ports: [8443, 8080]
        protocol: rest
        enforcement: enforce
        allowed_ips: [10.77.0.0/24]
        rules: [{ allow: { method: GET, path: "/public/**" } }]
    binaries: [{ path: /usr/bin/curl }, { path: "/usr/bin/python3*" }, { path: "/**/node" }, { path: "/usr/lib/git-core/*" }]
`;
const URL = 'https://allowed.demo.test:8443';

async function sh(setup: Setup, script: string) {
  const policy = writePolicy(setup, READ_ONLY, '', [dirname(process.execPath)]);
  return finish(run(setup, ['/bin/sh', '-c', script], { policy }));
}

describe.skipIf(!isRoot).each(MODES)('inspected requests, %s (needs root to make the test world)', (mode) => {
  it.each([
    ['curl', `curl -sS ${URL}/public/a`],
    ['curl without the proxy', `${DIRECT} curl -sS ${URL}/public/a`],
    ['curl without its variables', `env -u CURL_CA_BUNDLE -u SSL_CERT_FILE curl -sS ${URL}/public/a`],
    [
      'Python',
      `python3 -c 'import urllib.request; print(urllib.request.urlopen("${URL}/public/a").read().decode(), end="")'`,
    ],
    [
      'Node',
      `${process.execPath} -e 'fetch("${URL}/public/a").then((r) => r.text()).then((t) => process.stdout.write(t))'`,
    ],
  ])('%s trusts the sandbox’s authority', async (_, command) => {
    const setup = prepare(sharedWorld(), mode);
    const { stdout, stderr } = await sh(setup, command);
    expect(stdout, stderr).toBe('GET allowed.demo.test:8443 /public/a 0\n');
  });

  it('refuses, says why, and writes it down', async () => {
    const setup = prepare(sharedWorld(), mode);
    const { stdout } = await sh(setup, `curl -sS -X DELETE ${URL}/public/a; curl -sS ${URL}/private`);
    const [first, second] = stdout
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line));
    expect(first).toMatchObject({ reason: 'request_not_listed', rule_missing: { method: 'DELETE' } });
    expect(second).toMatchObject({ reason: 'request_not_listed', rule_missing: { path: '/private' } });
    const denied = auditEvents(setup).filter(
      ({ class_uid, action }) => class_uid === 4002 && action === 'Denied',
    );
    expect(denied.map(({ message }) => message)).toEqual([
      expect.stringContaining('DELETE https://allowed.demo.test:8443/public/a denied: request_not_listed'),
      expect.stringContaining('GET https://allowed.demo.test:8443/private denied: request_not_listed'),
    ]);
  });

  it('shows the agent the authority and nothing else of castellan’s', async () => {
    const setup = prepare(sharedWorld(), mode);
    const { stdout } = await sh(
      setup,
      'ls -A "$(dirname "$NODE_EXTRA_CA_CERTS")" | grep -vx java-cacerts; echo x > "$SSL_CERT_FILE" || echo unwritten; ls "$(dirname "$SSL_CERT_FILE")/.." | grep -c castellan-ca; grep -c CERTIFICATE "$NODE_EXTRA_CA_CERTS"',
    );
    expect(stdout).toBe('ca-bundle.pem\ncastellan-ca.pem\nunwritten\n0\n2\n');
  });
});

describe.skipIf(!isRoot)('other systems (needs root to make them)', () => {
  it('starts where the system’s bundle is reached through a link', async () => {
    const setup = prepare(sharedWorld(), 'root');
    const relink =
      'cp /etc/ssl/certs/ca-certificates.crt /tmp/castellan-bundle.$$ && mount -t tmpfs none /etc/ssl/certs && mv /tmp/castellan-bundle.$$ /etc/ssl/certs/real.crt && ln -s real.crt /etc/ssl/certs/ca-certificates.crt && exec "$@"';
    const policy = writePolicy(setup, READ_ONLY);
    const through = ['unshare', '--mount', 'sh', '-c', relink, 'sh'];
    const { stdout, stderr } = await finish(
      run(setup, ['curl', '-sS', `${URL}/public/a`], { policy, through }),
    );
    expect(stdout, stderr).toBe('GET allowed.demo.test:8443 /public/a 0\n');
  });

  it('shows Java’s stores and the settings of browsers with the authority', async () => {
    const setup = prepare(sharedWorld(), 'root');
    const [java, chrome] = ['/opt/java/jdk/lib/security', '/etc/opt/chrome/policies/managed'];
    const furnish = `mount -t tmpfs none /opt && mount -t tmpfs none /etc/opt && mkdir -p ${java} ${chrome} && echo old > ${java}/cacerts && echo '{}' > ${chrome}/own.json && exec "$@"`;
    const look = `od -An -tx1 -N4 ${java}/cacerts; ls ${chrome}; grep -o CACertificates ${chrome}/castellan.json
for file in ${java}/cacerts ${chrome}/castellan.json ${chrome}/new; do (echo x > $file) 2>/dev/null || echo unwritten; done`;
    const policy = writePolicy(setup, READ_ONLY, '', ['/opt']);
    const through = ['unshare', '--mount', 'sh', '-c', furnish, 'sh'];
    const { stdout, stderr } = await finish(run(setup, ['/bin/sh', '-c', look], { policy, through }));
    const unwritten = 'unwritten\n'.repeat(3);
    expect(stdout, stderr).toBe(` fe ed fe ed\ncastellan.json\nown.json\nCACertificates\n${unwritten}`);
  });
});
