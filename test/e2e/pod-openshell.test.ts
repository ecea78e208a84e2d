/** A pod whose containers are started with the words and variables of OpenShell's driver for Kubernetes, whose sidecar runs as the proxy's uid. */
import { mkdirSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { afterEach, describe, expect, test } from 'vitest';
import { CASTELLAN } from '../fakes/world.ts';
import { AGENT, makePod, type Pod, PROXY_UID, SANDBOX_UID, untilSaid } from './pod.ts';
import { ALLOW_CURL, finish, isRoot, untilPrinted, useWorld } from './sandbox.ts';

const world = useWorld();
const OPENSHELL = join(dirname(CASTELLAN), 'openshell-sandbox');
const SSH_NAME = `@openshell-sidecar-ssh-${process.pid}`;

/** What each of the containers is told, by its driver at 2f7fb6559, where no gateway is. */
const SHARED = {
  OPENSHELL_SANDBOX: 'team--work',
  OPENSHELL_SANDBOX_ID: '7b1d0c1e-0000-4000-8000-000000000000',
  OPENSHELL_SUPERVISOR_TOPOLOGY: 'sidecar',
  OPENSHELL_NETWORK_ENFORCEMENT_MODE: 'sidecar-nftables',
  OPENSHELL_NETWORK_RUNTIME_CAPABILITIES: '',
  OPENSHELL_PROXY_TLS_DIR: '/etc/openshell-tls/proxy',
  OPENSHELL_SSH_SOCKET_PATH: SSH_NAME,
  OPENSHELL_SANDBOX_UID: String(SANDBOX_UID),
  OPENSHELL_SANDBOX_GID: String(SANDBOX_UID),
  OPENSHELL_OCI_IMAGE_USER: '',
};

/** `identity` as setpriv(1) names it, with the capabilities of a container that drops all. */
const container = (identity: readonly string[], capabilities = '-all'): string[] => [
  'setpriv',
  ...identity,
  `--bounding-set=${capabilities}`,
  ...['--inh-caps=-all', '--no-new-privs', '--'],
];

/** Prints the first bytes that an SSH server says at an abstract name. */
const HEAR = `python3 -c 'import socket
s=socket.socket(socket.AF_UNIX); s.connect(chr(0)+"${SSH_NAME.slice(1)}"); print("heard", s.recv(7))'`;

let pod: Pod | undefined;
afterEach(async () => {
  await pod?.[Symbol.asyncDispose]();
  pod = undefined;
});

describe.skipIf(!isRoot)('a pod of OpenShell’s driver (needs root)', () => {
  test('its words start the fence, the sidecar and the agent, who reaches what the policy says', async () => {
    pod = await makePod(world(), ALLOW_CURL);
    const { directory, policy, work } = pod;
    const state = join(directory, 'openshell-state');
    mkdirSync(state);
    const init = await finish(
      pod.spawn([
        ...container([], '-all,+net_admin,+net_raw,+chown,+fowner'),
        ...[OPENSHELL, '--mode=network-init', '--proxy-uid', String(PROXY_UID)],
        ...['--proxy-gid', String(SANDBOX_UID), '--sidecar-state-dir', state],
        ...['--sidecar-tls-dir', '/etc/openshell-tls/proxy', '--health-check'],
      ]),
    );
    expect(init.stdout, init.stderr).toContain(`fence installed, exempt uid ${PROXY_UID}; inbound TCP 8080`);
    const shared = { ...SHARED, OPENSHELL_SIDECAR_CONTROL_SOCKET: join(state, 'control.sock') };
    const sidecar = pod.spawn(
      [
        ...container([`--reuid=${PROXY_UID}`, `--regid=${SANDBOX_UID}`, '--clear-groups']),
        ...[OPENSHELL, '--mode=network', '--log-level', 'info', '--policy-data', policy, '--health-check'],
      ],
      {
        environment: {
          ...shared,
          OPENSHELL_NETWORK_BINARY_IDENTITY: 'relaxed',
          XDG_RUNTIME_DIR: join(directory, 'sidecar-run'),
          XDG_STATE_HOME: join(directory, 'sidecar-log'),
        },
      },
    );
    const sidecarEnded = finish(sidecar);
    await untilSaid(sidecar, 'sandbox ready');
    const probe = ['curl', '-sS', '--noproxy', '*', '--max-time', '20', `http://${pod.address}:8080/ready`];
    const kubelet = world().spawn(probe, { stdio: 'pipe' });
    expect((await finish(kubelet)).stdout).toBe('{"status":"ready"}\n');
    const script = [
      'env | grep -E "OPENSHELL|CASTELLAN|SANDBOX|XDG"',
      'id -u',
      'curl -sS http://allowed.demo.test:8080/x',
      'curl -sS -o /dev/null -w "%{http_code}\\n" http://forbidden.demo.test:8080/',
      `${HEAR} 2>&1 | tail -n 1`,
      `curl -s --noproxy "*" http://127.0.0.1:8080/live; echo "health $?"`,
      'echo up; read end',
    ].join('; ');
    const agent = pod.spawn(
      [
        // The driver's pods share their processes.
        ...['unshare', '--mount', '--', 'setpriv', ...AGENT(), '--'],
        ...[OPENSHELL, '--mode=process', '-i', '--workdir', work, 'sh', '-c', script],
      ],
      {
        stdin: 'pipe',
        environment: { ...shared, XDG_RUNTIME_DIR: join(directory, 'agent-run'), HOME: work },
      },
    );
    const agentEnded = finish(agent);
    await untilPrinted(agent, 'up');
    const hear = pod.spawn([...container([`--reuid=${SANDBOX_UID}`, '--clear-groups']), 'sh', '-c', HEAR]);
    expect(await finish(hear)).toMatchObject({ stdout: "heard b'SSH-2.0'\n" });
    agent.stdin?.end('\n');
    const { code, stdout, stderr } = await agentEnded;
    expect(stdout, stderr).toBe(
      [
        'CASTELLAN=1',
        'OPENSHELL_SANDBOX=1',
        `${SANDBOX_UID}`,
        'GET allowed.demo.test:8080 /x 0',
        '403',
        'PermissionError: [Errno 1] Operation not permitted',
        'health 7',
        'up',
        '',
      ].join('\n'),
    );
    expect(code).toBe(0);
    expect(stderr).toContain('not used here: OPENSHELL_SANDBOX_ID (');
    expect(await sidecarEnded).toMatchObject({ code: 0 });
  });

  test('where its sidecar stays root, nothing starts: neither the fence nor, without one, the sidecar', async () => {
    pod = await makePod(world(), ALLOW_CURL);
    const init = pod.spawn([
      ...container([], '-all,+net_admin,+net_raw,+chown,+fowner'),
      ...[OPENSHELL, '--mode=network-init', '--proxy-uid', '0', '--proxy-gid', String(SANDBOX_UID)],
    ]);
    expect(await finish(init)).toMatchObject({
      code: 100,
      stderr: expect.stringContaining('process_binary_aware_network_policy'),
    });
    const sidecar = pod.spawn(
      [
        ...container([`--regid=${SANDBOX_UID}`, '--clear-groups'], '-all,+sys_ptrace,+dac_read_search'),
        ...[OPENSHELL, '--mode=network', '--policy-data', pod.policy],
      ],
      {
        environment: {
          ...SHARED,
          OPENSHELL_SIDECAR_CONTROL_SOCKET: pod.socket,
          OPENSHELL_NETWORK_BINARY_IDENTITY: 'strict',
          XDG_STATE_HOME: join(pod.directory, 'sidecar-log'),
        },
      },
    );
    expect(await finish(sidecar)).toMatchObject({
      code: 112,
      stderr: expect.stringMatching(
        /CAP_SETUID is missing: .*CAP_SETGID is missing: .*CAP_SETPCAP is missing: /,
      ),
    });
  });
});
