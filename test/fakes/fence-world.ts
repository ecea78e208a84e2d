/** A pod's network for tests: two namespaces with a wire between them, and the world outside at its other end. Takes root. */
import { type ChildProcessByStdio, execFileSync, spawn, spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Readable } from 'node:stream';
import { type Program, wrapProgram } from '../native/python.ts';
import { CASTELLAN } from './world.ts';

export const POD_4 = '10.88.0.2';
export const POD_6 = 'fd88::2';
/** The other end of the wire. */
export const NEIGHBOUR_4 = '10.88.0.1';
export const NEIGHBOUR_6 = 'fd88::1';
/** Behind it. */
export const FAR_4 = '203.0.113.5';
export const FAR_6 = '2001:db8:5::5';
export const PROXY_UID = 1337;

/** What the container of network-init has after it dropped everything else, in setpriv(1)'s words. */
export const CONTAINER_CAPABILITIES: readonly string[] = ['net_admin', 'chown'];

/** A program that answers each request, a line of JSON, with one. */
export interface Answering {
  ask(...request: unknown[]): Promise<unknown>;
}

export interface Heard {
  readonly version: 4 | 6;
  readonly protocol: number;
  readonly destination: string;
  /** Behind the fixed header, in hexadecimal. */
  readonly payload: string;
}

