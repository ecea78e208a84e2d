import {
  chmodSync,
  chownSync,
  copyFileSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { sha256 } from '../native/identified.ts';
import {
  AGENT_UID,
  ALLOW_CURL,
  auditEvents,
  CALLER_UID,
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

async function sh(setup: Setup, script: string, network = ALLOW_CURL) {
  return finish(run(setup, ['/bin/sh', '-c', script], { policy: writePolicy(setup, network) }));
}

const NETWORK_WITH_PYTHON = ALLOW_CURL.replace('/usr/bin/curl', '/usr/bin/python3');
const pinnedTo = (hash: string) =>
  ALLOW_CURL.replace('path: /usr/bin/curl', `path: /usr/bin/curl, sha256: "${hash}"`);

describe.skipIf(!isRoot).each(MODES)('castellan run, %s (needs root to make the test world)', (mode) => {
  const uid = mode === 'root' ? AGENT_UID : CALLER_UID;

  it('runs the command as the sandbox user without any privilege', async () => {
    const setup = prepare(sharedWorld(), mode);
    const { code, stdout } = await sh(setup, 'cat /proc/self/status; id -u; pwd; ls /proc/self/fd');
    expect(code).toBe(0);
    for (const set of ['CapInh', 'CapPrm', 'CapEff', 'CapBnd', 'CapAmb'])
      expect(stdout).toMatch(new RegExp(`^${set}:\\s+0+$`, 'm'));
    expect(stdout).toMatch(/^NoNewPrivs:\s+1$/m);
    expect(stdout).toMatch(/^Seccomp:\s+2$/m);
    expect(stdout).toMatch(new RegExp(`^Uid:\\s+${uid}\\s+${uid}\\s+${uid}\\s+${uid}$`, 'm'));
    expect(stdout).toContain(`${setup.work}\n`);
    // 3 is the directory that ls itself reads.
    expect(stdout.trimEnd().split('\n').slice(-4)).toEqual(['0', '1', '2', '3']);
  });

  it.each([
    ['exit 0', 0],
    ['exit 7', 7],
    ['kill -TERM $$', 143],
    ['kill -KILL $$', 137],
  ])('gives the exit code of: %s', async (script, code) => {
    expect((await sh(prepare(sharedWorld(), mode), script)).code).toBe(code);
  });

  it('builds the environment from nothing', async () => {
    const { stdout } = await sh(prepare(sharedWorld(), mode), 'env');
    expect(stdout).not.toContain('SECRET_OF_THE_CALLER');
    expect(stdout).toContain('HTTPS_PROXY=http://127.0.0.1:3128');
    expect(stdout).toContain('CASTELLAN=1');
  });

  it('lets the agent write in the working directory and nowhere else', async () => {
    const setup = prepare(sharedWorld(), mode);
    writeFileSync(join(setup.directory, 'open.txt'), 'not granted');
    chmodSync(join(setup.directory, 'open.txt'), 0o666);
    const { stdout } = await sh(
      setup,
      'echo x > made && echo wrote; cat ../open.txt || echo unread; echo x > ../open.txt || echo unwritten; ls /root || echo hidden',
    );
    expect(stdout).toBe('wrote\nunread\nunwritten\nhidden\n');
    expect(statSync(join(setup.work, 'made')).uid).toBe(uid);
  });

  it.each([
    [
      'by CONNECT',
      'curl -sS --cacert $CA https://allowed.demo.test:8443/x',
      'GET allowed.demo.test:8443 /x 0\n',
    ],
    [
      'by absolute-form HTTP',
      'curl -sS http://allowed.demo.test:8080/x',
      'GET allowed.demo.test:8080 /x 0\n',
    ],
    [
      'transparently, TLS',
      `${DIRECT} curl -sS --cacert $CA https://allowed.demo.test:8443/x`,
      'GET allowed.demo.test:8443 /x 0\n',
    ],
    [
      'transparently, HTTP',
      `${DIRECT} curl -sS http://allowed.demo.test:8080/x`,
      'GET allowed.demo.test:8080 /x 0\n',
    ],
    [
      'transparently, server speaks first', // Past the hosts file, which this world needs for the origin's names: by the policy's DNS.
      `${DIRECT} python3 -c 'import socket as s; c=s.create_connection(("'$(getent -s dns ahostsv4 allowed.demo.test | head -n 1 | cut -d " " -f 1)'", 2525), 10); c.settimeout(10); print(c.recv(99).decode(), end="")'`,
      '220 origin ready\n',
      NETWORK_WITH_PYTHON,
    ],
    [
      'transparently over IPv6, TLS',
      `${DIRECT} curl -sS --cacert $CA --resolve "allowed.demo.test:8443:[$(getent -s dns ahostsv6 allowed.demo.test | head -n 1 | cut -d " " -f 1)]" https://allowed.demo.test:8443/x`,
      'GET allowed.demo.test:8443 /x 0\n',
    ],
    [
      'transparently over IPv6, server speaks first',
      `${DIRECT} python3 -c 'import socket as s; c=s.create_connection(("'$(getent -s dns ahostsv6 allowed.demo.test | head -n 1 | cut -d " " -f 1)'", 2525), 10); c.settimeout(10); print(c.recv(99).decode(), end="")'`,
      '220 origin ready\n',
      NETWORK_WITH_PYTHON,
    ],
    [
      'by a pinned program',
      'curl -sS http://allowed.demo.test:8080/x',
      'GET allowed.demo.test:8080 /x 0\n',
      pinnedTo(sha256('/usr/bin/curl')),
    ],
    [
      'by a pinned program whose name is a link',
      `python3 -c 'import urllib.request as u; print(u.urlopen("http://allowed.demo.test:8080/x").read().decode(), end="")'`,
      'GET allowed.demo.test:8080 /x 0\n',
      pinnedTo(sha256('/usr/bin/python3')).replace('/usr/bin/curl', '/usr/bin/python3'),
    ],
    [
      'a body of 3 MB',
      'head -c 3000000 /dev/zero | curl -sS --cacert $CA --data-binary @- https://allowed.demo.test:8443/up',
      'POST allowed.demo.test:8443 /up 3000000\n',
    ],
  ])('reaches an allowed origin %s', async (_, script, expected, network = ALLOW_CURL) => {
    const setup = prepare(sharedWorld(), mode);
    const { stdout, stderr } = await sh(setup, `CA=${copyCa(setup)}; ${script}`, network);
    expect(stdout, stderr).toBe(expected);
    const allowed = auditEvents(setup).filter(({ action }) => action === 'Allowed');
    expect(JSON.stringify(allowed)).toContain('allowed.demo.test');
  });

  it.each([
    ['by CONNECT', 'curl -sS -o /dev/null -w "%{http_connect}" https://forbidden.demo.test:8443/', '403'],
    [
      'by absolute-form HTTP',
      'curl -sS -o /dev/null -w "%{http_code}" http://forbidden.demo.test:8080/',
      '403',
    ],
    ['by another port', 'curl -sS -o /dev/null -w "%{http_connect}" https://allowed.demo.test:9443/', '403'],
    [
      'with a forged SNI',
      `${DIRECT} curl -sSk --connect-to forbidden.demo.test:8443:allowed.demo.test:8443 https://forbidden.demo.test:8443/ || echo refused`,
      'refused\n',
    ],
    ['transparently', `${DIRECT} curl -sSk https://forbidden.demo.test:8443/ || echo refused`, 'refused\n'],
    ['by address', `${DIRECT} curl -sSk https://10.77.0.1:8443/ || echo refused`, 'refused\n'],
    ['by IPv6 address', `${DIRECT} curl -sSk "https://[fd77::1]:8443/" || echo refused`, 'refused\n'],
    [
      'by another program',
      `python3 -c 'import urllib.request as u; u.urlopen("http://allowed.demo.test:8080/")' || echo refused`,
      'refused\n',
    ],
    [
      'by UDP',
      `python3 -c 'import socket as s; c=s.socket(s.AF_INET,s.SOCK_DGRAM); c.settimeout(5); c.connect(("10.77.0.1",443)); c.send(b"x"); c.send(b"x"); c.recv(1)' || echo refused`,
      'refused\n',
    ],
    [
      'to the host’s loopback',
      'curl -sS -o /dev/null -w "%{http_code}" http://localhost:8080/ --noproxy "" ',
      '403',
    ],
    [
      'by a program that is not the pinned one',
      'curl -sS http://allowed.demo.test:8080/ | grep -o binary_hash_differs',
      'binary_hash_differs\n',
      pinnedTo('0'.repeat(64)),
    ],
  ])('is refused what the policy does not name: %s', async (_, script, expected, network = ALLOW_CURL) => {
    const setup = prepare(sharedWorld(), mode);
    const { stdout, stderr } = await sh(setup, script, network);
    expect(stdout, stderr).toBe(expected);
    expect(auditEvents(setup).some(({ action }) => action === 'Denied')).toBe(true);
  });

  it('says in the answer which rule was missing', async () => {
    const { stdout } = await sh(prepare(sharedWorld(), mode), 'curl -sS http://forbidden.demo.test:8080/');
    const body = JSON.parse(stdout);
    expect(body).toMatchObject({
      error: 'policy_denied',
      reason: 'host_not_listed',
      host: 'forbidden.demo.test',
      port: 8080,
      binary: '/usr/bin/curl',
    });
    expect(body.rule_missing).toBeDefined();
  });

  it('hides its own sockets and its log', async () => {
    const setup = prepare(sharedWorld(), mode);
    const runtime = mode === 'root' ? '/run/castellan' : join(setup.directory, 'rt');
    const { stdout } = await sh(
      setup,
      `cat ${setup.auditPath} 2>/dev/null | wc -c; ls -A ${runtime}/castellan ${runtime} 2>/dev/null | grep . || echo nothing`,
    );
    expect(stdout).toBe('0\nnothing\n');
  });

  it('hides its log where a link leads to it', async () => {
    const setup = prepare(sharedWorld(), mode);
    const real = join(setup.work, 'logs');
    const state = join(setup.directory, 'state');
    // The default log directory itself is the link, where the caller has one.
    const link = join(state, 'castellan');
    mkdirSync(state);
    mkdirSync(real, { mode: 0o700 });
    if (mode === 'rootless') chownSync(real, CALLER_UID, CALLER_UID);
    symlinkSync(real, link);
    const linked = {
      ...setup,
      auditPath: join(link, 'audit.jsonl'),
      environment: { ...setup.environment, XDG_STATE_HOME: state },
    };
    const script = 'ls -A logs; cat logs/*.jsonl 2>/dev/null | wc -c';
    const { stdout, stderr } = await finish(
      run(linked, ['/bin/sh', '-c', script], { policy: writePolicy(setup), options: ['--quiet'] }),
    );
    expect(stdout, stderr).toMatch(/^(audit\.jsonl\n)?0\n$/);
    expect(auditEvents(linked).length).toBeGreaterThan(10);
  });

  it('leaves nothing behind', async () => {
    const setup = prepare(sharedWorld(), mode);
    const { code } = await sh(setup, '(setsid sleep 1000 &) ; setsid setsid sleep 1001 & exit 0');
    expect(code).toBe(0);
    expect(
      readdirSync('/proc')
        .filter((pid) => /^\d+$/.test(pid))
        .map(commandOf)
        .filter((line) => /sleep 100[01]/.test(line)),
    ).toEqual([]);
    if (mode === 'rootless') expect(readdirSync(join(setup.directory, 'rt/castellan'))).toEqual([]);
  });
});

function commandOf(pid: string): string {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, 'utf8').replaceAll('\0', ' ');
  } catch {
    return '';
  }
}

function copyCa(setup: Setup): string {
  const path = join(setup.work, 'ca.crt');
  copyFileSync(join(setup.world.directory, 'ca.crt'), path);
  return path;
}
