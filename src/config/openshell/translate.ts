/**
 * What OpenShell's drivers say to their supervisor, in castellan's own words: pure, from words and variables to words. Whatever has no
 * counterpart is refused, or told where nothing depends on it.
 */
import { type Environment, readSpellings, refuseUnknownVariables, setSpellings } from '../variables.ts';
import {
  PEER_OPTIONS,
  type PeerOption,
  type PeerOptionName,
  type PeerWords,
  parsePeerWords,
  usage,
} from './arguments.ts';
import { sandboxNameFor } from './sandbox-name.ts';
import { readUserEnvironment } from './user-environment.ts';
import {
  gatewayProblem,
  OPENSHELL_VARIABLES,
  type OpenshellVariable,
  openshellVariable,
  TOPOLOGIES,
  type Topology,
} from './variables.ts';

/** What has to be looked up. */
export interface PeerSurroundings {
  readonly environment: Environment;
  /** Whether POLICY_PLACE is there. */
  readonly hasPolicy: boolean;
  /** SHA-256 of a file in hexadecimal; undefined where it cannot be read. */
  readonly digestOf: (path: string) => string | undefined;
}

export interface Translation {
  /** For castellan's own parser: a verb, options, and perhaps `--` and a command. */
  readonly words: readonly string[];
  /** What of it nothing depends on, for whoever reads standard error. */
  readonly notes: readonly string[];
}

/** Where OpenShell's images have their policy. */
export const POLICY_PLACE = '/etc/openshell/policy.yaml';
const CONTROL_SOCKET = '/run/openshell-sidecar/control.sock';
const DEFAULT_PROXY_UID = '1337';
const DEFAULT_HEALTH_PORT = '8080';
/** What OpenShell runs where nobody names a command, on a terminal. */
const DEFAULT_COMMAND = ['/bin/bash', '-l'] as const;
const QUIET_LEVELS = ['off', 'error', 'warn'];
const TALKING_LEVELS = ['info', 'debug', 'trace'];

/**
 * The rules that OpenShell brings itself, as of the revision whose language castellan speaks: what they decide, castellan decides by the same
 * data. Other rules would be controls that nobody applies.
 */
const STOCK_RULES: readonly string[] = ['dc68daf035e520ef21fc8dcbe3ef3fb18273eec02c136b989264524b75cd3e95'];

/** @throws CastellanError `usage` for whatever cannot be had */
export function translatePeer(argv: readonly string[], around: PeerSurroundings): Translation {
  const [first = '', ...rest] = argv;
  if (first === 'copy-self') return copySelf(rest);
  if (first === 'debug-rpc') throw usage(`debug-rpc asks a gateway: ${gatewayProblem('debug-rpc')}`, first);
  if (first === 'validate-workspace')
    throw usage('validate-workspace is a step of OpenShell’s own start', first, 'use castellan validate');
  const peer = parsePeerWords(argv);
  const topology = readMode(peer.options.get('mode'));
  refuseMisplaced(peer, topology);
  const notes = judgeVariables(around.environment, topology, peer);
  if (peer.options.has('sandbox-id')) notes.push('--sandbox-id (for a gateway)');
  const context: Context = { ...around, ...peer, topology, notes };
  return { words: topology === 'network-init' ? networkInit(context) : run(context), notes };
}

interface Context extends PeerSurroundings, PeerWords {
  readonly topology: Topology;
  readonly notes: string[];
}

function copySelf(words: readonly string[]): Translation {
  const [destination, ...more] = words;
  if (destination === undefined || destination.startsWith('-') || more.length > 0)
    throw usage('copy-self takes one path', destination);
  return { words: ['copy-self', '--openshell', destination], notes: [] };
}

function readMode(text = 'network,process'): Topology {
  const parts = text
    .split(',')
    .map((part) => part.trim())
    .filter((part) => part !== '');
  // As its program reads it: in any order.
  const mode = [...new Set(parts)].sort().join(',');
  const topology = TOPOLOGIES.find((known) => known === mode);
  if (topology === undefined) throw usage(`--mode ${text}: one of ${TOPOLOGIES.join(' | ')}`, text);
  return topology;
}

