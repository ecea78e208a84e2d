/** Whether a pod is one that castellan has been put into before: by taking castellan out, and putting it in again. */
import type { V1Container, V1EnvVar, V1PodSpec, V1PodTemplateSpec } from '@kubernetes/client-node';
import { at } from '../lib/json.ts';
import { joinPath } from './field-path.ts';
import { CASTELLAN, isReservedName, METADATA_PREFIX, SERVED_PORTS } from './layout.ts';

/** Whether any part of a pod, of whatever shape, has a name of castellan's or runs it. */
export function hasCastellan(spec: unknown): boolean {
  const items = (key: string): readonly unknown[] => {
    const list = at(spec, key);
    return Array.isArray(list) ? list : [];
  };
  const isNamed = (item: unknown) => {
    const name = at(item, 'name');
    return typeof name === 'string' && isReservedName(name);
  };
  return (
    ['initContainers', 'containers', 'ephemeralContainers'].some((key) =>
      items(key).some((item) => isNamed(item) || at(item, 'command', '0') === CASTELLAN),
    ) || items('volumes').some(isNamed)
  );
}

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
  // False is a word of the pod's author, and castellan never says it.
  const { shareProcessNamespace, ...rest } = spec;
  const kept = shareProcessNamespace === true ? rest : spec;
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
  const volumeMounts = container.volumeMounts?.filter(({ name }) => !isReservedName(name));
  if (container.command?.[0] !== CASTELLAN)
    return { ...container, ...(volumeMounts !== undefined && { volumeMounts }) };
  const {
    args = [],
    env = [],
    volumeMounts: __,
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
    ...(volumeMounts !== undefined && { volumeMounts }),
    ...(ports !== undefined && { ports: ports.filter(({ name }) => !ownPorts.includes(name)) }),
    ...(livenessProbe !== undefined && !isOurs && { livenessProbe }),
  };
}

function variablesOf(args: readonly string[], env: readonly V1EnvVar[]): V1EnvVar[] {
  const given = args.filter((_, index) => args[index - 1] === '--env');
  const byValue = given.filter((text) => text.includes('='));
  return [
    ...byValue.map((text) => {
      const equals = text.indexOf('=');
      return { name: text.slice(0, equals), value: text.slice(equals + 1) };
    }),
    // Those that are looked up come last, in the order in which they are named.
    ...env.slice(Math.max(env.length - (given.length - byValue.length), 0)),
  ];
}

/** What the API server fills in where a pod says nothing: with these values, for each can be the way around castellan with another. */
const DEFAULTS: ReadonlyMap<string, readonly unknown[]> = new Map<string, readonly unknown[]>([
  ['imagePullPolicy', ['Always', 'IfNotPresent']],
  ['pullPolicy', ['Always', 'IfNotPresent']],
  ['terminationMessagePath', ['/dev/termination-log']],
  ['terminationMessagePolicy', ['File']],
  ['procMount', ['Default']],
  ['successThreshold', [1]],
  ['failureThreshold', [3]],
  ['scheme', ['HTTP']],
  ['defaultMode', [0o644]],
  ['protocol', ['TCP']],
]);

/**
 * What of `resources` says what a container is, and not how much it may use, which a LimitRange fills in: devices. What a driver has for
 * one of them can be a mount, or a variable.
 */
function devicesOf(resources: unknown): unknown {
  const named = (key: string) =>
    Object.fromEntries(Object.entries(at(resources, key) ?? {}).filter(([name]) => name.includes('/')));
  return { claims: at(resources, 'claims'), requests: named('requests'), limits: named('limits') };
}

/**
 * Where something first differs from what is expected: what is expected has to be there, and nothing beside it but what the API server
 * adds. An empty list or text counts as none: the API server writes neither. Undefined where nothing differs.
 */
export function differenceFrom(expected: unknown, given: unknown, path = ''): string | undefined {
  if (Array.isArray(expected)) {
    if (!Array.isArray(given)) return path;
    const longer = expected.length > given.length ? expected : given;
    return firstOf(longer.keys(), (index) => {
      const place = `${path}[${index}]`;
      const isThere = index < expected.length && index < given.length;
      return isThere ? differenceFrom(expected[index], given[index], place) : place;
    });
  }
  if (typeof expected !== 'object' || expected === null) return Object.is(given, expected) ? undefined : path;
  if (typeof given !== 'object' || given === null || Array.isArray(given)) return path;
  const before = new Map(Object.entries(given).filter(isSaid));
  const after = new Map(Object.entries(expected).filter(isSaid));
  return firstOf(new Set([...after.keys(), ...before.keys()]), (key) => {
    const [wanted, found] = [after.get(key), before.get(key)];
    const place = joinPath(path, key);
    if (key === 'resources') return differenceFrom(devicesOf(wanted), devicesOf(found), place);
    if (key === 'resizePolicy' || isFilledIn(key, wanted, found)) return undefined;
    return differenceFrom(wanted, found, place);
  });
}

function isFilledIn(key: string, wanted: unknown, found: unknown): boolean {
  // The plugin AlwaysPullImages overrules every pod.
  if (found === 'Always' && (key === 'imagePullPolicy' || key === 'pullPolicy')) return true;
  return wanted === undefined && DEFAULTS.get(key)?.includes(found) === true;
}

function firstOf<Item, Found>(
  items: Iterable<Item>,
  look: (item: Item) => Found | undefined,
): Found | undefined {
  for (const item of items) {
    const found = look(item);
    if (found !== undefined) return found;
  }
  return undefined;
}

function isSaid([, value]: readonly [string, unknown]): boolean {
  return value !== undefined && value !== '' && !(Array.isArray(value) && value.length === 0);
}
