/** The network namespace of a pod in a test world: a wire to the world, whose origin is behind it. Takes root. */
import type { ChildProcess, SpawnOptions } from 'node:child_process';
import { once } from 'node:events';
import type { World } from './world.ts';

export interface PodNetwork extends AsyncDisposable {
  /** Of the pod, at its end of the wire. */
  readonly address: string;
  readonly address6: string;
  /** Starts a program in the pod's network, as root. */
  spawn(argv: readonly string[], options?: SpawnOptions): ChildProcess;
}

let count = 0;

export async function makePodNetwork(world: World): Promise<PodNetwork> {
  const number = ++count;
  const stdio: SpawnOptions = { stdio: ['pipe', 'pipe', 'inherit'] };
  const host = world.spawn(
    ['unshare', '--net', '--', 'sh', '-c', 'ip link set lo up && echo up && cat'],
    stdio,
  );
  await once(host.stdout as NodeJS.ReadableStream, 'data');
  const enter = ['nsenter', `--target=${host.pid}`, '--net', '--'];
  const [address, address6] = [`10.78.${number}.2`, `fd78:${number}::2`];
  await succeed(
    world.spawn(
      script(`ip link add pod${number} type veth peer name pod netns ${host.pid}
ip addr add 10.78.${number}.1/24 dev pod${number}
ip -6 addr add fd78:${number}::1/64 dev pod${number} nodad
ip link set pod${number} up`),
      stdio,
    ),
  );
  await succeed(
    world.spawn(
      [
        ...enter,
        ...script(`ip addr add ${address}/24 dev pod; ip -6 addr add ${address6}/64 dev pod nodad; ip link set pod up
ip route add default via 10.78.${number}.1; ip -6 route add default via fd78:${number}::1`),
      ],
      stdio,
    ),
  );
  return {
    address,
    address6,
    spawn: (argv, options) => world.spawn([...enter, ...argv], options),
    async [Symbol.asyncDispose]() {
      host.stdin?.end();
      if (host.exitCode === null && host.signalCode === null) await once(host, 'exit');
    },
  };
}

function script(text: string): string[] {
  return ['sh', '-ec', text];
}

async function succeed(child: ChildProcess): Promise<void> {
  const [code] = await once(child, 'close');
  if (code !== 0) throw new Error(`${child.spawnargs.join(' ')} ended with ${code}`);
}
