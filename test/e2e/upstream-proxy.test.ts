/** Whole runs behind a proxy that wants a password, and in which the origin has to be certified by one authority. */
import { type ChildProcess, execFileSync } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, copyFileSync, existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { ORIGIN_ADDRESS, type World } from '../fakes/world.ts';
import {
  ALLOW_CURL,
  auditEvents,
  CALLER_UID,
  castellan,
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
const TINYPROXY = '/usr/bin/tinyproxy';
const PROXY_PORT = 3129;
const URL = `http://${ORIGIN_ADDRESS}:${PROXY_PORT}`;

async function startProxy(world: World, directory: string): Promise<AsyncDisposable> {
  const path = join(directory, 'tinyproxy.conf');
  writeFileSync(
    path,
    `Port ${PROXY_PORT}\nListen ${ORIGIN_ADDRESS}\nBasicAuth user secret\nConnectPort 8443\n`,
  );
  const proxy: ChildProcess = world.spawn([TINYPROXY, '-d', '-c', path], { stdio: 'ignore' });
  const probe = world.spawn(
    ['curl', '-s', '-o', '/dev/null', '--retry', '20', '--retry-connrefused', '--retry-delay', '1', URL],
    { stdio: 'ignore' },
  );
  await once(probe, 'exit');
  return {
    async [Symbol.asyncDispose]() {
      proxy.kill('SIGKILL');
      await once(proxy, 'exit');
    },
  };
}

/** Only castellan's own user reads it. */
function password(setup: Setup, text = 'user:secret\n'): string {
  const path = join(setup.directory, 'proxy-password');
  writeFileSync(path, text, { mode: 0o600 });
  if (setup.mode !== 'root') execFileSync('chown', [String(CALLER_UID), path]);
  return path;
}

const options = (file: string) => [
  '--upstream-proxy',
  URL,
  '--upstream-proxy-auth-file',
  file,
  '--upstream-proxy-auth-allow-insecure',
];
const CURL = ['curl', '-sS', '--max-time', '20', '--cacert'];

describe.skipIf(!isRoot || !existsSync(TINYPROXY)).each(MODES)(
  'behind a proxy, %s (needs root to make the test world)',
  (mode) => {
    it('everything goes through it, and its password stays where it is', async () => {
      const setup = prepare(sharedWorld(), mode);
      await using _ = await startProxy(setup.world, setup.directory);
      const file = password(setup);
      const script = `
        curl -sS --cacert ${setup.world.directory}/ca.crt https://allowed.demo.test:8443/x
        curl -sS http://allowed.demo.test:8080/plain
        curl -s telnet://allowed.demo.test:2525 < /dev/null; echo direct $?
        curl -sS --noproxy '*' --max-time 3 http://${ORIGIN_ADDRESS}:${PROXY_PORT}/ ; echo proxy $?
        cat ${file}
        env; cat /proc/*/environ /proc/*/cmdline 2>/dev/null | tr '\\0' '\\n' | grep -i secret; true`;
      // Root’s password is kept by its mode; a rootless agent has the same uid.
      const readable = mode === 'root' ? setup.world.directory : `${setup.world.directory}/ca.crt`;
      const policy = writePolicy(setup, ALLOW_CURL, '', [readable]);
      const { code, stdout, stderr } = await finish(
        run(setup, ['/bin/sh', '-c', script], { policy, options: options(file) }),
      );
      expect(code, stderr).toBe(0);
      expect(stdout).toContain('GET allowed.demo.test:8443 /x 0\n');
      expect(stdout).toMatch(/upstream_proxy_failed.*"proxy_status":403/);
      expect(stdout).not.toContain('user:secret');
      expect(stderr).not.toContain('user:secret');
      const log = readFileSync(setup.auditPath, 'utf8');
      expect(log).not.toMatch(/user:secret|dXNlcjpzZWNyZXQ=/);
      const [opened] = auditEvents(setup).filter(
        ({ type_uid, status_detail }) => type_uid === 400101 && !status_detail,
      );
      expect(opened).toMatchObject({
        dst_endpoint: { ip: ORIGIN_ADDRESS, proxy_endpoint: { ip: ORIGIN_ADDRESS, port: PROXY_PORT } },
      });
    });

    it.each([
      ['no password', 'nothing'],
      ['two lines', 'user:secret\nmore'],
      ['no user', ':secret'],
    ])('a file with %s ends the start, and is not repeated', async (_what, text) => {
      const setup = prepare(sharedWorld(), mode);
      const { code, stderr } = await finish(
        run(setup, ['true'], { policy: writePolicy(setup), options: options(password(setup, text)) }),
      );
      expect(code).not.toBe(0);
      expect(stderr).toContain('--upstream-proxy-auth-file has to hold one line');
      expect(stderr).not.toMatch(/nothing|:secret/);
    });

    it('a name that the proxy looks up is said to be less', async () => {
      const setup = prepare(sharedWorld(), mode);
      const argv = ['run', '--policy', writePolicy(setup), '--workdir', setup.work, '--explain'];
      const byName = ['--upstream-proxy', URL, '--upstream-proxy-connect-by-hostname', '--', 'true'];
      const { code, stdout, stderr } = await finish(castellan(setup, [...argv, ...byName]));
      expect(code, stderr).toBe(0);
      expect(stdout).toContain(`origins are reached through ${URL}`);
      expect(stdout).toContain('upstream-proxy: the proxy is told names');
    });

    it('an origin is certified by the authority of its endpoint, which the agent may not write', async () => {
      const setup = prepare(sharedWorld(), mode);
      const authority = join(setup.directory, 'authority.pem');
      const pinned = (path: string) =>
        ALLOW_CURL.replace(
          'allowed_ips',
          `protocol: rest, access: read-only, tls_authority: ${path}, allowed_ips`,
        );
      const ask = async (path: string) =>
        finish(
          run(setup, [...CURL, '/etc/ssl/certs/ca-certificates.crt', 'https://allowed.demo.test:8443/x'], {
            policy: writePolicy(setup, pinned(path)),
          }),
        );
      copyFileSync(join(setup.world.directory, 'ca.crt'), authority);
      chmodSync(authority, 0o644);
      const good = await ask(authority);
      expect(good.stdout, good.stderr).toBe('GET allowed.demo.test:8443 /x 0\n');
      execFileSync('sh', [
        '-c',
        `awk '/END/{print; exit} {print}' /etc/ssl/certs/ca-certificates.crt > ${authority}`,
      ]);
      expect((await ask(authority)).stdout).toContain('upstream_tls_failed');
      const missing = await ask('/missing.pem');
      expect(missing.stderr).toMatch(
        /policy\.yaml:\d+:\d+: tls_authority "\/missing\.pem" cannot be read \(ENOENT\)/,
      );
      copyFileSync(authority, join(setup.work, 'own.pem'));
      expect((await ask(join(setup.work, 'own.pem'))).stderr).toContain('the agent may write');
    });
  },
);
