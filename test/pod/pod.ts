/** Pods as castellan renders them, run by podman in a network with a world behind it. Takes root. */
import { type ChildProcess, execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, expect } from 'vitest';
import { type Engine, startEngine } from '../bundle/engine.ts';
import { type AuditEvent, auditEvents, finish, isRoot, type Result } from '../e2e/sandbox.ts';
import { makePodNetwork, type PodNetwork } from '../fakes/pod-network.ts';
import { createWorld, type World } from '../fakes/world.ts';
import { AGENT_IMAGE, HOSTILE_VARIABLES, makeAgentRoot } from './agent-image.ts';
import { changesOf, forPodman, type RenderedPod, renderPod } from './manifest.ts';
import { type Contents, makeVolume } from './volumes.ts';

/** The only differences between what is rendered and what is played; README.md tells why. */
const CHANGES =
  /^\/spec\/(volumes\/\*\/(emptyDir|configMap|secret|persistentVolumeClaim|hostPath)|securityContext\/(fsGroup|fsGroupChangePolicy|supplementalGroups)|(initC|c)ontainers\/\*\/((startup|liveness|readiness)Probe|ports))/;

export interface PlayedPod extends AsyncDisposable {
  readonly rendered: RenderedPod;
  readonly network: PodNetwork;
  /** `podman kube play` itself; init containers have ended by then. */
  readonly start: Result;
  /** What a container printed and ended with. */
  ended(container: string): Promise<Result>;
  /** Makes the pod once more, with the volumes and in the network of the one that was; as after the loss of a node's sandbox. */
  again(): Promise<Result>;
  /** The output as it comes. */
  follow(container: string): ChildProcess;
  podman(...args: string[]): Promise<Result>;
  volume(name: string): string;
  readonly auditPath: string;
  events(): AuditEvent[];
}

export interface PlayOptions {
  /** Of castellan kubernetes render. */
  readonly options?: readonly string[];
  /** ConfigMaps and Secrets that the request names and does not bring. */
  readonly contents?: Contents;
  /** What is changed besides, to see what it is there for. */
  readonly change?: (pod: RenderedPod['pod']) => void;
}

export interface Pods {
  play(request: string, options?: PlayOptions): Promise<PlayedPod>;
  readonly world: World;
}

/** An engine and a world for the tests of a file, and the end of each test's pods. */
export function usePods(): () => Pods {
  let engine: Engine;
  let world: World;
  const played: PlayedPod[] = [];
  beforeAll(async () => {
    if (!isRoot) return;
    world = await createWorld();
    engine = startEngine({ overlays: true, enter: world.enter });
    importAgent(engine, world);
  });
  afterEach(async () => {
    for (const pod of played.splice(0)) await pod[Symbol.asyncDispose]();
  });
  afterAll(async () => {
    if (!isRoot) return;
    // Its mounts are the world's, and go with it.
    await world[Symbol.asyncDispose]();
    engine[Symbol.dispose]();
  });
  return () => ({
    world,
    async play(request, options) {
      const pod = await play(engine, world, request, options);
      played.push(pod);
      return pod;
    },
  });
}

function importAgent(engine: Engine, world: World): void {
  const root = join(engine.directory, 'agent');
  makeAgentRoot(root, join(world.directory, 'bundle.crt'));
  const archive = `${root}.tar`;
  execFileSync('tar', ['-C', root, '--owner=0', '--group=0', '-cf', archive, '.']);
  rmSync(root, { recursive: true });
  const changes = HOSTILE_VARIABLES.flatMap((variable) => ['--change', `ENV ${variable}`]);
  expect(engine.podman('import', ...changes, archive, AGENT_IMAGE)).toMatchObject({ code: 0 });
  rmSync(archive);
}

let count = 0;

async function play(
  engine: Engine,
  world: World,
  request: string,
  { options = [], contents: others = {}, change }: PlayOptions = {},
): Promise<PlayedPod> {
  const rendered = renderPod(request, options);
  const network = await makePodNetwork(world);
  await settle(network);
  const place = join(engine.directory, `pod-${++count}`);
  mkdirSync(place);
  const contents = { ...rendered.configMaps, ...others };
  const pod = forPodman(rendered, (volume) => makeVolume(place, volume, contents, rendered.pod.spec));
  for (const path of changesOf(rendered.pod, pod)) expect(path).toMatch(CHANGES);
  change?.(pod);
  const file = join(place, 'pod.json');
  // Every JSON is YAML.
  writeFileSync(file, JSON.stringify(pod));
  const podman = (...args: string[]): ChildProcess =>
    network.spawn(['podman', ...args], { stdio: ['ignore', 'pipe', 'pipe'], env: engine.environment });
  const name = pod.metadata?.name ?? '';
  const start = await finish(podman('kube', 'play', '--network', 'host', file));
  const remove = () => finish(podman('pod', 'rm', '--force', '--time', '0', name));
  const auditPath = join(place, 'castellan-log/run/audit.jsonl');
  return {
    rendered,
    network,
    start,
    async ended(container) {
      const { stdout, stderr } = await finish(podman('wait', `${name}-${container}`));
      const logs = await finish(podman('logs', `${name}-${container}`));
      if (!/^-?\d+\n$/.test(stdout)) throw new Error(`${container} was not waited for: ${stderr}`);
      return { ...logs, code: Number(stdout) };
    },
    async again() {
      await remove();
      return finish(podman('kube', 'play', '--network', 'host', file));
    },
    follow: (container) => podman('logs', '--follow', `${name}-${container}`),
    podman: (...args) => finish(podman(...args)),
    volume: (volume) => join(place, volume),
    auditPath,
    events: () => (existsSync(auditPath) ? auditEvents({ auditPath }) : []),
    async [Symbol.asyncDispose]() {
      await remove();
      await network[Symbol.asyncDispose]();
      rmSync(place, { recursive: true, force: true });
    },
  };
}

/** As container engines set them: everybody may ping and bind low ports. */
async function settle(network: PodNetwork): Promise<void> {
  const settings =
    'echo 0 2147483647 > /proc/sys/net/ipv4/ping_group_range; echo 0 > /proc/sys/net/ipv4/ip_unprivileged_port_start';
  await finish(network.spawn(['sh', '-ec', settings], { stdio: ['ignore', 'pipe', 'pipe'] }));
}
