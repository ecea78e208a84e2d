/**
 * A rendered pod as an engine runs it. podman's `kube play` honours users, capabilities, no_new_privs, read-only roots and init containers; it
 * ignores fsGroup, modes of Secrets and seccompProfile, which unit tests look at in the text.
 */
import { execFileSync } from 'node:child_process';
import { copyFileSync, mkdirSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { renderedCapabilities } from '../../src/config/capabilities.ts';
import { isRoot } from '../e2e/sandbox.ts';
import { REPOSITORY } from '../fakes/world.ts';
import { type Engine, IMAGE, startEngine } from './engine.ts';
import { BUSYBOX } from './images.ts';

const AGENT = 'localhost/agent:test';
const CASTELLAN = join(REPOSITORY, 'dist/bundle/bin/castellan');

const REQUEST = `image: ${AGENT}
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
  // podman's empty directories are volumes by their names, which the next pod would find full.
  afterEach(() => {
    engine.podman('pod', 'rm', '--force', '--all');
    engine.podman('volume', 'rm', '--force', '--all');
  });
  afterAll(() => engine[Symbol.dispose]());

  it.each<[name: string, lines: string, sidecar: readonly string[] | undefined, agent: readonly string[]]>([
    ['combined', '', undefined, renderedCapabilities('combined')],
    // podman knows no native sidecars.
    ['sidecar', 'topology: sidecar\nnative_sidecar: false\n', [], []],
    [
      'looking',
      'topology: sidecar\nnative_sidecar: false\nbinary_identity: sidecar\n',
      renderedCapabilities('identifying', 'sidecar'),
      [],
    ],
  ])('%s: starts the agent with what it asks for and no more', (name, lines, sidecar, agent) => {
    const input = `name: ${name}\n${REQUEST}${lines}`;
    const file = join(engine.directory, `${name}.yaml`);
    writeFileSync(file, execFileSync(CASTELLAN, ['kubernetes', 'render', '-f', '-'], { input }));
    expect(engine.podman('kube', 'play', '--network', 'none', file)).toMatchObject({ code: 0 });
    const waited = engine.podman('wait', `${name}-agent`);
    const { stdout, stderr } = engine.podman('logs', `${name}-agent`);
    expect(waited.stdout, stderr).toBe('3\n');
    expect(stdout, stderr).toBe('20002\n20003\nof the image\nCapBnd:\t0000000000000000\n');
    expect(rightsOf(`${name}-agent`)).toBe(rights(agent));
    if (sidecar === undefined) return;
    expect(engine.podman('wait', `${name}-castellan-network`).stdout).toBe('0\n');
    expect(rightsOf(`${name}-castellan-network`)).toBe(rights(sidecar));
  });

  function rightsOf(container: string): string {
    const format = '{{.EffectiveCaps}} {{.HostConfig.SecurityOpt}} {{.HostConfig.ReadonlyRootfs}}';
    return engine.podman('inspect', '--format', format, container).stdout;
  }
});

function rights(capabilities: readonly string[]): string {
  const names = capabilities.map((name) => `CAP_${name}`).sort();
  return `[${names.join(' ')}] [no-new-privileges] true\n`;
}
