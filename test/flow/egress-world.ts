/** The egress flow on loopback: real sockets, real policy, a resolver and an address check that know the origins of the test. */
import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { AuditFact, SocketAddress } from '../../src/audit/event.ts';
import { type Egress, type EgressOptions, startEgress } from '../../src/egress/egress.ts';
import type { Identity } from '../../src/egress/stages.ts';
import { compilePolicy } from '../../src/policy/compile.ts';
import type { NetworkRule } from '../../src/policy/document.ts';

export const IDENTITY: Identity = {
  pid: 4711,
  startTime: '12345',
  uid: 1000,
  executable: '/usr/bin/curl',
  sha256: 'a'.repeat(64),
  ancestors: ['/usr/bin/bash'],
  ancestorHashes: ['b'.repeat(64)],
};

const position = { line: 1, column: 1 };

export function rule(host: string, ports: readonly number[], protocol: '' | 'tcp' = ''): NetworkRule {
  return {
    name: `rule-${host}`,
    endpoints: [{ host, ports, protocol, allowedIps: [], position }],
    binaries: [{ path: '/usr/bin/curl' }],
    position,
  };
}

export interface EgressWorld extends AsyncDisposable {
  readonly egress: Egress;
  readonly facts: AuditFact[];
  readonly proxy: string;
  readonly proxyPort: number;
  readonly transparentPort: number;
  /** What the next redirected connections were dialled to. */
  dialled: SocketAddress;
  /** The first fact of the kind, now or when it comes. */
  fact<Kind extends AuditFact['kind']>(kind: Kind): Promise<Extract<AuditFact, { kind: Kind }>>;
}

const loopback = { host: '127.0.0.1', port: 0 };

export async function startWorld(
  rules: readonly NetworkRule[],
  options: Partial<Omit<EgressOptions, 'report'>> = {},
): Promise<EgressWorld> {
  const facts: AuditFact[] = [];
  const waiting: { readonly kind: string; readonly resolve: (fact: never) => void }[] = [];
  const ending = new AbortController();
  const world = { dialled: { address: '192.0.2.1', port: 1 } };
  const egress = await startEgress({
    listeners: { proxy: [loopback], transparent: [loopback], dnsUdp: [loopback], dnsTcp: [loopback] },
    decider: compilePolicy(rules),
    identify: async () => ({ ok: true, identity: IDENTITY }),
    resolve: async () => ['127.0.0.1'],
    check: (_verdict, _host, _port, addresses) => ({ ok: true, addresses }),
    originalDestination: () => world.dialled,
    signal: ending.signal,
    ...options,
    report(fact) {
      facts.push(fact);
      for (const entry of waiting.filter(({ kind }) => kind === fact.kind)) {
        waiting.splice(waiting.indexOf(entry), 1);
        entry.resolve(fact as never);
      }
    },
  });
  const proxyPort = egress.addresses.proxy[0]?.port ?? 0;
  return Object.assign(world, {
    egress,
    facts,
    proxyPort,
    proxy: `http://127.0.0.1:${proxyPort}`,
    transparentPort: egress.addresses.transparent[0]?.port ?? 0,
    fact(kind: string) {
      const found = facts.find((fact) => fact.kind === kind);
      return found === undefined
        ? new Promise((resolve) => waiting.push({ kind, resolve }))
        : Promise.resolve(found);
    },
    async [Symbol.asyncDispose]() {
      ending.abort();
    },
  }) as EgressWorld;
}

/** A TCP server on loopback that ends with the test. */
export async function listen(server: Server, port = 0): Promise<AsyncDisposable & { readonly port: number }> {
  const sockets = new Set<Socket>();
  server.on('connection', (socket: Socket) => sockets.add(socket.on('error', () => {})));
  server.listen(port, '127.0.0.1');
  await once(server, 'listening');
  return {
    port: (server.address() as AddressInfo).port,
    async [Symbol.asyncDispose]() {
      server.close();
      for (const socket of sockets) socket.destroy();
    },
  };
}

export function tcpServer(onConnection: (socket: Socket) => void): Server {
  return createServer({ allowHalfOpen: true }, onConnection);
}

/** A raw client: what it has received so far, and ways to wait for more. */
export interface RawClient {
  readonly socket: Socket;
  text(): string;
  /** Settles when the text received matches. */
  until(pattern: RegExp): Promise<string>;
  /** Everything up to the end of the connection; a reset shows as `<reset>`. */
  end(): Promise<string>;
}

export function rawClient(port: number, first?: string | Buffer): RawClient {
  const socket = connect({ port, host: '127.0.0.1', allowHalfOpen: true });
  let received = '';
  let over = false;
  const changed = new Set<() => void>();
  const notify = () => {
    for (const listener of changed) listener();
  };
  socket.setEncoding('latin1').on('data', (text) => {
    received += text;
    notify();
  });
  socket.on('error', () => {
    received += '<reset>';
  });
  socket.on('end', () => socket.end());
  socket.on('close', () => {
    over = true;
    notify();
  });
  if (first !== undefined) socket.write(first);
  const when = (condition: () => boolean): Promise<string> =>
    new Promise((resolve, reject) => {
      const look = () => {
        if (!condition() && !over) return;
        changed.delete(look);
        if (condition()) resolve(received);
        else reject(new Error(`the connection ended after ${JSON.stringify(received)}`));
      };
      changed.add(look);
      look();
    });
  return {
    socket,
    text: () => received,
    until: (pattern) => when(() => pattern.test(received)),
    end: () => when(() => over),
  };
}

export interface Run {
  readonly code: number | null;
  readonly stdout: Buffer;
  readonly stderr: string;
}

/** Runs a program without the test's own environment. */
export async function run(program: string, args: readonly string[], input?: Buffer): Promise<Run> {
  const child = spawn(program, args, { env: { PATH: '/usr/sbin:/usr/bin:/sbin:/bin' }, stdio: 'pipe' });
  const stdout: Buffer[] = [];
  let stderr = '';
  child.stdout.on('data', (chunk: Buffer) => stdout.push(chunk));
  child.stderr.on('data', (chunk: Buffer) => {
    stderr += chunk;
  });
  child.stdin.on('error', () => {});
  child.stdin.end(input);
  const [code] = (await once(child, 'close')) as [number | null];
  return { code, stdout: Buffer.concat(stdout), stderr };
}

/** curl through the proxy of the world. */
export function curl(world: Pick<EgressWorld, 'proxy'>, ...args: string[]): Promise<Run> {
  return run('curl', [
    '--silent',
    '--show-error',
    '--max-time',
    '20',
    '--noproxy',
    '',
    '--proxy',
    world.proxy,
    ...args,
  ]);
}

export interface Certificate extends Disposable {
  readonly key: string;
  readonly cert: string;
  readonly path: string;
}

/** A certificate for any of the names, which is its own authority. */
export function makeCertificate(...names: string[]): Certificate {
  const directory = mkdtempSync(join(tmpdir(), 'castellan-egress-'));
  const at = (name: string) => join(directory, name);
  const subject = [
    '-subj',
    '/CN=origin',
    '-addext',
    `subjectAltName=${names.map((name) => `DNS:${name}`).join(',')}`,
  ];
  const key = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes'];
  execFileSync(
    'openssl',
    ['req', '-x509', ...key, '-keyout', at('key'), '-out', at('crt'), '-days', '2', ...subject],
    { stdio: 'pipe' },
  );
  return {
    key: readFileSync(at('key'), 'utf8'),
    cert: readFileSync(at('crt'), 'utf8'),
    path: at('crt'),
    [Symbol.dispose]: () => rmSync(directory, { recursive: true, force: true }),
  };
}
