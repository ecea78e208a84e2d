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

export interface Container {
  /** castellan with these arguments, as the container's first process. */
  start(argv: readonly string[], more?: readonly string[]): ChildProcess;
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
  return {
    run,
    policy: '/etc/policy.yaml',
    start: (argv, more = []) =>
      world.spawn(
        [
          ...['bwrap', '--unshare-pid', '--as-pid-1', '--cap-add', 'ALL', '--clearenv'],
          ...['--bind', root, '/', '--proc', '/proc', '--dev', '/dev', '--bind', run, '/run'],
          ...['--ro-bind', BUNDLE, PLACE, ...(image.enter ?? []), ...more],
          ...['--', CASTELLAN, ...argv],
        ],
        { stdio: ['ignore', 'pipe', 'pipe'] },
      ),
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
