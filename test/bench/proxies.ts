/** Proxies beside castellan, as small as each can be: loopback only, no cache, no access log, unprivileged, ended by pid. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { chownSync, readFileSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { freePort } from '../ports.ts';

const NOBODY = 65_534;
const asNobody = process.getuid?.() === 0 ? { uid: NOBODY, gid: NOBODY } : {};
/** squid takes seconds where it may open a million descriptors. */
const START_DEADLINE_MS = 20_000;
const END_DEADLINE_MS = 5000;
const environment = { PATH: '/usr/sbin:/usr/bin:/bin' };

export interface Server extends AsyncDisposable {
  readonly pid: number;
  readonly port: number;
  /** The first line it printed. */
  readonly line: string;
}

/** A program whose first line tells its port, or is JSON that does; it ends when it is disposed of. */
export async function startServer(argv: readonly string[]): Promise<Server> {
  const [program = '', ...args] = argv;
  const child = spawn(program, args, { env: environment, stdio: ['pipe', 'pipe', 'inherit'] });
  const [line] = (await once(createInterface({ input: child.stdout }), 'line')) as [string];
  const told: unknown = JSON.parse(line);
  const port = typeof told === 'number' ? told : (told as { readonly port: number }).port;
  return ending(child, port, line);
}

async function startProxy(argv: readonly string[], port: number): Promise<Server> {
  const [program = '', ...args] = argv;
  const child = spawn(program, args, { env: environment, stdio: 'ignore', cwd: '/', ...asNobody });
  const server = ending(child, port, '');
  const deadline = performance.now() + START_DEADLINE_MS;
  while (!(await answers(port))) {
    if (performance.now() < deadline && child.exitCode === null) continue;
    await server[Symbol.asyncDispose]();
    throw new Error(`${program} did not start (${child.exitCode ?? child.signalCode})`);
  }
  return server;
}

function ending(child: ChildProcess, port: number, line: string): Server {
  const exited = once(child, 'exit');
  return {
    pid: child.pid ?? 0,
    port,
    line,
    async [Symbol.asyncDispose]() {
      // squid takes its shared memory away when it is asked to end.
      child.kill('SIGTERM');
      const timer = setTimeout(() => child.kill('SIGKILL'), END_DEADLINE_MS);
      await exited;
      clearTimeout(timer);
    },
  };
}

async function answers(port: number): Promise<boolean> {
  const { promise, resolve } = Promise.withResolvers<boolean>();
  const socket = connect(port, '127.0.0.1', () => resolve(true));
  socket.on('error', () => setTimeout(resolve, 20, false));
  const result = await promise;
  socket.destroy();
  return result;
}

function configure(directory: string, name: string, text: string): string {
  const path = join(directory, name);
  writeFileSync(path, text);
  return path;
}

/** CPU seconds of a process with all its threads: proc_pid_stat(5), fields 14 and 15. */
export function cpuSeconds(pid: number): number {
  const fields = readFileSync(`/proc/${pid}/stat`, 'latin1').split(') ')[1]?.split(' ') ?? [];
  return (Number(fields[11]) + Number(fields[12])) / TICKS_PER_SECOND;
}
/** USER_HZ is 100 on every architecture that Node runs on. */
const TICKS_PER_SECOND = 100;

export async function startTinyproxy(directory: string): Promise<Server> {
  const port = await freePort();
  const path = configure(
    directory,
    'tinyproxy.conf',
    `Port ${port}\nListen 127.0.0.1\nTimeout 600\nMaxClients 512\nLogFile "/dev/null"\nLogLevel Critical\nDisableViaHeader Yes\n`,
  );
  return startProxy(['tinyproxy', '-d', '-c', path], port);
}

export async function startSquid(directory: string): Promise<Server> {
  const port = await freePort();
  const lines = [
    `http_port 127.0.0.1:${port}`,
    ...['http_access allow all', 'cache deny all', 'cache_mem 0', 'access_log none', 'cache_store_log none'],
    ...['cache_log /dev/null', 'pid_filename none', 'netdb_filename none', 'pinger_enable off'],
    ...[`coredump_dir ${directory}`, 'visible_hostname bench', 'via off', 'forwarded_for delete'],
    ...['shutdown_lifetime 0 seconds', 'max_filedescriptors 4096', 'hosts_file none', 'client_db off'],
  ];
  const path = configure(directory, 'squid.conf', `${lines.join('\n')}\n`);
  // A service name of its own: the shared memory of another squid would be in the way.
  return startProxy(['squid', '-N', '-n', `bench${process.pid}`, '-f', path], port);
}

/** It knows no CONNECT and no choice of origins: it forwards to one, which is less work. */
export async function startHaproxy(
  directory: string,
  mode: 'tcp' | 'http',
  originPort: number,
): Promise<Server> {
  const port = await freePort();
  const path = configure(
    directory,
    `haproxy-${mode}.cfg`,
    `global
  maxconn 2000
defaults
  mode ${mode}
  timeout connect 5s
  timeout client 600s
  timeout server 600s
${mode === 'tcp' ? '  option splice-auto\n' : '  http-reuse always\n'}listen bench
  bind 127.0.0.1:${port}
  server origin 127.0.0.1:${originPort}
`,
  );
  return startProxy(['haproxy', '-db', '-f', path], port);
}

/** So that a proxy without privileges can read its configuration. */
export function openTo(directory: string): void {
  if (asNobody.uid !== undefined) chownSync(directory, asNobody.uid, asNobody.gid);
}
