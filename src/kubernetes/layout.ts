/** What castellan calls its own parts of a pod, and where they are mounted. Everything of that kind is refused to others. */
import { CastellanError } from '../errors.ts';

/** Of containers and volumes alike. */
export const RESERVED_PREFIX = 'castellan-';
/** Of labels and annotations. */
export const METADATA_PREFIX = 'castellan/';

export const CONTAINERS = {
  install: 'castellan-install',
  fence: 'castellan-fence',
  network: 'castellan-network',
  seed: 'castellan-seed',
} as const;

export const VOLUMES = {
  program: 'castellan-bin',
  /** Where the two roles meet. */
  control: 'castellan-pod',
  policy: 'castellan-policy',
  run: 'castellan-run',
  networkRun: 'castellan-network-run',
  log: 'castellan-log',
  temporary: 'castellan-tmp',
} as const;

/** Names of ports, of 15 letters at most. */
export const SERVED_PORTS = { health: 'castellan', metrics: 'castellan-stats' } as const;

export const PLACES = {
  program: '/opt/castellan',
  /** The program's volume where it is being filled. */
  copy: '/castellan',
  control: '/run/castellan-pod',
  policy: '/etc/castellan',
  secrets: '/etc/castellan-secrets',
  /** XDG_RUNTIME_DIR of whoever runs without root, in a container of its own. */
  run: '/run/castellan-user',
  /** The run base of root, in a container of its own: all above it is the image's, which nobody there can write. */
  rootRun: '/run/castellan',
  log: '/var/log/castellan',
  /** The workspace where it is being seeded. */
  seed: '/castellan-seed',
} as const;

export const CASTELLAN = `${PLACES.program}/bin/castellan`;
export const CONTROL_SOCKET = `${PLACES.control}/control.sock`;
export const POLICY_KEY = 'policy.yaml';
export const POLICY_FILE = `${PLACES.policy}/${POLICY_KEY}`;
/** Volumes may be written by everybody, which castellan's log may not: it makes a directory of its own below. */
export const AUDIT_FILE = `${PLACES.log}/run/audit.jsonl`;

/** The kernel's and the engine's, beside castellan's own. */
const RESERVED_PLACES: readonly string[] = [...Object.values(PLACES), '/proc', '/sys', '/dev'];

export function isReservedName(name: string): boolean {
  return name.startsWith(RESERVED_PREFIX);
}

/** Whether a path is absolute and says nothing in two ways: no empty, `.` or `..` part, no trailing slash, nothing Kubernetes refuses. */
export function isNormalPath(path: string): boolean {
  if (path === '/') return true;
  const [first, ...parts] = path.split('/');
  return (
    first === '' &&
    parts.length > 0 &&
    parts.every((part) => part !== '' && part !== '.' && part !== '..') &&
    !/[:\p{Cc}\s]/u.test(path)
  );
}

/** The reserved place that a mount would hide, or lie in; undefined where there is none. */
export function reservedPlaceAt(path: string): string | undefined {
  return RESERVED_PLACES.find((place) => overlap(realPlace(path), place));
}

/** Whether one of two normal paths is the other, or lies below it. */
export function overlap(a: string, b: string): boolean {
  return isWithin(a, b) || isWithin(b, a);
}

function isWithin(path: string, directory: string): boolean {
  return directory === '/' || path === directory || path.startsWith(`${directory}/`);
}

/** Where common images have a link instead. */
function realPlace(path: string): string {
  return path.replace(/^\/var\/run(?=\/|$)/, '/run');
}

/** @throws CastellanError `manifest_invalid` always: for what cannot be made safe as it is */
export function refusePod(object: string, message: string, remedy?: string): never {
  throw new CastellanError('manifest_invalid', message, {
    step: 'kubernetes',
    object,
    ...(remedy !== undefined && { remedy }),
  });
}
