/** The network role as its own process in a world with an origin, wired to this one, serving a real sealed namespace. */
import { type ChildProcess, spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { readFileSync, realpathSync } from 'node:fs';
import { Socket } from 'node:net';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import type { AuditFact } from '../../src/audit/event.ts';
import { posix } from '../../src/kernel/posix.ts';
import { createIdentifier } from '../../src/kernel/procfs.ts';
import { createSealedNamespace, type SealedNamespace } from '../../src/kernel/sealed-namespace.ts';
import type { NetworkRule } from '../../src/policy/document.ts';
import { openProcessSide, type ProcessSide } from '../../src/roles/process-side.ts';
import { layOutDescriptors } from '../../src/start/descriptor-layout.ts';
import { createWorld, ORIGIN_ADDRESS, REPOSITORY, type World } from '../fakes/world.ts';

const isRoot = process.geteuid?.() === 0;
const MODULE = join(REPOSITORY, 'src/start/network-role.ts');
const ROLE = `process.exitCode = await (await import(${JSON.stringify(MODULE)})).runNetworkRole({ controlDescriptor: 3, handoverDescriptor: 4 }).catch(({ exitCode }) => exitCode);`;
const position = { line: 1, column: 1 };
const PYTHON = realpathSync('/usr/bin/python3');
const BASH = realpathSync('/bin/bash');

const RULES: readonly NetworkRule[] = [
  {
    name: 'demo',
    position,
    endpoints: [
      {
        host: 'allowed.demo.test',
        ports: [8443, 8080],
        protocol: '',
        allowedIps: [`${ORIGIN_ADDRESS}/32`],
        position,
      },
      {
        host: 'allowed.demo.test',
        ports: [2525],
        protocol: 'tcp',
        allowedIps: [`${ORIGIN_ADDRESS}/32`],
        position,
      },
      { host: 'other.demo.test', ports: [8443], protocol: '', allowedIps: [], position },
    ],
    binaries: [{ path: realpathSync('/usr/bin/curl') }, { path: PYTHON }],
  },
  pinned('right', 8080, [{ path: BASH, sha256: [sha256Of(BASH)] }]),
  pinned('wrong', 8443, [{ path: BASH, sha256: ['0'.repeat(64)] }]),
];

function sha256Of(path: string): string {
  return createHash('sha256').update(readFileSync(path)).digest('hex');
}

function pinned(name: string, port: number, binaries: NetworkRule['binaries']): NetworkRule {
  const allowedIps = [`${ORIGIN_ADDRESS}/32`];
  const host = 'forbidden.demo.test';
  return {
    name,
    position,
    binaries,
    endpoints: [{ host, ports: [port], protocol: '', allowedIps, position }],
  };
}

describe.skipIf(!isRoot)('the network role in a sealed namespace (as root)', () => {
  let world: World;
  let namespace: SealedNamespace;
  let role: ChildProcess;
  let side: ProcessSide;
  let wire: Socket;
  let facts: AuditFact[];
  let wake: () => void = () => {};

  beforeAll(async () => {
    world = await createWorld();
  });
  afterAll(() => world[Symbol.asyncDispose]());

  beforeEach(async () => {
    facts = [];
    namespace = await createSealedNamespace({
      userNamespace: false,
      helper: join(REPOSITORY, 'build/castellan-netns'),
      ip: '/usr/sbin/ip',
      nft: '/usr/sbin/nft',
    });
    const [ours, theirs] = posix().socketPair();
    const [handover, theirHandover] = posix().socketPair();
    role = world.spawn([process.execPath, '--input-type=module', '-e', ROLE], {
      stdio: ['ignore', 'inherit', 'inherit', theirs, theirHandover],
    });
    const { row, places } = layOutDescriptors({ listeners: namespace.listeners, secrets: {} });
    posix().sendDescriptors(handover, row);
    for (const descriptor of [theirs, theirHandover, handover]) posix().close(descriptor);
    namespace.closeListeners();
    wire = new Socket({ fd: ours });
    side = openProcessSide(wire, {
      report(fact) {
        facts.push(fact);
        wake();
      },
    });
    await side.serve({
      ...places,
      rules: RULES,
      mayChange: false,
      takesProposals: false,
      identify: createIdentifier({ ...namespace, supervisorPid: process.pid }),
    });
  });
  afterEach(async () => {
    wire.destroy();
    if (role.exitCode === null) await once(role, 'exit');
    namespace[Symbol.dispose]();
  });

  async function inside(...argv: string[]): Promise<{ code: number; stdout: string; stderr: string }> {
    const child = spawn('nsenter', ['--net=/proc/self/fd/3', ...argv], {
      env: { PATH: '/usr/sbin:/usr/bin:/sbin:/bin' },
      stdio: ['ignore', 'pipe', 'pipe', namespace.networkDescriptor],
    });
    const out = { stdout: '', stderr: '' };
    child.stdout?.on('data', (chunk) => {
      out.stdout += chunk;
    });
    child.stderr?.on('data', (chunk) => {
      out.stderr += chunk;
    });
    const [code] = (await once(child, 'close')) as [number];
    return { code, ...out };
  }
  const curl = (...args: string[]) =>
    inside(
      'curl',
      '--silent',
      '--show-error',
      '--max-time',
      '20',
      '--cacert',
      join(world.directory, 'ca.crt'),
      ...args,
    );

  async function fact(kind: AuditFact['kind']): Promise<AuditFact> {
    for (;;) {
      const found = facts.find((candidate) => candidate.kind === kind);
      if (found !== undefined) return found;
      await new Promise<void>((resolve) => {
        wake = resolve;
      });
    }
  }

  test.each([
    ['HTTPS by DNS name', [], 'https://allowed.demo.test:8443/x', 'transparent-tls'],
    ['HTTP by DNS name', [], 'http://allowed.demo.test:8080/x', 'transparent-http'],
    ['HTTPS by DNS name, IPv6 only', ['--ipv6'], 'https://allowed.demo.test:8443/x', 'transparent-tls'],
    ['HTTP by DNS name, IPv6 only', ['--ipv6'], 'http://allowed.demo.test:8080/x', 'transparent-http'],
    ['HTTPS by DNS name, IPv4 only', ['--ipv4'], 'https://allowed.demo.test:8443/x', 'transparent-tls'],
    [
      'HTTPS by the proxy',
      ['--proxy', 'http://127.0.0.1:3128'],
      'https://allowed.demo.test:8443/x',
      'connect',
    ],
    [
      'HTTP by the proxy over IPv6',
      ['--proxy', 'http://[::1]:3128'],
      'http://allowed.demo.test:8080/x',
      'forward',
    ],
  ])('%s', async (_name, options, url, adapter) => {
    const result = await curl(...options, url);
    expect(result.stdout, result.stderr).toBe(`GET ${new URL(url).host} /x 0\n`);
    expect(await fact('connection-closed')).toMatchObject({
      rule: 'demo',
      address: ORIGIN_ADDRESS,
      intent: { adapter, host: 'allowed.demo.test' },
      identity: { executable: realpathSync('/usr/bin/curl'), uid: 0 },
    });
  });

  test('a program that no rule names is refused', async () => {
    const script = [
      'exec 3<>/dev/tcp/127.0.0.1/3128',
      'printf "CONNECT allowed.demo.test:8443 HTTP/1.1\\r\\nHost: x\\r\\n\\r\\n" >&3',
      'while read -r line <&3; do echo "$line"; done',
    ];
    const result = await inside('bash', '-c', script.join('\n'));
    expect(result.stdout).toMatch(/^HTTP\/1\.1 403 [\s\S]*"reason":"binary_not_listed"/);
    expect(await fact('connection-denied')).toMatchObject({
      identity: { executable: realpathSync('/bin/bash') },
    });
  });

  test('a pin holds for the program that it names, be it an ancestor of the one that asks', async () => {
    const get = 'curl --silent --max-time 20 http://forbidden.demo.test';
    const asked = await inside('bash', '-c', `${get}:8080/x; ${get}:8443/x; true`);
    expect(asked.stdout).toMatch(/^GET forbidden\.demo\.test:8080 \/x 0\n/);
    expect(asked.stdout).toContain('"reason":"binary_hash_differs"');
    expect(await fact('connection-denied')).toMatchObject({
      rule: 'wrong',
      detail: `rule "wrong" pins ${BASH} to sha256 ${'0'.repeat(64)}; what asked has ${sha256Of(BASH)}`,
      identity: { executable: realpathSync('/usr/bin/curl'), ancestorHashes: [sha256Of(BASH)] },
    });
  });

  test('an address that the rule does not list is refused', async () => {
    const result = await curl('--proxy', 'http://127.0.0.1:3128', 'http://other.demo.test:8443/');
    expect(result.stdout).toContain('"reason":"address_not_allowed"');
  });

  test('a name that no rule has does not resolve, and a bare address leads nowhere', async () => {
    expect((await curl('http://unlisted.demo.test:8080/')).stderr).toContain('resolve');
    expect(await fact('dns-refused')).toMatchObject({ name: 'unlisted.demo.test' });
    expect((await curl(`http://${ORIGIN_ADDRESS}:8080/`)).stdout).toContain('"reason":"host_not_listed"');
  });

  test('a server that speaks first, reached by name', async () => {
    const script =
      'import socket; print(socket.create_connection(("allowed.demo.test", 2525), 10).makefile().readline())';
    expect((await inside(PYTHON, '-c', script)).stdout).toContain('220 origin ready');
  });

  test('a client that tries both families gets both addresses, and either of them the same server', async () => {
    const script = `
import socket
found = socket.getaddrinfo("allowed.demo.test", 2525, type=socket.SOCK_STREAM)
print([address[0] for *_, address in found])
for family, kind, protocol, _, address in found:
    client = socket.socket(family, kind, protocol)
    client.settimeout(10)
    client.connect(address)
    print(client.makefile().readline().strip(), socket.getnameinfo(address, socket.NI_NAMEREQD | socket.NI_NUMERICSERV)[0])`;
    const { stdout, stderr } = await inside(PYTHON, '-c', script);
    expect(stdout.split('\n'), stderr).toEqual([
      "['198.18.0.1', '100::1']",
      ...Array<string>(2).fill('220 origin ready allowed.demo.test'),
      '',
    ]);
  });

  test('what is neither TCP nor DNS is refused and recorded', async () => {
    await inside(PYTHON, '-c', 'import socket; socket.socket(2, 2).sendto(b"x", ("203.0.113.9", 443))');
    expect(await fact('bypass-refused')).toMatchObject({
      protocol: 17,
      destination: { address: '203.0.113.9', port: 443 },
    });
  });

  test('stop ends the role in order', async () => {
    side.stop();
    const [code] = await once(role, 'exit');
    expect(code).toBe(0);
    await side.closed;
  });

  test('a lost wire ends the role with role_lost', async () => {
    wire.destroy();
    const [code] = await once(role, 'exit');
    expect(code).toBe(108);
    expect((await side.closed).code).toBe('role_lost');
  });
});
