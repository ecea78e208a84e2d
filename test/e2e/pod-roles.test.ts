/** One sandbox in two containers of a pod. Takes root. */
import { chownSync, existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, describe, expect, test } from 'vitest';
import { CASTELLAN } from '../fakes/world.ts';
import { AGENT, childOf, makePod, type Pod, PROXY_UID, SANDBOX_UID, untilSaid } from './pod.ts';
import { ALLOW_CURL, CALLER_UID, DIRECT, finish, isRoot, untilPrinted, useWorld } from './sandbox.ts';

const URL = 'https://allowed.demo.test:8443';

const world = useWorld();
let pod: Pod;
afterEach(async () => {
  await pod?.[Symbol.asyncDispose]();
});

const messages = (): string[] => pod.events().map(({ message }) => message);
const event = (text: string) => pod.events().find(({ message }) => message.includes(text));

describe.skipIf(!isRoot)('a pod', () => {
  test.each(['plain', 'root'] as const)(
    'with a %s sidecar: what is allowed, refused and written down',
    async (kind) => {
      pod = await makePod(world(), ALLOW_CURL);
      const sidecar = finish(await pod.sidecar(kind, ['--sandbox-uid', String(SANDBOX_UID)]));
      const script = `id -u; echo $HOME; curl -sS ${URL}/a; curl -sS https://forbidden.demo.test:8443/; exit 7`;
      const agent = await finish(pod.agent(['sh', '-c', script]));
      expect(agent.stdout).toBe(`${SANDBOX_UID}\n${pod.work}\nGET allowed.demo.test:8443 /a 0\n`);
      expect(agent).toMatchObject({ code: 7, stderr: expect.stringContaining('403') });
      expect(await sidecar).toMatchObject({ code: 0, stdout: '' });

      expect(event('allowed.demo.test:8443 allowed by test')).toMatchObject({
        actor: { process: { path: '/usr/bin/curl' }, user: { uid: String(SANDBOX_UID) } },
      });
      expect(event('forbidden.demo.test:8443 denied')).toMatchObject({ status_code: 'host_not_listed' });
      expect(messages()).toEqual(
        expect.arrayContaining([
          'castellan 0.1.0 started as sidecar',
          'castellan 0.1.0 started as process-only',
          `main sh started as ${SANDBOX_UID}`,
          'main sh exited with 7',
          'sandbox ended: the agent’s container ended with 7: the command ended with 7',
        ]),
      );
      const verified = await finish(pod.spawn([CASTELLAN, 'audit', pod.auditPath]));
      expect(verified).toMatchObject({ code: 0 });
      expect(readdirSync(join(pod.directory, 'state'))).toEqual([]);
      expect(existsSync(join(pod.directory, 'agent-run/castellan'))).toBe(true);
      expect(readdirSync(join(pod.directory, 'agent-run/castellan'))).toEqual([]);
    },
  );

  test('TCP and DNS that ignore the proxy, by the fence', async () => {
    pod = await makePod(world(), ALLOW_CURL);
    const sidecar = finish(await pod.sidecar());
    const lookUp = `python3 -c "import socket,struct
s=socket.socket(socket.AF_INET,socket.SOCK_DGRAM); s.settimeout(5)
q=lambda n: struct.pack('>6H',7,256,1,0,0,0)+b''.join(bytes([len(p)])+p.encode() for p in n.split('.'))+b'\\0'+struct.pack('>2H',1,1)
for n in ('allowed.demo.test','forbidden.demo.test'):
  s.sendto(q(n),('10.78.0.53',53)); print('dns', n, s.recv(512)[3]&15)
u=socket.socket(socket.AF_INET,socket.SOCK_DGRAM)
try: u.sendto(b'x',('10.77.0.1',9)); print('sent')
except OSError as e: print('udp', e.errno)
"`;
    const agent = await finish(
      pod.agent([
        'sh',
        '-c',
        `${lookUp}; ${DIRECT} curl -sS ${URL}/direct; ${DIRECT} curl -sS https://forbidden.demo.test:8443`,
      ]),
    );
    expect(agent.stdout).toContain('GET allowed.demo.test:8443 /direct 0');
    expect(agent.stdout).toContain('dns allowed.demo.test 0');
    expect(agent.stdout).toContain('dns forbidden.demo.test 5');
    expect(agent.stdout).toContain('udp 1');
    expect(agent.code).not.toBe(0);
    await sidecar;
    expect(
      pod.events().filter(({ unmapped }) => unmapped?.['adapter'] === 'transparent-tls').length,
    ).toBeGreaterThan(0);
  });

  test.each([
    ['the process role', 'plain', 'process', ['--pid', '--fork', '--mount-proc']],
    ['the sidecar', 'tracer', 'sidecar', []],
  ] as const)(
    'links of programs are followed where the programs are, by %s',
    async (_, kind, identity, pids) => {
      // To what the sidecar sees in its place, nothing leads.
      const rules = ALLOW_CURL.replace('/usr/bin/curl', '/opt/castellan-pod-test/fetch');
      pod = await makePod(world(), rules);
      const sidecar = finish(await pod.sidecar(kind, ['--binary-identity', identity]));
      const container = pod.spawn([
        ...['unshare', '--mount', ...pids, '--', 'sh', '-ec'],
        `mount -t tmpfs none /opt && mkdir /opt/castellan-pod-test && ln -s /usr/bin/curl /opt/castellan-pod-test/fetch
       export XDG_RUNTIME_DIR=${join(pod.directory, 'agent-run')} HOME=${pod.work}
       exec setpriv ${AGENT().join(' ')} -- ${CASTELLAN} run --roles process --control-socket ${pod.socket} --workdir ${pod.work} -- curl -sS ${URL}/link`,
      ]);
      expect(await finish(container)).toMatchObject({
        code: 0,
        stdout: 'GET allowed.demo.test:8443 /link 0\n',
      });
      expect(await sidecar).toMatchObject({ code: 0 });
    },
  );

  describe('who identifies programs', () => {
    const twoPrograms = `curl -sS ${URL}/curl; python3 -c "
import urllib.request,ssl
try: print(urllib.request.urlopen('${URL}/python').read().decode())
except Exception as e: print('refused', e)"`;

    test('the sidecar, where it sees the processes of the pod', async () => {
      pod = await makePod(world(), ALLOW_CURL);
      const sidecar = finish(await pod.sidecar('tracer', ['--binary-identity', 'sidecar']));
      const agent = await finish(pod.agent(['sh', '-c', twoPrograms], { sharesProcesses: true }));
      expect(agent.stdout).toContain('/curl 0');
      expect(agent.stdout).toContain('refused');
      await sidecar;
      expect(event('allowed.demo.test:8443 allowed by test')).toMatchObject({
        actor: { process: { path: '/usr/bin/curl' } },
      });
    });

    test('nobody: rules hold for every program, and every record says so', async () => {
      const pinned = ALLOW_CURL.replace(
        '[{ path: /usr/bin/curl }]',
        `[{ path: /usr/bin/wget, sha256: "${'a'.repeat(64)}" }]`,
      );
      pod = await makePod(world(), pinned);
      const sidecar = finish(await pod.sidecar('plain', ['--binary-identity', 'none']));
      const agent = await finish(pod.agent(['sh', '-c', twoPrograms]));
      expect(agent.stdout).toContain('/curl 0');
      expect(agent.stdout).toContain('/python 0');
      await sidecar;
      expect(event('binary-identity is degraded')?.status_detail).toContain('sha256 pins of test');
      const allowed = pod.events().filter(({ message }) => message.endsWith('allowed by test'));
      expect(allowed).toHaveLength(2);
      for (const one of allowed) {
        expect(one.unmapped).toMatchObject({ binary_identity: 'none' });
        expect(one).not.toHaveProperty('actor');
      }
    });

    test('a program that hides is nobody, and so is whoever else is there', async () => {
      pod = await makePod(world(), ALLOW_CURL);
      const sidecar = finish(await pod.sidecar());
      // Its connection is held by curl, which has a right, and by itself, which shows nothing to its own uid.
      const hidden = `python3 -c "
import ctypes,os,socket,time
ctypes.CDLL(None).prctl(4,0,0,0,0)
print('hidden', flush=True)
os.system('curl -sS ${URL}/beside; echo ended')"`;
      const agent = await finish(pod.agent(['sh', '-c', hidden]));
      expect(agent.stdout).toBe('hidden\nended\n');
      expect(agent.stderr).toContain('403');
      await sidecar;
      expect(event('denied: identity_unknown')?.status_detail).toContain('hides what it holds open');
    });

    test.each([
      ['without CAP_SYS_PTRACE', 'root', 'CAP_SYS_PTRACE is missing'],
      ['without root', 'plain', 'CAP_SYS_PTRACE'],
    ] as const)('the sidecar refuses to look %s', async (_, kind, message) => {
      pod = await makePod(world(), ALLOW_CURL);
      await expect(pod.sidecar(kind, ['--binary-identity', 'sidecar'])).rejects.toThrow(
        new RegExp(`ended with 112 .*${message}`, 's'),
      );
    });
  });

  test('people come in by SSH in the agent’s container, and are confined and recorded', async () => {
    pod = await makePod(world(), ALLOW_CURL);
    const sidecar = finish(await pod.sidecar());
    const agent = pod.agent(['sh', '-c', 'echo up; cat'], {
      uid: CALLER_UID,
      stdin: 'pipe',
    });
    const ended = finish(agent);
    await untilPrinted(agent, 'up');
    const inside = await finish(
      pod.spawn(
        [
          'nsenter',
          `--target=${childOf(agent)}`,
          '--mount',
          '--pid',
          '--',
          'setpriv',
          ...AGENT(CALLER_UID),
          '--',
          CASTELLAN,
          'ssh',
          '--',
          `id -u; curl -sS ${URL}/ssh; cat ${pod.socket}.token`,
        ],
        {
          environment: { XDG_RUNTIME_DIR: join(pod.directory, 'caller-run'), HOME: pod.work },
        },
      ),
    );
    expect(inside.stdout).toBe(`${CALLER_UID}\nGET allowed.demo.test:8443 /ssh 0\n`);
    const user = (uid: number, name: string, ...argv: string[]) =>
      finish(
        pod.spawn(['setpriv', ...AGENT(uid), '--', CASTELLAN, ...argv], {
          environment: { XDG_RUNTIME_DIR: join(pod.directory, name), HOME: pod.work },
        }),
      );
    for (const [uid, name] of [
      [CALLER_UID, 'caller-run'],
      [PROXY_UID, 'sidecar-run'],
    ] as const) {
      expect(await user(uid, name, 'probe', 'ready')).toMatchObject({ code: 0 });
      expect((await user(uid, name, 'list')).stdout.split('\n')).toHaveLength(2);
    }
    expect(await user(PROXY_UID, 'sidecar-run', 'ssh', '--', 'id')).toMatchObject({
      code: 111,
      stderr: expect.stringContaining('is a sidecar'),
    });
    agent.stdin?.end();
    expect(await ended).toMatchObject({ code: 0 });
    await sidecar;
    expect(messages().some((message) => /^SSH session \S+ by uid 20102$/.test(message))).toBe(true);
    expect(messages().some((message) => message.startsWith('exec sh'))).toBe(true);
  });

  test('placeholders reach the agent, and the secret nobody', async () => {
    pod = await makePod(
      world(),
      `network_policies:
  test:
    endpoints: [{ host: allowed.demo.test, port: 8443, protocol: rest, rules: [{ allow: { method: GET, path: "/**" } }], allowed_ips: [10.77.0.0/24] }]
    binaries: [{ path: /usr/bin/curl }]
`,
    );
    const secret = 'the-secret-of-this-test';
    const file = join(pod.directory, 'credentials.yaml');
    writeFileSync(
      file,
      `version: 1\ncredentials:\n  TOKEN:\n    value: ${secret}\n    endpoints: [{ host: allowed.demo.test, port: 8443 }]\n`,
      { mode: 0o400 },
    );
    chownSync(file, PROXY_UID, PROXY_UID);
    const sidecar = finish(await pod.sidecar('plain', ['--credentials', file]));
    const agent = await finish(
      pod.agent([
        'sh',
        '-c',
        `env; cat /proc/[0-9]*/environ /proc/[0-9]*/cmdline | tr '\\0' '\\n'; curl -sS -H "Authorization: Bearer $TOKEN" ${URL}/digest`,
      ]),
    );
    expect(agent.stdout).toContain('TOKEN=openshell:resolve:env:');
    expect(agent.stdout + agent.stderr).not.toContain(secret);
    expect(agent.stdout).not.toContain('must not get in');
    const { createHash } = await import('node:crypto');
    expect(agent.stdout).toContain(createHash('sha256').update(`Bearer ${secret}`).digest('hex'));
    await sidecar;
    expect(readFileSync(pod.auditPath, 'utf8')).not.toContain(secret);
  });

  test('a policy that changes holds on the network side, and its links are followed anew', async () => {
    pod = await makePod(world(), '');
    const child = await pod.sidecar('plain', ['--reload', 'signal']);
    const sidecar = finish(child);
    const agent = pod.agent(
      ['sh', '-c', `curl -sS ${URL}/before; echo asked; read go; curl -sS ${URL}/after`],
      {
        stdin: 'pipe',
      },
    );
    const ended = finish(agent);
    await untilPrinted(agent, 'asked');
    const text = readFileSync(pod.policy, 'utf8');
    writeFileSync(pod.policy, text + ALLOW_CURL);
    child.kill('SIGHUP');
    await untilSaid(child, 'in force, 1 network rules');
    agent.stdin?.end('\n');
    expect(await ended).toMatchObject({ code: 0, stdout: 'asked\nGET allowed.demo.test:8443 /after 0\n' });
    await sidecar;
  });

  test('each container tells its own metrics, and none to the agent', async () => {
    pod = await makePod(world(), ALLOW_CURL);
    const { directory } = pod;
    const [stats, health] = [
      join(directory, 'sidecar-run/m.sock'),
      'agent-run/castellan/pod-metrics/health.sock',
    ];
    const child = await pod.sidecar('plain', ['--metrics-listen', `unix:${stats}`]);
    const sidecar = finish(child);
    const ask = (path: string) => `curl -sS --unix-socket ${path} http://castellan/metrics`;
    const script = `curl -s -o reply http://forbidden.demo.test:8080/x; ${ask(stats)}; ${ask(join(directory, health))} || echo $?; echo up; read end`;
    const agent = pod.agent(['sh', '-c', script], {
      options: ['--name', 'pod-metrics'],
      stdin: 'pipe',
      sharesProcesses: true,
    });
    const ended = finish(agent);
    await untilPrinted(agent, 'up');
    const asked = async (uid: number, path: string) =>
      (await finish(pod.spawn(['setpriv', `--reuid=${uid}`, '--clear-groups', 'sh', '-c', ask(path)])))
        .stdout;
    const network = await asked(PROXY_UID, stats);
    for (const line of [
      'role_up{role="network"} 1',
      'egress_clients ',
      'requests_total{decision="denied"} 1',
    ])
      expect(network).toContain(`\ncastellan_${line}`);
    const process = await asked(SANDBOX_UID, join(directory, health));
    expect(process).toContain('\ncastellan_launches_total{kind="main"} 1\n');
    agent.stdin?.end('\n');
    expect(await ended).toMatchObject({ stdout: expect.stringMatching(/^[1-9]\d*\nup\n$/) });
    await sidecar;
  });

  test.each([
    ['health.sock', ['probe', 'ready', '--sandbox', 'pod-held'], 'ready\n'],
    ['ssh.sock', ['ssh', '--sandbox', 'pod-held', '--', 'echo in'], 'in\n'],
  ])('an agent that holds connections to %s keeps nobody out', async (socket, argv, stdout) => {
    pod = await makePod(world(), ALLOW_CURL);
    const sidecar = finish(await pod.sidecar());
    const holder = `import socket
held=[]
while True:
  s=socket.socket(socket.AF_UNIX); s.settimeout(1)
  try: s.connect('${join(pod.directory, 'agent-run/castellan/pod-held', socket)}'); held.append(s)
  except OSError: pass
  if len(held) == 256: print('held', flush=True); held.clear()`;
    const agent = pod.agent(['python3', '-c', holder], { options: ['--name', 'pod-held'] });
    const ended = finish(agent);
    await untilPrinted(agent, 'held');
    const person = ['setpriv', ...AGENT(), '--', CASTELLAN, ...argv];
    for (let count = 0; count < 3; count += 1) {
      const inside = ['nsenter', `--target=${childOf(agent)}`, '--mount', '--pid', '--', ...person];
      const environment = { XDG_RUNTIME_DIR: join(pod.directory, 'agent-run'), HOME: pod.work };
      expect(await finish(pod.spawn(inside, { environment }))).toMatchObject({ code: 0, stdout });
    }
    process.kill(Number(childOf(agent)), 'SIGTERM');
    await ended;
    await sidecar;
  });

  test('usage of the wrong container is refused', async () => {
    pod = await makePod(world(), ALLOW_CURL);
    const wrong = await finish(pod.agent(['true'], { options: ['--policy', pod.policy] }));
    expect(wrong).toMatchObject({ code: 100, stderr: expect.stringContaining('belongs to the sidecar') });
  });
});
