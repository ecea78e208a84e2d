/** A container engine of the test's own: podman and buildah with their storage in one directory, and nothing from any registry. */
import { execFileSync, spawnSync } from 'node:child_process';
import { chmodSync, mkdtempSync, rmSync, statfsSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { REPOSITORY } from '../fakes/world.ts';

export interface Engine extends Disposable {
  /** Directory for the test's files, gone with the engine. */
  readonly directory: string;
  /** What podman finds its storage and its runtime by. */
  readonly environment: Readonly<Record<string, string>>;
  /** Builds from the repository, by these options of buildah. */
  build(tag: string, ...options: readonly string[]): void;
  podman(...args: string[]): {
    readonly code: number | null;
    readonly stdout: string;
    readonly stderr: string;
  };
}

/** statfs(2). */
const OVERLAYFS = 0x794c7630;

export const IMAGE = 'localhost/castellan:test';

export interface EngineOptions {
  /** Puts layers over each other, where the directory is not itself in such a file system; else they are copied. */
  readonly overlays?: boolean;
  /** In front of everything that the engine runs: whose mounts its own are among. */
  readonly enter?: readonly string[];
}

/** Builds the image from dist/bundle. */
export function startEngine({ overlays = false, enter = [] }: EngineOptions = {}): Engine {
  const directory = mkdtempSync(join(tmpdir(), 'castellan-engine-'));
  const driver = overlays && statfsSync(directory).type !== OVERLAYFS ? 'overlay' : 'vfs';
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
    `[storage]\ndriver = "${driver}"\ngraphroot = "${directory}/graph"\nrunroot = "${directory}/run"\n`,
  );
  const environment = {
    PATH: '/usr/sbin:/usr/bin:/sbin:/bin',
    HOME: directory,
    CONTAINERS_CONF: containers,
    CONTAINERS_STORAGE_CONF: storage,
  };
  const build = (tag: string, ...options: readonly string[]): void => {
    const own = ['--isolation', 'chroot', '--format', 'docker', '-q', '-t', tag];
    const [program = '', ...args] = [...enter, 'buildah', 'bud', ...own, ...options, REPOSITORY];
    execFileSync(program, args, { env: environment, stdio: 'pipe' });
  };
  build(IMAGE, '--build-arg', 'BUNDLE=here');
  return {
    directory,
    environment,
    build,
    podman(...words) {
      const [program = '', ...args] = [...enter, 'podman', ...words];
      const { status, stdout, stderr } = spawnSync(program, args, { env: environment, encoding: 'utf8' });
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