export interface Ran {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

export interface FenceWorld extends AsyncDisposable {
  /** Of fence-outside.py. */
  readonly outside: Answering;
  /** What has come by the wire since the last call. */
  heard(): Promise<readonly Heard[]>;
  /** Of fence-client.py, in the pod, as a uid without capabilities. */
  client(uid: number): Promise<Answering>;
  /** The proxy's sockets, served by its uid until disposed. */
  proxy(): Promise<Program>;
  /** Runs a program in the pod to its end, as root with all capabilities or with these alone. */
  run(argv: readonly string[], capabilities?: readonly string[]): Ran;
  /** Starts a program in the pod, as root. */
  spawn(argv: readonly string[]): ChildProcessByStdio<null, Readable, null>;
  /** Runs a program at the other end of the wire. */
  outsideRun(argv: readonly string[]): void;
  networkInit(options?: readonly string[], capabilities?: readonly string[]): Ran;
}

export interface FenceWorldOptions {
  /** `link`: what the addresses of the wire bring, and no further; `none`: not even a wire. */
  readonly routes?: 'default' | 'link' | 'none';
  readonly ipv6?: boolean;
}

const ICMP6 = 58;
/** Types of ICMPv6 by which neighbours find each other, in hexadecimal: RFC 4861. */
const NEIGHBOUR_TYPES = ['85', '87', '88'];

/** What somebody else than the kernels has sent. */
export function traffic(heard: readonly Heard[]): readonly Heard[] {
  return heard.filter(
    ({ protocol, payload }) => !(protocol === ICMP6 && NEIGHBOUR_TYPES.includes(payload.slice(0, 2))),
  );
}

export async function createFenceWorld({
  routes = 'default',
  ipv6 = true,
}: FenceWorldOptions = {}): Promise<FenceWorld> {
  await using undo = new AsyncDisposableStack();
  const pod = undo.use(start(['unshare', '--net', 'sh', '-c', 'echo started; exec cat']));
  await pod.line();
  const addresses = [FAR_4, NEIGHBOUR_4, ...(ipv6 ? [FAR_6, NEIGHBOUR_6] : [])];
  const outside = undo.use(start(['unshare', '--net', ...python('fence-outside.py'), ...addresses]));
  await outside.line();
  const enter = ['nsenter', `--target=${pod.pid}`, '--net', '--'];
  succeed([...enter, 'sh', '-ec', settings(ipv6)]);
  succeed([...enter, 'ip', '-batch', '-'], podLinks(outside.pid, routes, ipv6));
  const enterOutside = ['nsenter', `--target=${outside.pid}`, '--net', '--'];
  succeed([...enterOutside, 'ip', '-batch', '-'], outsideLinks(ipv6));
  outside.say('serve');
  await outside.line();
  const kept = undo.move();
  const as = async (uid: number, script: string): Promise<Program> => {
    const become = ['setpriv', `--reuid=${uid}`, `--regid=${uid}`, '--clear-groups', ...onlyCapabilities([])];
    const program = kept.use(start([...enter, ...become, ...python(script)]));
    await program.line();
    return program;
  };
  const run: FenceWorld['run'] = (argv, capabilities) => {
    const sets = capabilities === undefined ? [] : ['setpriv', ...onlyCapabilities(capabilities)];
    const [program = '', ...rest] = [...enter, ...sets, ...argv];
    const { status, stdout, stderr } = spawnSync(program, rest, { encoding: 'utf8', cwd: '/' });
    return { code: status, stdout, stderr };
  };
  return {
    outside: answering(outside),
    async heard() {
      const packets = (await answering(outside).ask('heard')) as [4 | 6, number, string, string][];
      return packets.map(([version, protocol, destination, payload]) => ({
        version,
        protocol,
        destination,
        payload,
      }));
    },
    client: async (uid) => answering(await as(uid, 'fence-client.py')),
    proxy: () => as(PROXY_UID, 'fence-proxy.py'),
    run,
    spawn(argv) {
      const [program = '', ...rest] = [...enter, ...argv];
      return spawn(program, rest, { stdio: ['ignore', 'pipe', 'inherit'], cwd: '/' });
    },
    outsideRun: (argv) => succeed([...enterOutside, ...argv]),
    networkInit: (options = [], capabilities = CONTAINER_CAPABILITIES) =>
      run([CASTELLAN, 'network-init', ...options], capabilities),
    [Symbol.asyncDispose]: () => kept.disposeAsync(),
  };
}

function start([program = '', ...args]: readonly string[]): Program {
  return wrapProgram(spawn(program, args, { stdio: 'pipe', cwd: '/' }));
}

/** As an argument: who it runs as may not be able to read the clone. */
function python(script: string): string[] {
  return ['/usr/bin/python3', '-c', readFileSync(join(import.meta.dirname, script), 'utf8')];
}

function answering(program: Program): Answering {
  return {
    async ask(...request) {
      program.say(JSON.stringify(request));
      return JSON.parse(await program.line());
    },
  };
}

/** For setpriv(1): what a container has that drops all capabilities and adds some. */
export function onlyCapabilities(names: readonly string[]): string[] {
  const set = ['-all', ...names.map((name) => `+${name}`)].join(',');
  return [`--bounding-set=${set}`, `--inh-caps=${set}`, '--no-new-privs'];
}

function succeed([program = '', ...args]: readonly string[], input = ''): void {
  execFileSync(program, args, { input, stdio: ['pipe', 'pipe', 'inherit'] });
}

/** As container engines set them: everybody may ping and bind low ports. Addresses are there at once. */
function settings(ipv6: boolean): string {
  return `cd /proc/sys/net
echo 0 2147483647 > ipv4/ping_group_range
echo 0 > ipv4/ip_unprivileged_port_start
echo 0 > ipv6/conf/all/accept_dad
echo 0 > ipv6/conf/default/accept_dad
echo ${ipv6 ? 0 : 1} > ipv6/conf/all/disable_ipv6
echo ${ipv6 ? 0 : 1} > ipv6/conf/default/disable_ipv6`;
}

function podLinks(outsidePid: number, routes: FenceWorldOptions['routes'], ipv6: boolean): string {
  const lines = ['link set lo up', `link add eth0 type veth peer name out0 netns ${outsidePid}`];
  if (routes !== 'none') {
    lines.push('link set eth0 up', `address add ${POD_4}/24 dev eth0`);
    if (ipv6) lines.push(`address add ${POD_6}/64 dev eth0 nodad`);
  }
  if (routes === 'default') {
    lines.push(`route add default via ${NEIGHBOUR_4}`);
    if (ipv6) lines.push(`route add default via ${NEIGHBOUR_6}`);
  }
  return `${lines.join('\n')}\n`;
}

function outsideLinks(ipv6: boolean): string {
  const lines = [
    'link set lo up',
    `address add ${FAR_4}/32 dev lo`,
    `address add ${NEIGHBOUR_4}/24 dev out0`,
  ];
  if (ipv6)
    lines.push(`address add ${FAR_6}/128 dev lo nodad`, `address add ${NEIGHBOUR_6}/64 dev out0 nodad`);
  return `${[...lines, 'link set out0 up'].join('\n')}\n`;
}