function refuseMisplaced({ options, command }: PeerWords, topology: Topology): void {
  for (const name of options.keys()) {
    const option: PeerOption | undefined = PEER_OPTIONS.find((each) => each.name === name);
    if (option?.accepted.includes(topology) === false)
      throw usage(`--${name} means nothing in --mode=${topology}`, name);
  }
  if (command.length > 0 && (topology === 'network' || topology === 'network-init'))
    throw usage(`--mode=${topology} runs no command`, command[0]);
}

/** Gives what is set and not used. @throws CastellanError `usage` */
function judgeVariables(environment: Environment, topology: Topology, { options }: PeerWords): string[] {
  refuseUnknownVariables(environment, 'OPENSHELL_');
  const notes: string[] = [];
  for (const row of OPENSHELL_VARIABLES)
    for (const { name, value } of setSpellings(environment, row)) {
      const problem = repeats(row, value, options) ? undefined : row.problem?.(value, topology);
      if (problem !== undefined) throw usage(`${name}: ${problem}`, name);
      if (value === '') continue;
      if (row.fate === 'gateway' || row.fate === 'unused') notes.push(`${name} (${row.decides})`);
      else if (row.fate === 'read' && !row.accepted.includes(topology))
        notes.push(`${name} (not in --mode=${topology})`);
    }
  return notes;
}

/** Whether a variable only says what the command line says. */
function repeats({ name }: OpenshellVariable, value: string, options: PeerWords['options']): boolean {
  const option = PEER_OPTIONS.find(
    (each) => name === `OPENSHELL_${each.name.replaceAll('-', '_').toUpperCase()}`,
  );
  return option !== undefined && options.get(option.name) === value;
}

/** The option, else the variable that says the same; an empty one says nothing. */
function said({ options, environment }: Context, name: PeerOptionName): string | undefined {
  const option: PeerOption | undefined = PEER_OPTIONS.find((each) => each.name === name);
  const value = options.get(name) ?? (option?.variable && openshellVariable(environment, option.variable));
  return value === '' ? undefined : value;
}

function networkInit(context: Context): string[] {
  const { options, notes } = context;
  refuseGateway(context);
  refuseRootOutside(options.get('proxy-uid'));
  if (options.has('sidecar-tls-dir')) notes.push('--sidecar-tls-dir (its certificates are for a gateway)');
  return [
    'network-init',
    ...['--proxy-uid', options.get('proxy-uid') ?? DEFAULT_PROXY_UID],
    ...same(options, 'proxy-gid'),
    ...renamed(options.get('sidecar-state-dir'), '--state-directory'),
    ...renamed(healthPort(options), '--allow-inbound'),
  ];
}

/** What OpenShell's Kubernetes driver says by default: its sidecar stays root, to see which program asks. ARCHITECTURE.md says why it is refused. */
function refuseRootOutside(uid: string | undefined): void {
  if (Number(uid) !== 0) return;
  throw usage(
    '--proxy-uid 0 would let every root of the pod out, and have the network role parse hostile bytes as root',
    uid,
    'set process_binary_aware_network_policy to false for the driver’s sidecar (in its chart supervisor.sidecar.processBinaryAwareNetworkPolicy), or let castellan kubernetes render the pod',
  );
}

function run(context: Context): string[] {
  const { environment, topology } = context;
  refuseGateway(context);
  const name = said(context, 'sandbox');
  const control = openshellVariable(environment, 'OPENSHELL_SIDECAR_CONTROL_SOCKET') ?? CONTROL_SOCKET;
  return [
    'run',
    ...(topology === 'network,process' ? [] : ['--roles', topology, '--control-socket', control]),
    ...renamed(name && sandboxNameFor(name), '--name'),
    ...renamed(policyOf(context), '--policy'),
    ...(isQuiet(context) ? ['--quiet'] : []),
    ...(topology === 'process' ? [] : network(context)),
    ...(topology === 'network' ? [] : command(context)),
  ];
}

function refuseGateway(context: Context): void {
  const problem = gatewayProblem(said(context, 'openshell-endpoint') ?? '');
  if (problem !== undefined) throw usage(`--openshell-endpoint: ${problem}`, 'openshell-endpoint');
}

