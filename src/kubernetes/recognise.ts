/** Whether a pod is one that castellan has been put into before: by taking castellan out, and putting it in again. */
import type { V1Container, V1EnvVar, V1PodSpec, V1PodTemplateSpec } from '@kubernetes/client-node';
import { CASTELLAN, isReservedName, METADATA_PREFIX, SERVED_PORTS } from './layout.ts';

/**
 * The pod as it could have been before. Nothing of this is trusted: it only has to give the same pod again.
 */
export function withoutCastellan(
  pod: V1PodTemplateSpec,
  spec: V1PodSpec,
): V1PodTemplateSpec & { spec: V1PodSpec } {
  const others = (containers: readonly V1Container[] = []) =>
    containers.filter(({ name }) => !isReservedName(name)).map(unsupervised);
  const annotations = Object.entries(pod.metadata?.annotations ?? {}).filter(
    ([name]) => !name.startsWith(METADATA_PREFIX),
  );
  const { shareProcessNamespace: _, ...kept } = spec;
  return {
    metadata: { ...pod.metadata, annotations: Object.fromEntries(annotations) },
    spec: {
      ...kept,
      initContainers: others(spec.initContainers),
      containers: others(spec.containers),
      volumes: (spec.volumes ?? []).filter(({ name }) => !isReservedName(name)),
    },
  };
}

const ownPorts: readonly (string | undefined)[] = Object.values(SERVED_PORTS);

function unsupervised(container: V1Container): V1Container {
  if (container.command?.[0] !== CASTELLAN) return container;
  const {
    args = [],
    env = [],
    volumeMounts = [],
    ports,
    readinessProbe: _,
    livenessProbe,
    ...others
  } = container;
  const end = args.indexOf('--');
  const isOurs = livenessProbe?.httpGet?.path === '/live';
  return {
    ...others,
    command: args.slice(end + 1),
    env: variablesOf(args.slice(0, Math.max(end, 0)), env),
    volumeMounts: volumeMounts.filter(({ name }) => !isReservedName(name)),
    ...(ports !== undefined && { ports: ports.filter(({ name }) => !ownPorts.includes(name)) }),
    ...(livenessProbe !== undefined && !isOurs && { livenessProbe }),
  };
}

function variablesOf(args: readonly string[], env: readonly V1EnvVar[]): V1EnvVar[] {
  return args.flatMap((arg, index): V1EnvVar[] => {
    if (args[index - 1] !== '--env') return [];
    const equals = arg.indexOf('=');
    if (equals >= 0) return [{ name: arg.slice(0, equals), value: arg.slice(equals + 1) }];
    return env.filter(({ name }) => name === arg);
  });
}

/** What the API server fills in where a pod says nothing. */
const DEFAULTED: ReadonlySet<string> = new Set([
  'imagePullPolicy',
  'terminationMessagePath',
  'terminationMessagePolicy',
  'successThreshold',
  'failureThreshold',
  'scheme',
  'defaultMode',
  'protocol',
]);

/** How much a container may use, not what it is: a LimitRange fills it in. */
const QUANTITIES = 'resources';

/** Whether everything that is expected is given, and nothing beside it but what the API server adds. An empty list counts as none. */
export function sameButDefaults(given: unknown, expected: unknown): boolean {
  if (Array.isArray(expected))
    return (
      Array.isArray(given) &&
      given.length === expected.length &&
      expected.every((item, index) => sameButDefaults(given[index], item))
    );
  if (typeof expected !== 'object' || expected === null) return Object.is(given, expected);
  if (typeof given !== 'object' || given === null || Array.isArray(given)) return false;
  const before = new Map(Object.entries(given).filter(isSaid));
  const after = new Map(Object.entries(expected).filter(isSaid));
  return (
    [...after].every(([key, value]) => key === QUANTITIES || sameButDefaults(before.get(key), value)) &&
    [...before.keys()].every((key) => after.has(key) || key === QUANTITIES || DEFAULTED.has(key))
  );
}

function isSaid([, value]: readonly [string, unknown]): boolean {
  return value !== undefined && !(Array.isArray(value) && value.length === 0);
}
