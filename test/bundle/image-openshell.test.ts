/** The image in the place of OpenShell's supervisor image: mounted as a volume by podman, and started as its podman driver does. */
import { execFileSync } from 'node:child_process';
import { chownSync, copyFileSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { isRoot } from '../e2e/sandbox.ts';
import { AGENT_UID, OPENSHELL_SANDBOX } from './container.ts';
import { type Engine, IMAGE, startEngine } from './engine.ts';
import { BUSYBOX } from './images.ts';

const AGENT_IMAGE = 'localhost/agent:test';
const POLICY =
  'version: 1\nfilesystem_policy: { include_workdir: true, read_only: [/bin], read_write: [] }\n';

/** As at 2f7fb6559, with an image user; and what it takes away of the engine's defaults. */
const ADDED = ['SYS_ADMIN', 'NET_ADMIN', 'SYS_PTRACE', 'SYSLOG', 'DAC_READ_SEARCH', 'SETPCAP'];
const DROPPED = ['DAC_OVERRIDE', 'FSETID', 'KILL', 'NET_BIND_SERVICE', 'NET_RAW', 'SETFCAP', 'SYS_CHROOT'];
const ENVIRONMENT = {
  OPENSHELL_SANDBOX: 'work',
  OPENSHELL_SSH_SOCKET_PATH: '/run/openshell/ssh.sock',
  OPENSHELL_OCI_IMAGE_USER: `${AGENT_UID}:${AGENT_UID}`,
  OPENSHELL_SANDBOX_UID: '',
  OPENSHELL_SANDBOX_GID: '',
  OPENSHELL_NETWORK_RUNTIME_CAPABILITIES: 'policy-dns-transparent-tcp',
  OPENSHELL_CONTAINER_IMAGE: AGENT_IMAGE,
  OPENSHELL_TELEMETRY_ENABLED: 'false',
};

describe.skipIf(!isRoot)('the image as OpenShell’s supervisor (needs root)', () => {
  let engine: Engine;
  beforeAll(() => {
    engine = startEngine();
    const root = join(engine.directory, 'agent');
    for (const directory of ['bin', 'sandbox', 'tmp', 'etc/openshell'])
      mkdirSync(join(root, directory), { recursive: true });
    chownSync(join(root, 'sandbox'), AGENT_UID, AGENT_UID);
    copyFileSync(BUSYBOX, join(root, 'bin/busybox'));
    writeFileSync(join(root, 'etc/openshell/policy.yaml'), POLICY);
    execFileSync('tar', ['-C', root, '-cf', `${root}.tar`, '.']);
    expect(engine.podman('import', `${root}.tar`, AGENT_IMAGE)).toMatchObject({ code: 0 });
  });
  afterAll(() => engine[Symbol.dispose]());

  const run = (script: string, ...argv: readonly string[]) => {
    const command = [BUSYBOX, 'sh', '-c', script];
    const spec = JSON.stringify({ version: 1, command, tty: false });
    const environment = Object.entries({ ...ENVIRONMENT, OPENSHELL_MAIN_PROCESS_SPEC: spec });
    return engine.podman(
      ...['run', '--rm', '--network', 'none', '--user', '0:0', '--tmpfs', '/run/netns'],
      ...ADDED.flatMap((name) => ['--cap-add', name]),
      ...DROPPED.flatMap((name) => ['--cap-drop', name]),
      ...['--security-opt', 'no-new-privileges', '--security-opt', 'seccomp=unconfined'],
      ...['--mount', `type=image,source=${IMAGE},destination=/opt/openshell/bin`],
      ...environment.flatMap(([name, value]) => ['--env', `${name}=${value}`]),
      ...['--entrypoint', OPENSHELL_SANDBOX, AGENT_IMAGE, '--workdir', '/sandbox', ...argv],
    );
  };

  it('runs the agent with the capabilities that the driver leaves, and gives its exit code', () => {
    const { code, stdout, stderr } = run(
      'busybox id -u; busybox grep CapEff /proc/self/status; echo x > mine && echo wrote; busybox wget -q -O - http://forbidden.test/ || echo refused; exit 7',
    );
    expect(stdout, stderr).toBe(`${AGENT_UID}\nCapEff:\t0000000000000000\nwrote\nrefused\n`);
    expect(stderr).toContain('403');
    expect(code).toBe(7);
  });

  it('ends everybody of the sandbox, who are of another user, without CAP_KILL', () => {
    const { code, stdout, stderr } = run(
      'trap "echo TERM; exit 3" TERM; (trap "echo child TERM; exit" TERM; busybox sleep 600 & wait) & busybox sleep 600 & wait',
      ...['--timeout', '1', '--log-level', 'info'],
    );
    expect(stdout.split('\n').sort()).toEqual(['', 'TERM', 'child TERM']);
    expect(stderr).toContain('the command reached its time limit');
    expect(code).toBe(124);
  });

  it('has the name at its root too', () => {
    const { stdout } = engine.podman('run', '--rm', '--entrypoint', '/openshell-sandbox', IMAGE, '--help');
    expect(stdout).toContain('openshell-sandbox: castellan in the place');
  });
});
