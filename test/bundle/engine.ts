/** A container engine of the test's own: podman and buildah with their storage in one directory, and nothing from any registry. */
import { execFileSync, spawnSync } from 'node:child_process';
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { REPOSITORY } from '../fakes/world.ts';

export interface Engine extends Disposable {
  /** Directory for the test's files, gone with the engine. */
  readonly directory: string;
  /** Builds from the repository, by these options of buildah. */
  build(tag: string, ...options: readonly string[]): void;
  podman(...args: string[]): {
    readonly code: number | null;
    readonly stdout: string;
    readonly stderr: string;
  };
}

export const IMAGE = 'localhost/castellan:test';

/** Builds the image from dist/bundle. */
export function startEngine(): Engine {
  const directory = mkdtempSync(join(tmpdir(), 'castellan-engine-'));
  const runtime = join(directory, 'runtime');
  writeFileSync(runtime, RUNTIME);
  chmodSync(runtime, 0o755);
  const [containers, storage] = [join(directory, 'containers.conf'), join(directory, 'storage.conf')];
  writeFileSync(
    containers,
    `[engine]\ncgroup_manager = "cgroupfs"\nevents_logger = "file"\nruntime = "test"\n[engine.runtimes]\ntest = ["${runtime}"]\n[containers]\nlog_driver = "k8s-file"\n`,
  );
  writeFileSync(
    storage,
    `[storage]\ndriver = "vfs"\ngraphroot = "${directory}/graph"\nrunroot = "${directory}/run"\n`,
  );
  const env = {
    PATH: '/usr/sbin:/usr/bin:/sbin:/bin',
    HOME: directory,
    CONTAINERS_CONF: containers,
    CONTAINERS_STORAGE_CONF: storage,
  };
  const build = (tag: string, ...options: readonly string[]): void => {
    const own = ['--isolation', 'chroot', '--format', 'docker', '-q', '-t', tag];
    execFileSync('buildah', ['bud', ...own, ...options, REPOSITORY], { env, stdio: 'pipe' });
  };
  build(IMAGE, '--build-arg', 'BUNDLE=here');
  return {
    directory,
    build,
    podman(...args) {
      const { status, stdout, stderr } = spawnSync('podman', args, { env, encoding: 'utf8' });
      return { code: status, stdout, stderr };
    },
    [Symbol.dispose]: () => rmSync(directory, { recursive: true, force: true }),
  };
}

/**
 * runc, told to raise no limits and to leave control groups alone: some machines that run tests let nobody do the first, and have control groups
 * in a form that the engine does not know.
 */
const RUNTIME = `#!${process.execPath}
const { readFileSync, writeFileSync } = require('node:fs');
const args = process.argv.slice(2);
const at = args.indexOf('--bundle');
if (at >= 0) {
  const path = args[at + 1] + '/config.json';
  const config = JSON.parse(readFileSync(path, 'utf8'));
  delete config.process.rlimits;
  delete config.linux.resources;
  writeFileSync(path, JSON.stringify(config));
}
process.exitCode = require('node:child_process').spawnSync('runc', args, { stdio: 'inherit' }).status ?? 1;
`;
