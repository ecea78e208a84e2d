/**
 * The variables that castellan itself looks at. Container engines add an image's variables to those of a pod, so that one which is
 * left out is the image's to set: each is set in every container that starts castellan.
 */
import type { V1EnvVar } from '@kubernetes/client-node';
import { PLACES } from './layout.ts';
import { sandboxIds } from './security.ts';
import type { SupervisorOptions } from './supervisor.ts';

/** Nothing comes of them where they are empty. */
const CLEARED: readonly string[] = [
  'CASTELLAN_MAIN_PROCESS_SPEC',
  'OPENSHELL_MAIN_PROCESS_SPEC',
  'NOTIFY_SOCKET',
  'WATCHDOG_USEC',
  'LISTEN_FDS',
];

const NUMBERS: readonly string[] = [
  'SANDBOX_UID',
  'SANDBOX_GID',
  'OPENSHELL_SANDBOX_UID',
  'OPENSHELL_SANDBOX_GID',
  'OCI_IMAGE_USER',
  'OPENSHELL_OCI_IMAGE_USER',
];

/**
 * Without numbers (`platform`) those of the sandbox stay out: castellan takes its own, and refuses an image's that differ.
 */
export function castellanEnvironment(options: SupervisorOptions): V1EnvVar[] {
  const ids = sandboxIds(options);
  const variables: Record<string, string> = {
    ...(ids !== undefined && {
      SANDBOX_UID: String(ids.uid),
      SANDBOX_GID: String(ids.gid),
      OPENSHELL_SANDBOX_UID: String(ids.uid),
      OPENSHELL_SANDBOX_GID: String(ids.gid),
      OCI_IMAGE_USER: '',
      OPENSHELL_OCI_IMAGE_USER: '',
    }),
    XDG_RUNTIME_DIR: PLACES.run,
    XDG_STATE_HOME: PLACES.run,
    ...Object.fromEntries(CLEARED.map((name) => [name, ''])),
  };
  return Object.entries(variables).map(([name, value]) => ({ name, value }));
}

/** The names of those variables, with or without the sandbox's numbers. */
export function castellanVariables(withNumbers: boolean): string[] {
  return [...(withNumbers ? NUMBERS : []), 'XDG_RUNTIME_DIR', 'XDG_STATE_HOME', ...CLEARED];
}

/** Whether a variable is one of those, whatever the options. */
export function isCastellanVariable(name: string): boolean {
  return (
    /^(CASTELLAN|OPENSHELL)(_|$)/.test(name) ||
    [
      'SANDBOX_UID',
      'SANDBOX_GID',
      'OCI_IMAGE_USER',
      'XDG_RUNTIME_DIR',
      'XDG_STATE_HOME',
      ...CLEARED,
    ].includes(name)
  );
}

/** What init.c takes away before Node starts: a command can have these by value only, not by name. */
export function isStripped(name: string): boolean {
  return /^(NODE_|LD_|MALLOC_|UV_|OPENSSL_|CARES_)|^(GCONV_PATH|GLIBC_TUNABLES|SSLKEYLOGFILE|HOSTALIASES|LOCALDOMAIN|RES_OPTIONS)$/.test(
    name,
  );
}

/** A text that Kubernetes gives on as it stands: `$(NAME)` would be replaced, and `$$` halved. */
export function literal(text: string): string {
  return /\$[$(]/.test(text) ? text.replaceAll('$', '$$$$') : text;
}