/** @throws CastellanError `usage` for rules that castellan would not apply */
function policyOf({ options, topology, hasPolicy, digestOf, notes }: Context): string | undefined {
  const rules = options.get('policy-rules');
  const data = options.get('policy-data');
  if (rules !== undefined) {
    if (data === undefined) throw usage('--policy-rules takes --policy-data', rules);
    if (!STOCK_RULES.includes(digestOf(rules) ?? ''))
      throw usage(
        `--policy-rules ${rules}: castellan runs no Rego, and these are not the rules that its own decisions are those of`,
        rules,
        'leave --policy-rules out where they are OpenShell’s own; write your own as rules of --policy-data',
      );
    notes.push('--policy-rules (castellan decides as they do, by --policy-data)');
  }
  // The process role of a pod is told its policy by the other.
  return data ?? (hasPolicy && topology !== 'process' ? POLICY_PLACE : undefined);
}

function isQuiet(context: Context): boolean {
  const level = (said(context, 'log-level') ?? 'warn').toLowerCase();
  if (QUIET_LEVELS.includes(level)) return true;
  if (TALKING_LEVELS.includes(level)) return false;
  throw usage(`--log-level ${level}: one of ${[...QUIET_LEVELS, ...TALKING_LEVELS].join(', ')}`, level);
}

/** What concerns the way out. */
function network(context: Context): string[] {
  const { options, environment, topology } = context;
  const port = healthPort(options);
  const identity = openshellVariable(environment, 'OPENSHELL_NETWORK_BINARY_IDENTITY');
  return [
    ...same(options, 'proxy-uid'),
    ...(topology === 'network'
      ? renamed(openshellVariable(environment, 'OPENSHELL_SANDBOX_UID'), '--sandbox-uid')
      : []),
    ...(identity === 'relaxed' ? ['--binary-identity', 'none'] : []),
    ...same(options, 'inference-routes'),
    ...(port === undefined ? [] : ['--health-listen', `0.0.0.0:${port}`]),
    ...same(options, 'upstream-proxy'),
    ...same(options, 'upstream-no-proxy'),
    ...same(options, 'upstream-proxy-auth-file'),
    ...(options.has('upstream-proxy-auth-allow-insecure') ? ['--upstream-proxy-auth-allow-insecure'] : []),
    ...(options.has('upstream-proxy-connect-by-hostname') ? ['--upstream-proxy-connect-by-hostname'] : []),
  ];
}

/** Where probes are answered; undefined without `--health-check`. @throws CastellanError `usage` */
function healthPort(options: PeerWords['options']): string | undefined {
  if (options.has('health-check')) return options.get('health-port') ?? DEFAULT_HEALTH_PORT;
  if (options.has('health-port')) throw usage('--health-port takes --health-check', 'health-port');
  return undefined;
}

/** What concerns the command, which comes last. */
function command(context: Context): string[] {
  const { options, environment, command: given } = context;
  const isNamed = given.length > 0 || readSpellings(environment, 'CASTELLAN_MAIN_PROCESS_SPEC').length > 0;
  const isInteractive = options.has('interactive');
  const text = openshellVariable(environment, 'OPENSHELL_USER_ENVIRONMENT');
  const variables = text === undefined ? [] : readUserEnvironment(text);
  return [
    ...same(options, 'workdir'),
    ...same(options, 'timeout'),
    ...renamed(said(context, 'ssh-socket-path'), '--ssh-socket'),
    // By which programs know that they are in a sandbox of OpenShell's.
    ...['--shared-env', 'OPENSHELL_SANDBOX=1'],
    ...variables.flatMap(([name, value]) => ['--shared-env', `${name}=${value}`]),
    // OpenShell holds every command that has no terminal of its caller's, so that people can attach.
    ...(isInteractive ? [] : ['--retain', ...(isNamed ? [] : ['--tty'])]),
    ...(given.length > 0 || !isNamed ? ['--', ...(isNamed ? given : DEFAULT_COMMAND)] : []),
  ];
}

/** An option that has the same name and meaning. */
function same(options: PeerWords['options'], name: PeerOptionName): string[] {
  return renamed(options.get(name), `--${name}`);
}

function renamed(value: string | undefined, option: string): string[] {
  return value === undefined ? [] : [option, value];
}
