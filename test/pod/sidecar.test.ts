/** What a sandbox in two containers does for its agent. */
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { BUSYBOX } from '../bundle/images.ts';
import { auditEvents, DIRECT, finish, isRoot } from '../e2e/sandbox.ts';
import { CASTELLAN } from '../fakes/world.ts';
import { CURL, PYTHON } from './agent-image.ts';
import { type PlayedPod, usePods } from './pod.ts';
import { requestFor, SANDBOX_GID, SANDBOX_UID, URL } from './requests.ts';

/** Its class in OCSF. */
const DNS_ACTIVITY = 4003;
const TLS_URL = 'https://allowed.demo.test:8443';
const WITHOUT_PROXY = DIRECT.replace('env', `${BUSYBOX} env`);
const WHO = `${BUSYBOX} id; ${BUSYBOX} grep -E '^(Cap|NoNew|Seccomp:)' /proc/self/status`;
const NOTHING = ['CapInh', 'CapPrm', 'CapEff', 'CapBnd', 'CapAmb'].map(
  (set) => `${set}:\t${'0'.repeat(16)}\n`,
);
const who = (uid: number, gid: number) =>
  `uid=${uid}(${uid}) gid=${gid}(${gid}) groups=${gid}(${gid})\n${NOTHING.join('')}NoNewPrivs:\t1\nSeccomp:\t2\n`;

const pods = usePods();
const play = (name: string, script: string, more = '', options = {}) =>
  pods().play(requestFor({ name, topology: 'sidecar', script, more, ...options }), options);

function eventOf(pod: PlayedPod, text: string) {
  return pod.events().find(({ message }) => message.includes(text));
}

/** Both containers, whose outcomes belong together. */
async function outcome(pod: PlayedPod) {
  expect(pod.start, pod.start.stderr).toMatchObject({ code: 0 });
  const agent = await pod.ended('agent');
  return { ...agent, sidecar: await pod.ended('castellan-network') };
}

