/** What an agent tries in a pod with a sidecar, and what comes of it. Each row names the errno, or who answered. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { BUSYBOX } from '../bundle/images.ts';
import { finish, isRoot, untilPrinted } from '../e2e/sandbox.ts';
import { PYTHON, SETUID_BUSYBOX } from './agent-image.ts';
import { type PlayedPod, usePods } from './pod.ts';
import { POLICY, PROXY_UID, requestFor } from './requests.ts';

const HEALTH_PORT = 9000;
const METRICS_PORT = 9001;
const SECRET = 'hunter2-of-the-pod';
const CREDENTIALS = `version: 1\ncredentials:\n  DEMO_TOKEN: { value: "${SECRET}", provider: demo }\n`;
const PLACES = {
  control: '/run/castellan-pod',
  run: '/run/castellan-user',
  setuid: SETUID_BUSYBOX,
  proxy: PROXY_UID,
  health: HEALTH_PORT,
};
const FAR_4 = '10.77.0.1';
const FAR_6 = 'fd77::1';

const program = (name: string) => readFileSync(join(import.meta.dirname, name), 'utf8');

const MORE = `volumes: [{ name: tools, mount: /tools, config_map: tools }]
credentials: { secret: keys }
health_port: ${HEALTH_PORT}
metrics_port: ${METRICS_PORT}
`;

const pods = usePods();
const play = (name: string, script: string, requests: readonly unknown[] = [], more = '') =>
  pods().play(
    requestFor({
      name,
      topology: 'sidecar',
      script,
      more: `${MORE}${more}`,
      policy: POLICY.replace('/etc]', '/etc, /tools]'),
    }),
    {
      contents: {
        keys: { 'credentials.yaml': CREDENTIALS },
        tools: {
          'probe.py': program('probe.py'),
          'client.py': program('../fakes/fence-client.py'),
          requests: requests.map((request) => `${JSON.stringify(request)}\n`).join(''),
        },
      },
    },
  );

async function outcome(pod: PlayedPod) {
  expect(pod.start, pod.start.stderr).toMatchObject({ code: 0 });
  return pod.ended('agent');
}

const REFUSED = /^E(PERM|ACCES)$/;
const READ_ONLY = /^E(ACCES|ROFS)$/;
const ABSENT = /^E(NOENT|ACCES)$/;
/** Who waits for the server to speak first hears nothing. */
const NOT_REACHED = expect.stringMatching(/^(closed|ECONNRESET|timeout)$/);
const TAKEN = /^EADDRINUSE$/;

/** What is not named here has to be refused. */
const ENDINGS: Readonly<Record<string, RegExp>> = {
  'a program that becomes root': /^21500$/,
  'a program that switches users': /^$/,
  'rename the control directory': /^E(ACCES|XDEV|BUSY|ROFS)$/,
  'make a file in the control directory': READ_ONLY,
  'rename something in it': READ_ONLY,
  'take the control socket away': READ_ONLY,
  'put a socket in its place': READ_ONLY,
  'link into the control directory': READ_ONLY,
  // It went when the process role came in.
  'connect to the control socket': /^ENOENT$/,
  'read the token': ABSENT,
  'see a socket for SSH': /^\[\]$/,
  // In sight, as nothing can be mounted over it; whoever asks is told from people by the filters of the agent.
  'sessions by castellan’s socket': /^(closed|ECONNRESET|EPIPE)$/,
  'metrics by castellan’s socket': /^(closed|ECONNRESET|EPIPE)$/,
  'another socket there': ABSENT,
  'signal everybody': /^(EPERM|ok)$/,
  'the proxy’s port': TAKEN,
  'the proxy’s port, shared': TAKEN,
  'the proxy’s port, by IPv6': TAKEN,
  'the transparent port': TAKEN,
  'the resolver’s port': TAKEN,
  'the port of health, shared': TAKEN,
  'a setting of the network': READ_ONLY,
  'a secret of castellan’s': ABSENT,
  'the policy': ABSENT,
  'the log': ABSENT,
  'write the program': READ_ONLY,
  'write the workspace': /^written$/,
  'write /tmp': /^written$/,
};

