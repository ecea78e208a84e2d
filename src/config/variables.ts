/**
 * Every variable that castellan looks at, in one table: nothing else of the source names one that it reads, and a name of castellan's own
 * that is not in here is refused. What decides how tightly a sandbox is held is not among them: an image can bake variables, and neither a
 * command line nor a file of root's.
 */
import { CastellanError } from '../errors.ts';
import { nearest } from '../lib/nearest.ts';
import { OPENSHELL_VARIABLES } from './openshell/variables.ts';

export type Environment = Readonly<Record<string, string | undefined>>;

export interface Variable {
  readonly name: string;
  /** Other names of the same; where several are set they have to agree. */
  readonly spellings?: readonly string[];
  /** Verbs of castellan, or modes of openshell-sandbox. */
  readonly accepted: readonly string[];
  readonly setBy: string;
  readonly decides: string;
  /** Its value is never printed. */
  readonly isSecret?: true;
  /** Not taken from an environment where it would change how tightly the sandbox is held. */
  readonly isSwitch?: true;
}

const RUN = ['run', 'validate'] as const;
const EVERY = ['every verb'] as const;
const NOWHERE = [] as const;

export const OWN_VARIABLES = [
  {
    name: 'CASTELLAN_INIT',
    accepted: EVERY,
    setBy: 'castellan’s init',
    decides: 'whether orphans of the sandbox come to castellan (counts only when it is the parent’s pid)',
  },
  {
    name: 'CASTELLAN_MAIN_PROCESS_SPEC',
    spellings: ['OPENSHELL_MAIN_PROCESS_SPEC'],
    accepted: RUN,
    setBy: 'an image or a platform',
    decides: 'the command, where the command line has none',
    isSecret: true,
  },
  {
    name: 'SANDBOX_UID',
    spellings: ['OPENSHELL_SANDBOX_UID'],
    accepted: RUN,
    setBy: 'a platform',
    decides: 'the uid of the sandbox, where the policy names none; never root',
  },
  {
    name: 'SANDBOX_GID',
    spellings: ['OPENSHELL_SANDBOX_GID'],
    accepted: RUN,
    setBy: 'a platform',
    decides: 'the gid of the sandbox, together with SANDBOX_UID; never root’s',
  },
  {
    name: 'OCI_IMAGE_USER',
    spellings: ['OPENSHELL_OCI_IMAGE_USER'],
    accepted: RUN,
    setBy: 'a platform',
    decides: 'whom the sandbox runs as, by the image’s USER, where the policy does not say; never root',
  },
  {
    name: 'XDG_RUNTIME_DIR',
    accepted: EVERY,
    setBy: 'a login session',
    decides: 'without root: where running sandboxes have their sockets',
  },
  {
    name: 'XDG_STATE_HOME',
    accepted: RUN,
    setBy: 'a person',
    decides: 'without root: where audit logs go',
  },
  {
    name: 'HOME',
    accepted: RUN,
    setBy: 'a login session',
    decides: 'without root: where audit logs go when XDG_STATE_HOME is not set',
  },
  {
    name: 'NOTIFY_SOCKET',
    accepted: ['run'],
    setBy: 'a service manager',
    decides: 'who is told READY, STOPPING and WATCHDOG (sd_notify(3))',
  },
  {
    name: 'WATCHDOG_USEC',
    accepted: ['run'],
    setBy: 'a service manager',
    decides: 'how often the manager is told that castellan lives',
  },
  {
    name: 'WATCHDOG_PID',
    accepted: ['run'],
    setBy: 'a service manager',
    decides: 'whether WATCHDOG_USEC is meant for castellan',
  },
  {
    name: 'KUBERNETES_SERVICE_HOST',
    accepted: ['kubernetes webhook'],
    setBy: 'a kubelet',
    decides: 'which API server is asked about namespaces',
  },
  {
    name: 'KUBERNETES_SERVICE_PORT',
    accepted: ['kubernetes webhook'],
    setBy: 'a kubelet',
    decides: 'its port (443 where it is not set)',
  },
  { name: 'NO_COLOR', accepted: ['run'], setBy: 'a person', decides: 'no colour on standard error' },
  {
    name: 'TERM',
    accepted: ['run'],
    setBy: 'a terminal',
    decides: 'TERM of the command, where it has a terminal',
  },
  {
    name: 'HTTP_PROXY',
    spellings: ['HTTPS_PROXY', 'ALL_PROXY', 'http_proxy', 'https_proxy', 'all_proxy', 'NO_PROXY', 'no_proxy'],
    accepted: NOWHERE,
    setBy: 'a person or an image',
    decides: 'nothing: which proxy is on the way out is told by --upstream-proxy alone',
    isSecret: true,
    isSwitch: true,
  },
  {
    name: 'LISTEN_FDS',
    accepted: ['run'],
    setBy: 'a service manager',
    decides: 'how many sockets it has opened for castellan (sd_listen_fds(3))',
  },
  {
    name: 'LISTEN_PID',
    accepted: ['run'],
    setBy: 'a service manager',
    decides: 'whether those sockets are meant for castellan',
  },
  {
    name: 'LISTEN_FDNAMES',
    accepted: ['run'],
    setBy: 'a service manager',
    decides: 'what each of those sockets is for: ssh, health or metrics',
  },
] as const satisfies readonly Variable[];

type OwnVariable = (typeof OWN_VARIABLES)[number];
export type VariableName = OwnVariable['name'];

export const VARIABLES: readonly Variable[] = [...OWN_VARIABLES, ...OPENSHELL_VARIABLES];

/** The value; undefined where it is not set. */
export function readVariable(environment: Environment, name: VariableName): string | undefined {
  return environment[name];
}

export interface SetVariable {
  readonly name: string;
  readonly value: string;
}

/** All spellings that are set, in the order of the table. */
export function setSpellings(environment: Environment, { name, spellings = [] }: Variable): SetVariable[] {
  return [name, ...spellings].flatMap((each) => {
    const value = environment[each];
    return value === undefined ? [] : [{ name: each, value }];
  });
}

/** The same for one of castellan's own. */
export function readSpellings(environment: Environment, name: VariableName): SetVariable[] {
  const row = OWN_VARIABLES.find((each) => each.name === name);
  return row === undefined ? [] : setSpellings(environment, row);
}

/**
 * Refuses names with a prefix that is ours to give, and that no row knows: a misspelt variable would be a wish that nobody hears.
 * @throws CastellanError `usage`, with the nearest name
 */
export function refuseUnknownVariables(environment: Environment, prefix: 'CASTELLAN_' | 'OPENSHELL_'): void {
  const known = VARIABLES.flatMap(({ name, spellings = [] }) => [name, ...spellings]).filter((name) =>
    name.startsWith(prefix),
  );
  const unknown = Object.keys(environment).find(
    (name) => name.startsWith(prefix) && environment[name] !== undefined && !known.includes(name),
  );
  if (unknown === undefined) return;
  const near = nearest(unknown, known);
  throw new CastellanError(
    'usage',
    `unknown variable ${unknown}${near === undefined ? '' : `; did you mean ${near}?`}`,
    {
      step: 'environment',
      object: unknown,
      remedy: 'take it out of the environment; castellan doctor --env tells all that there are',
    },
  );
}
