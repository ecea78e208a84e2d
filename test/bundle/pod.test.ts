/**
 * A rendered pod as an engine runs it. podman's `kube play` honours users, capabilities, no_new_privs, read-only roots and init containers; it
 * ignores fsGroup, modes of Secrets and seccompProfile, which unit tests look at in the text.
 */
import { execFileSync } from 'node:child_process';
import { copyFileSync, mkdirSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { COMBINED_CAPABILITIES } from '../../src/kubernetes/security.ts';
import { isRoot } from '../e2e/sandbox.ts';
import { REPOSITORY } from '../fakes/world.ts';
import { type Engine, IMAGE, startEngine } from './engine.ts';
import { BUSYBOX } from './images.ts';

const AGENT = 'localhost/agent:test';
const CASTELLAN = join(REPOSITORY, 'dist/bundle/bin/castellan');

const REQUEST = `name: pod-1
image: ${AGENT}
pull_policy: Never
command:
  - ${BUSYBOX}
  - sh
  - -c
  - ${BUSYBOX} id -u; ${BUSYBOX} id -g; ${BUSYBOX} cat /sandbox/file; ${BUSYBOX} touch /sandbox/mine; ${BUSYBOX} grep CapBnd /proc/self/status; exit 3
castellan: { image: "${IMAGE}", pull_policy: Never }
sandbox_uid: 20002
sandbox_gid: 20003
policy: { text: "version: 1\\nfilesystem_policy: { read_only: [/bin], read_write: [/sandbox] }\\n" }
workspace: { empty_dir: {}, seed: true }
read_only_root: true
`;

describe.skipIf(!isRoot)('a rendered pod (needs root)', () => {
  let engine: Engine;
  beforeAll(() => {
    engine = startEngine();
    const root = join(engine.directory, 'agent');
    for (const place of ['bin', 'etc', 'tmp', 'run', 'var/log', 'sandbox'])
      mkdirSync(join(root, place), { recursive: true });
    copyFileSync(BUSYBOX, join(root, BUSYBOX));
    symlinkSync('busybox', join(root, 'bin/sh'));
    writeFileSync(join(root, 'sandbox/file'), 'of the image\n');
    const archive = join(engine.directory, 'agent.tar');
    execFileSync('tar', ['-C', root, '-cf', archive, '.']);
    // Whatever an image says about castellan is not heard.
    const hostile = ['OPENSHELL_SANDBOX_UID=0', 'CASTELLAN_MAIN_PROCESS_SPEC=evil', 'NODE_OPTIONS=--evil'];
    const changes = hostile.flatMap((variable) => ['--change', `ENV ${variable}`]);
    expect(engine.podman('import', ...changes, archive, AGENT)).toMatchObject({ code: 0 });
  });
  afterAll(() => {
    engine.podman('pod', 'rm', '--force', '--all');
    engine[Symbol.dispose]();
  });

  it('combined: starts the agent with what it asks for and no more', () => {
    const text = execFileSync(CASTELLAN, ['kubernetes', 'render', '-f', '-'], { input: REQUEST });
    const file = join(engine.directory, 'pod.yaml');
    writeFileSync(file, text);
    expect(engine.podman('kube', 'play', '--network', 'none', file)).toMatchObject({ code: 0 });
    expect(engine.podman('wait', 'pod-1-agent').stdout).toBe('3\n');
    const { stdout, stderr } = engine.podman('logs', 'pod-1-agent');
    expect(stdout, stderr).toBe('20002\n20003\nof the image\nCapBnd:\t0000000000000000\n');
    const format = '{{.EffectiveCaps}} {{.HostConfig.SecurityOpt}} {{.HostConfig.ReadonlyRootfs}}';
    const has = COMBINED_CAPABILITIES.map((name) => `CAP_${name}`)
      .sort()
      .join(' ');
    expect(engine.podman('inspect', '--format', format, 'pod-1-agent').stdout).toBe(
      `[${has}] [no-new-privileges] true\n`,
    );
  });
});
