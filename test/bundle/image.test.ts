/** The image as an engine runs it: built without a registry, with nothing in it but the bundle. */
import { execFileSync } from 'node:child_process';
import { chmodSync, mkdirSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { isRoot } from '../e2e/sandbox.ts';
import { AGENT_UID, BUNDLE_ARM64 } from './container.ts';
import { type Engine, IMAGE, startEngine } from './engine.ts';
import { BUSYBOX } from './images.ts';

const POLICY = `version: 1
filesystem_policy: { read_only: [/bin], read_write: [/tmp] }
process: { run_as_user: "${AGENT_UID}" }
`;

describe.skipIf(!isRoot)('the image (needs root)', () => {
  let engine: Engine;
  let mounts: string[];
  beforeAll(() => {
    engine = startEngine();
    const policy = join(engine.directory, 'policy.yaml');
    writeFileSync(policy, POLICY);
    mounts = ['-v', `${BUSYBOX}:/bin/busybox:ro`, '-v', `${policy}:/etc/castellan/policy.yaml:ro`];
  });
  afterAll(() => engine[Symbol.dispose]());

  const run = (options: readonly string[], ...command: string[]) =>
    engine.podman('run', '--rm', '--network', 'none', ...options, IMAGE, ...command);
  const CAPABILITIES = ['--cap-add', 'SYS_ADMIN', '--cap-add', 'NET_ADMIN'];

  it('has labels, an entrypoint and a health check', () => {
    const { stdout } = engine.podman('image', 'inspect', IMAGE);
    const [{ Config: config, Healthcheck: check }] = JSON.parse(stdout);
    expect(config.Entrypoint).toEqual(['/opt/castellan/bin/castellan']);
    expect(config.Labels).toMatchObject({ 'org.opencontainers.image.title': 'castellan' });
    expect(check.Test).toEqual(['CMD', '/opt/castellan/bin/castellan', 'probe', 'live']);
  });

  it('is made for another architecture from what was cross-built for it', () => {
    const tag = `${IMAGE}-arm64`;
    engine.build(tag, '--platform', 'linux/arm64', '--build-arg', 'BUNDLE=each');
    const [{ Architecture: architecture }] = JSON.parse(engine.podman('image', 'inspect', tag).stdout);
    expect(architecture).toBe('arm64');
    const place = engine.podman('image', 'mount', tag).stdout.trim();
    expect(
      execFileSync('diff', ['-r', BUNDLE_ARM64, join(place, 'opt/castellan')], { encoding: 'utf8' }),
    ).toBe('');
    engine.podman('image', 'unmount', tag);
  });

  it('tells its version, as any user and without any capability', () => {
    for (const options of [
      [],
      ['--user', '4000:4000', '--cap-drop', 'ALL', '--security-opt', 'no-new-privileges'],
    ])
      expect(run(options, '--version').stdout).toMatch(/^castellan \d/);
  });

  it('runs an agent as its entrypoint, and gives its exit code', () => {
    const { code, stdout, stderr } = run(
      [...CAPABILITIES, ...mounts, '--tmpfs', '/tmp'],
      ...['run', '--quiet', '--workdir', '/tmp', '--'],
      ...[BUSYBOX, 'sh', '-c', 'busybox id -u; exit 7'],
    );
    expect(stdout, stderr).toBe(`${AGENT_UID}\n`);
    expect(code).toBe(7);
  });

  it('with a read-only root, and everything in /run', () => {
    const { code, stdout, stderr } = run(
      [...CAPABILITIES, ...mounts, '--read-only', '--tmpfs', '/tmp'],
      ...[
        'run',
        '--quiet',
        '--workdir',
        '/tmp',
        '--audit-file',
        '/run/audit.jsonl',
        '--',
        BUSYBOX,
        'id',
        '-u',
      ],
    );
    expect(stdout, stderr).toBe(`${AGENT_UID}\n`);
    expect(code).toBe(0);
  });

  it('without the capabilities it says which is missing', () => {
    const { code, stderr } = run(mounts, 'run', '--quiet', '--', BUSYBOX, 'true');
    expect(stderr).toContain('CAP_SYS_ADMIN is missing');
    expect(code).toBe(112);
  });

  it('fences a network with two capabilities, and gives the state directory away', () => {
    const state = join(engine.directory, 'state');
    mkdirSync(state);
    chmodSync(state, 0o2777);
    const confined = ['--read-only', '--cap-drop', 'ALL', '--security-opt', 'no-new-privileges'];
    const options = [...confined, '--cap-add', 'NET_ADMIN', '--cap-add', 'CHOWN', '-v', `${state}:/state`];
    const { code, stdout, stderr } = run(options, 'network-init', '--state-directory', '/state', '--json');
    expect(code, stderr).toBe(0);
    expect(JSON.parse(stdout)).toMatchObject({
      logged: true,
      families: [{ family: 'IPv4' }, { family: 'IPv6' }],
    });
    expect(statSync(state)).toMatchObject({ uid: 1337, gid: 1337, mode: 0o40711 });
  });

  it('puts itself into a volume, from which any image starts it', () => {
    const place = join(engine.directory, 'volume');
    mkdirSync(place);
    const volume = ['-v', `${place}:/to`];
    expect(run(volume, 'copy-self', '/to/castellan')).toMatchObject({ code: 0 });
    const { stdout, stderr } = engine.podman(
      ...['run', '--rm', '--network', 'none', ...volume, '--entrypoint', '/to/castellan/bin/castellan'],
      ...[IMAGE, '--version'],
    );
    expect(stdout, stderr).toMatch(/^castellan \d/);
  });
});
