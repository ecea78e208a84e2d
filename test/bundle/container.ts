/** Entering an image as a container engine would: its root, the bundle mounted read-only, and a network with an origin. */
import type { ChildProcess } from 'node:child_process';
import { chownSync, copyFileSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { ORIGIN_ADDRESS, REPOSITORY, type World } from '../fakes/world.ts';
import type { Image } from './images.ts';

export const BUNDLE = join(REPOSITORY, 'dist/bundle');
export const BUNDLE_ARM64 = join(REPOSITORY, 'dist/bundle-arm64');
/** Somewhere that nothing else knows of. */
const PLACE = '/opt/some where/castellan';
export const CASTELLAN = `${PLACE}/bin/castellan`;
export const AGENT_UID = 20_101;

/** Where OpenShell's drivers put their supervisor. */
export const OPENSHELL_SANDBOX = '/opt/openshell/bin/openshell-sandbox';

export interface Container {
  /** castellan with these arguments, as the container's first process. */
  start(argv: readonly string[], more?: readonly string[]): ChildProcess;
  /** The same under the name of OpenShell's supervisor, from `volume` in its place, with the driver's variables. */
  startAlias(
    volume: string,
    argv: readonly string[],
    environment: Readonly<Record<string, string>>,
  ): ChildProcess;
  /** The container's root directory, from outside. */
  readonly root: string;
  /** Of the container's /run, from outside. */
  readonly run: string;
  readonly policy: string;
}

let count = 0;

export function makeContainer(world: World, image: Image): Container {
  const place = join(world.directory, `image-${++count}`);
  const [root, run] = [join(place, 'root'), join(place, 'run')];
  for (const directory of ['etc', 'opt', 'proc', 'dev', 'run', 'work'])
    mkdirSync(join(root, directory), { recursive: true });
  mkdirSync(run);
  chownSync(join(root, 'work'), AGENT_UID, AGENT_UID);
  image.make(root);
  for (const name of ['hosts', 'resolv.conf'])
    copyFileSync(join(world.directory, name), join(root, 'etc', name));
  writeFileSync(join(root, 'etc/policy.yaml'), policyFor(image));
  const enter = (argv: readonly string[]): ChildProcess =>
    world.spawn(
      [
        ...['bwrap', '--unshare-pid', '--as-pid-1', '--cap-add', 'ALL', '--clearenv'],
        ...['--bind', root, '/', '--proc', '/proc', '--dev', '/dev', '--bind', run, '/run'],
        ...argv,
      ],
      { stdio: ['ignore', 'pipe', 'pipe'] },
    );
  return {
    run,
    policy: '/etc/policy.yaml',
    root,
    start: (argv, more = []) =>
      enter(['--ro-bind', BUNDLE, PLACE, ...(image.enter ?? []), ...more, '--', CASTELLAN, ...argv]),
    startAlias: (volume, argv, environment) =>
      enter([
        ...['--ro-bind', volume, '/opt/openshell/bin', ...(image.enter ?? [])],
        ...Object.entries(environment).flatMap(([name, value]) => ['--setenv', name, value]),
        ...['--', OPENSHELL_SANDBOX, ...argv],
      ]),
  };
}

function policyFor({ client: [program] }: Image): string {
  return `version: 1
filesystem_policy: { include_workdir: true, read_only: [/bin, /usr, /lib, /lib64], read_write: [/work] }
process: { run_as_user: "${AGENT_UID}" }
network_policies:
  test:
    endpoints: [{ host: allowed.demo.test, ports: [8080], allowed_ips: [${ORIGIN_ADDRESS}/32] }]
    binaries: [{ path: ${program === '/bin/wget' ? '/bin/busybox' : program} }]
`;
}