describe.skipIf(!isRoot)('an agent in a pod with a sidecar (needs root)', () => {
  test.each([
    ['with processes of its own', ''],
    ['with the processes of the pod in sight', 'binary_identity: sidecar\n'],
  ])('%s: comes to nothing with whatever it tries', async (_, more) => {
    const script = `${PYTHON} /tools/probe.py '${JSON.stringify(PLACES)}'; ${BUSYBOX} env | ${BUSYBOX} grep -c hunter2`;
    const pod = await play('attacks', script, [], more);
    const { stdout, stderr } = await outcome(pod);
    const lines = stdout.split('\n').filter((line) => line.startsWith('['));
    const endings = lines.map((line) => JSON.parse(line) as [string, string | string[]]);
    expect(endings.length, stderr).toBeGreaterThan(45);
    const wrong = endings.filter(([name, ended]) =>
      [ended].flat().some((one) => !(ENDINGS[name] ?? REFUSED).test(one)),
    );
    expect(wrong).toEqual([]);
    // Not a byte of the secret in the environment.
    expect(stdout.trimEnd().split('\n').at(-1)).toBe('0');
  });

  test('gets out by no protocol', async () => {
    const silent = { answered: false };
    const table: readonly (readonly [request: readonly unknown[], want: unknown])[] = [
      // To the proxy, which finds no rule for the address.
      [['stream', FAR_4, 2525, { timeout: 2 }], NOT_REACHED],
      [['stream', FAR_6, 2525, { timeout: 2 }], NOT_REACHED],
      [['datagram', FAR_4, 5555, silent], 'EPERM'],
      [['datagram', FAR_6, 5555, silent], 'EPERM'],
      [['datagram', FAR_4, 443, silent], 'EPERM'],
      [['datagram', FAR_4, 5555, 136, silent], 'EPERM'],
      [['datagram', FAR_6, 5555, 136, silent], 'EPERM'],
      [['ping', FAR_4, { timeout: 0.3 }], 'EPERM'],
      [['ping', FAR_6, { timeout: 0.3 }], expect.stringMatching(/^(EPERM|timeout)$/)],
      [['datagram', FAR_4, 5555, { ...silent, device: 'pod' }], 'EPERM'],
      [['stream', '127.0.0.1', 15_001], 'ECONNREFUSED'],
      [['stream', '127.0.0.1', HEALTH_PORT], 'ECONNREFUSED'],
      [['stream', '127.0.0.1', METRICS_PORT], 'ECONNREFUSED'],
      [['stream', '::1', METRICS_PORT], 'ECONNREFUSED'],
      [['own_service', '127.0.0.1'], 'own service'],
    ];
    const script = `${PYTHON} /tools/client.py < /tools/requests`;
    const pod = await play(
      'protocols',
      script,
      table.map(([request]) => request),
    );
    const { stdout, stderr } = await outcome(pod);
    const [ready, ...answers] = stdout.trimEnd().split('\n');
    expect(ready, stderr).toBe('ready');
    expect(answers.map((line) => JSON.parse(line))).toEqual(table.map(([, want]) => want));
  });

  test('is not reached from outside, where health and metrics are', async () => {
    const listen = `import socket
servers = []
for family, address in ((socket.AF_INET, '0.0.0.0'), (socket.AF_INET6, '::')):
    server = socket.socket(family, socket.SOCK_STREAM); server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if family == socket.AF_INET6: server.setsockopt(41, 26, 1)
    server.bind((address, 7777)); server.listen(); servers.append(server)
print('listening', flush=True)
servers[0].accept(); print('reached')`;
    const pod = await play('inbound', `exec ${PYTHON} -u -c "${listen}"`);
    expect(pod.start).toMatchObject({ code: 0 });
    const agent = pod.follow('agent');
    await untilPrinted(agent, 'listening');
    const { address, address6 } = pod.network;
    const ask = (url: string) =>
      finish(pods().world.spawn(['curl', '-sS', '-m', '2', url], { stdio: ['ignore', 'pipe', 'pipe'] }));
    for (const host of [address, `[${address6}]`]) {
      const reached = await ask(`http://${host}:7777/`);
      expect(reached).toMatchObject({ code: 28 });
    }
    expect(await ask(`http://${address}:${HEALTH_PORT}/ready`)).toMatchObject({ code: 0 });
    const metrics = await ask(`http://${address}:${METRICS_PORT}/metrics`);
    expect(metrics.stdout).toContain('castellan_role_up{role="network"} 1');
  });
});