describe.skipIf(!isRoot)('a pod with a sidecar (needs root)', () => {
  test('runs the command as the sandbox’s user with nothing, and its exit code is the container’s', async () => {
    const pod = await play('plain', `${WHO}; ${CURL} -sS ${URL}/a; ${CURL} -sS ${TLS_URL}/b; exit 7`);
    const { stdout, stderr, code, sidecar } = await outcome(pod);
    expect(stdout, stderr).toBe(
      `${who(SANDBOX_UID, SANDBOX_GID)}GET allowed.demo.test:8080 /a 0\nGET allowed.demo.test:8443 /b 0\n`,
    );
    expect(code).toBe(7);
    expect(sidecar).toMatchObject({ code: 0, stdout: '' });

    const messages = pod.events().map(({ message }) => message);
    expect(messages).toEqual(
      expect.arrayContaining([
        'castellan 0.1.0 started as sidecar',
        'castellan 0.1.0 started as process-only',
        `main busybox started as ${SANDBOX_UID}`,
        'GET http://allowed.demo.test:8080/a answered 200',
        'main busybox exited with 7',
      ]),
    );
    expect(eventOf(pod, 'allowed.demo.test:8443 allowed')).toMatchObject({
      actor: { process: { path: CURL }, user: { uid: String(SANDBOX_UID) } },
    });
    const verified = await finish(
      pods().world.spawn([CASTELLAN, 'audit', pod.auditPath], { stdio: ['ignore', 'pipe', 'pipe'] }),
    );
    expect(verified).toMatchObject({ code: 0 });
    // Nothing of the run is left where the two met.
    expect(readdirSync(pod.volume('castellan-pod'))).toEqual([]);
  });

  test('refuses with a reason, and takes TCP and DNS that know of no proxy', async () => {
    // As programs find names where no hosts file has them, and where the server speaks first.
    const tools = `import socket, struct
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.settimeout(5)
q = lambda n: struct.pack('>6H', 7, 256, 1, 0, 0, 0) + b''.join(bytes([len(p)]) + p.encode() for p in n.split('.')) + bytes([0]) + struct.pack('>2H', 1, 1)
for name in ('forbidden.demo.test', 'allowed.demo.test'):
    s.sendto(q(name), ('192.0.2.53', 53)); answer = s.recv(512); print('query', name, answer[3] & 15)
print('tcp', socket.create_connection((socket.inet_ntoa(answer[-4:]), 2525), 10).recv(100).decode().strip())`;
    const script = [
      `${CURL} -sS -w '%{http_code}\\n' http://forbidden.demo.test:8080/`,
      `${CURL} -sS ${TLS_URL.replace('allowed', 'forbidden')}/`,
      `${WITHOUT_PROXY} ${CURL} -sS ${URL}/direct`,
      `${WITHOUT_PROXY} ${CURL} -sS ${TLS_URL}/direct`,
      `${PYTHON} -c "${tools}"`,
    ].join('\n');
    const pod = await play('refuses', script);
    const { stdout, stderr } = await outcome(pod);
    expect(stdout).toMatch(/"reason":"host_not_listed".*403/s);
    expect(stderr).toContain('403');
    expect(stdout).toContain('GET allowed.demo.test:8080 /direct 0\nGET allowed.demo.test:8443 /direct 0\n');
    expect(stdout, stderr).toContain('tcp 220 origin ready\n');
    expect(stdout).toContain('query forbidden.demo.test 5\nquery allowed.demo.test 0\n');
    expect(eventOf(pod, 'forbidden.demo.test:8443 denied')).toMatchObject({ status_code: 'host_not_listed' });
    expect(pod.events().map((event) => event.class_uid)).toContain(DNS_ACTIVITY);
    const adapters = pod.events().map(({ unmapped }) => unmapped?.['adapter']);
    expect(adapters).toEqual(expect.arrayContaining(['connect', 'transparent-tls']));
  });

  test('gives the agent placeholders, and secrets to origins alone', async () => {
    const secret = 'hunter2-of-the-pod';
    const credentials = `version: 1\ncredentials:\n  DEMO_TOKEN: { value: "${secret}", provider: demo }\n`;
    const script = `echo "$DEMO_TOKEN"; ${CURL} -sS -H "Authorization: Bearer $DEMO_TOKEN" ${URL}/digest`;
    const pod = await play('secrets', script, 'credentials: { secret: keys }', {
      contents: { keys: { 'credentials.yaml': credentials } },
    });
    const { stdout, stderr, code } = await outcome(pod);
    expect(code, stderr).toBe(0);
    const digest = await finish(
      pods().world.spawn(['sh', '-c', `printf %s "Bearer ${secret}" | sha256sum | cut -d' ' -f1`], {
        stdio: ['ignore', 'pipe', 'pipe'],
      }),
    );
    expect(stdout).toMatch(new RegExp(`^\\S+\\n${digest.stdout}$`));
    expect(stdout).not.toContain(secret);
    expect(JSON.stringify(pod.events())).not.toContain(secret);
  });

  test('runs as a number of OpenShift’s that no account has, on a root that nobody may write', async () => {
    const namespace = join(import.meta.dirname, '../vectors/kubernetes/namespace.yaml');
    const script = `${WHO}; echo mine > /tmp/x && echo mine > x && ${BUSYBOX} cat /tmp/x; ${CURL} -sS ${URL}/a`;
    const pod = await play('openshift', script, 'read_only_root: true\nworkspace: { claim: work }', {
      ids: '',
      options: ['--namespace-annotations', namespace],
    });
    const { stdout, stderr, code } = await outcome(pod);
    const gid = 1_000_690_000;
    expect(pod.rendered.pod.spec.securityContext).toMatchObject({ fsGroup: gid });
    expect(stdout, stderr).toBe(`${who(1_000_680_000, gid)}mine\nGET allowed.demo.test:8080 /a 0\n`);
    expect(code).toBe(0);
  });

  test('can be made again with what it left, and its log goes on', async () => {
    const pod = await play('again', `${CURL} -sS ${URL}/a; exit 3`);
    expect(await outcome(pod)).toMatchObject({ code: 3, sidecar: { code: 0 } });
    const before = auditEvents(pod).length;
    expect(await pod.again()).toMatchObject({ code: 0 });
    expect(await outcome(pod)).toMatchObject({ code: 3, stdout: 'GET allowed.demo.test:8080 /a 0\n' });
    expect(auditEvents(pod).length).toBe(2 * before);
    const verified = await finish(
      pods().world.spawn([CASTELLAN, 'audit', pod.auditPath], { stdio: ['ignore', 'pipe', 'pipe'] }),
    );
    expect(verified).toMatchObject({ code: 0 });
  });
});
