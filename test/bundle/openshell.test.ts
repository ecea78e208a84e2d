/** The bundle in the place of OpenShell's supervisor: put there as its drivers do, and started with what they say. */
import { execFileSync } from 'node:child_process';
import {
  copyFileSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';
import { finish, isRoot, useWorld } from '../e2e/sandbox.ts';
import { AGENT_UID, BUNDLE, type Container, makeContainer } from './container.ts';
import { BUSYBOX, IMAGES, type Image } from './images.ts';

const world = useWorld();
const image =
  IMAGES.find(({ name }) => name.includes('no accounts') || name.includes('busybox')) ?? (IMAGES[0] as Image);
const ALLOWED = 'http://allowed.demo.test:8080/x';
const FORBIDDEN = 'http://forbidden.demo.test:8080/x';

/** What the demo shows, in one command: who it is, what it may write, what it reaches, and what is refused it. */
const AGENT = [
  `${BUSYBOX} id -u`,
  `${BUSYBOX} grep -E '^(CapEff|NoNewPrivs|Seccomp):' /proc/self/status`,
  `echo x > mine && echo wrote`,
  `echo x > /etc/x || echo kept out of /etc`,
  `${BUSYBOX} wget -q -O - ${ALLOWED}`,
  `${BUSYBOX} wget -q -O - ${FORBIDDEN} || echo refused`,
  'echo "user says $GREETING"',
].join('; ');
const SHOWN = [
  `${AGENT_UID}`,
  'CapEff:\t0000000000000000',
  'NoNewPrivs:\t1',
  'Seccomp:\t2',
  'wrote',
  'kept out of /etc',
  'GET allowed.demo.test:8080 /x 0',
  'refused',
  'user says hello',
  '',
].join('\n');

const SPEC = JSON.stringify({ version: 1, command: [BUSYBOX, 'sh', '-c', AGENT], tty: false });
/** As each driver sets them at 2f7fb6559, without a gateway. */
const COMMON = {
  OPENSHELL_SANDBOX: 'Team--Work',
  OPENSHELL_SANDBOX_ID: '7b1d0c1e-0000-4000-8000-000000000000',
  OPENSHELL_TELEMETRY_ENABLED: 'false',
  OPENSHELL_SSH_SOCKET_PATH: '/run/openshell/ssh.sock',
  OPENSHELL_MAIN_PROCESS_SPEC: SPEC,
  OPENSHELL_USER_ENVIRONMENT: '{"GREETING":"hello"}',
};
const BY_IMAGE = {
  ...COMMON,
  OPENSHELL_NETWORK_RUNTIME_CAPABILITIES: 'policy-dns-transparent-tcp',
  OPENSHELL_OCI_IMAGE_USER: `${AGENT_UID}:${AGENT_UID}`,
  OPENSHELL_SANDBOX_UID: '',
  OPENSHELL_SANDBOX_GID: '',
};
const DRIVERS: readonly (readonly [string, Readonly<Record<string, string>>])[] = [
  ['docker', { ...BY_IMAGE, HOME: '/root', TERM: 'xterm', PATH: '/bin', OPENSHELL_LOG_LEVEL: 'warn' }],
  ['podman', { ...BY_IMAGE, OPENSHELL_CONTAINER_IMAGE: 'agent:1' }],
  [
    'kubernetes, combined',
    {
      ...COMMON,
      OPENSHELL_NETWORK_RUNTIME_CAPABILITIES: '',
      OPENSHELL_OCI_IMAGE_USER: '',
      OPENSHELL_SANDBOX_UID: String(AGENT_UID),
      OPENSHELL_SANDBOX_GID: String(AGENT_UID),
    },
  ],
];

/** A policy that leaves the user to the driver. */
function policyOf({ root }: Container): string {
  return readFileSync(join(root, 'etc/policy.yaml'), 'utf8').replace(/^process:.*\n/m, '');
}

describe.skipIf(!isRoot)('in the place of openshell-sandbox (needs root)', () => {
  let volume: string;
  /** The image as a volume: what its root holds. */
  beforeAll(() => {
    volume = join(world().directory, 'image-volume');
    mkdirSync(join(volume, 'opt'), { recursive: true });
    execFileSync('cp', ['-a', BUNDLE, join(volume, 'opt/castellan')]);
    execFileSync('cp', ['-a', `${join(BUNDLE, '../image')}/.`, volume]);
  });

  it.each(DRIVERS)('by %s: what the demo shows comes out', async (_, environment) => {
    const here = makeContainer(world(), image);
    mkdirSync(join(here.root, 'etc/openshell'));
    writeFileSync(join(here.root, 'etc/openshell/policy.yaml'), policyOf(here));
    const { code, stdout, stderr } = await finish(
      here.startAlias(volume, ['--workdir', '/work'], environment),
    );
    expect(stdout, stderr).toBe(SHOWN);
    expect(code, stderr).toBe(0);
    expect(stderr).toContain('not used here: OPENSHELL_SANDBOX_ID (');
    expect(readdirSync(join(here.run, 'openshell'))).toEqual([]);
    const [log = ''] = readdirSync(join(here.root, 'var/log/castellan'));
    expect(log).toMatch(/^team-work-[0-9a-f]{8}-.*\.jsonl$/);
    const record = readFileSync(join(here.root, 'var/log/castellan', log), 'utf8');
    expect(record).toContain('host_not_listed');
    expect(record).not.toContain('hello');
  });

  it('a gateway is refused, with the way without one', async () => {
    const here = makeContainer(world(), image);
    const environment = { ...BY_IMAGE, OPENSHELL_ENDPOINT: 'https://host.openshell.internal:8080' };
    const { code, stderr } = await finish(here.startAlias(volume, ['--workdir', '/work'], environment));
    expect(code).toBe(100);
    expect(stderr).toContain('does not speak to a gateway yet');
    expect(stderr).toContain('/etc/openshell/policy.yaml');
  });

  it('what an image bakes in loosens nothing', async () => {
    for (const [name, value] of [
      ['OPENSHELL_SUPERVISOR_TOPOLOGY', 'sidecar'],
      ['OPENSHELL_NETWORK_BINARY_IDENTITY', 'relaxed'],
      ['OPENSHELL_POLICY_DATA', '/work/policy.yaml'],
      ['OPENSHELL_SSH_SOCKET_PATH', '/work/ssh.sock'],
      ['CASTELLAN_POLICY', '/work/policy.yaml'],
    ] as const) {
      const here = makeContainer(world(), image);
      writeFileSync(join(here.root, 'work/policy.yaml'), policyOf(here));
      const argv = ['--workdir', '/work', '--policy-data', here.policy];
      const { code, stdout, stderr } = await finish(
        here.startAlias(volume, argv, { ...BY_IMAGE, [name]: value }),
      );
      expect([name, stdout]).toEqual([name, '']);
      expect([name, [100, 104].includes(code ?? 0)], stderr).toEqual([name, true]);
    }
  });

  describe('put there by copy-self', () => {
    const copy = (source: string, destination: string): string =>
      execFileSync(join(source, 'openshell-sandbox'), ['copy-self', destination], { encoding: 'utf8' });
    const runs = async (place: string): Promise<void> => {
      const here = makeContainer(world(), image);
      const argv = ['--workdir', '/work', '--policy-data', here.policy];
      const { stdout, stderr } = await finish(here.startAlias(place, argv, BY_IMAGE));
      expect(stdout, stderr).toBe(SHOWN);
    };

    it('into an empty volume, by the path that the driver says', async () => {
      const place = join(world().directory, 'copied/bin');
      expect(copy(volume, join(place, 'openshell-sandbox'))).toContain(' copied');
      expect(copy(volume, join(place, 'openshell-sandbox'))).toContain(' was there already');
      await runs(place);
      // A copy can copy itself.
      const next = join(world().directory, 'copied-again');
      mkdirSync(next);
      copy(place, next);
      await runs(next);
    });

    it('beside castellan’s own form, which stays', async () => {
      const place = join(world().directory, 'both');
      execFileSync(join(BUNDLE, 'bin/castellan'), ['copy-self', place]);
      copy(volume, `${place}/`);
      expect(readdirSync(place).filter((name) => !name.startsWith('.'))).toEqual([
        'bin',
        'openshell-sandbox',
      ]);
      expect(execFileSync(join(place, 'bin/castellan'), ['--version'], { encoding: 'utf8' })).toMatch(
        /^castellan/,
      );
      await runs(place);
    });
  });

  it('is found by a link and as a copy of the file in the same bundle', () => {
    const place = join(world().directory, 'other-bundle');
    execFileSync('cp', ['-a', BUNDLE, place]);
    const program = join(place, 'bin/openshell-sandbox');
    for (const make of [
      () => symlinkSync('castellan', program),
      () => copyFileSync(join(place, 'bin/castellan'), program),
    ]) {
      rmSync(program);
      make();
      expect(execFileSync(program, ['--help'], { encoding: 'utf8' })).toContain(
        'openshell-sandbox: castellan in',
      );
    }
  });
});
