/** What the way out costs: castellan's egress beside real proxies, a direct connection and the physical limit, in turns. */
import { execFile, execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { makeCertificate } from '../flow/egress-world.ts';
import { inTurns, median, printFigures } from './harness.ts';
import {
  cpuSeconds,
  openTo,
  type Server,
  startHaproxy,
  startServer,
  startSquid,
  startTinyproxy,
} from './proxies.ts';
import { timeTlsRequests } from './tls-load.ts';

const TUNNELS = 1200;
const PINGS = 4000;
const MEGABYTES = 1000;
const REQUESTS = 8000;
const TLS_REQUESTS = 4000;
const CONNECTIONS = 4;

interface Tunnelled {
  readonly name: string;
  /** Whose CPU is counted; undefined where nothing stands between. */
  readonly server: Server | undefined;
  readonly port: number;
  /** Of the CONNECT, or -. */
  readonly authority: string;
}

type Load = (...args: readonly (string | number)[]) => Promise<number[]>;

/** Prints three tables. Every contender has its turn in each round; figures are medians. */
export async function benchEgress(rounds: number): Promise<void> {
  await using stack = new AsyncDisposableStack();
  const directory = mkdtempSync(join(tmpdir(), 'castellan-bench-egress-'));
  stack.defer(() => rmSync(directory, { recursive: true, force: true }));
  openTo(directory);
  const certificate = stack.use(makeCertificate('api.test'));
  const program = join(directory, 'load');
  execFileSync('gcc', ['-std=c11', '-O2', '-pthread', join(import.meta.dirname, 'load.c'), '-o', program]);
  const load: Load = async (...args) => {
    const { stdout } = await promisify(execFile)(program, args.map(String));
    return stdout.trim().split(' ').map(Number);
  };
  const node = (file: string, ...args: string[]) => startServer([process.execPath, file, ...args]);
  const origin = stack.use(await startServer([program, 'origin']));
  writeFileSync(join(directory, 'key.pem'), certificate.key);
  const tlsOrigin = stack.use(
    await node(join(import.meta.dirname, 'tls-origin.ts'), join(directory, 'key.pem'), certificate.path),
  );
  const castellan = stack.use(
    await node(
      join(import.meta.dirname, 'egress-server.ts'),
      String(origin.port),
      String(tlsOrigin.port),
      certificate.path,
    ),
  );
  const tinyproxy = stack.use(await startTinyproxy(directory));
  const squid = stack.use(await startSquid(directory));
  const forwarder = stack.use(await startHaproxy(directory, 'tcp', origin.port));
  const splice = stack.use(await startServer([program, 'splice', String(origin.port)]));
  const at = `127.0.0.1:${origin.port}`;
  const through = (name: string, server: Server, authority = at): Tunnelled => ({
    name,
    server,
    port: server.port,
    authority,
  });
  await benchTunnels(load, rounds, [
    { name: 'direct (baseline)', server: undefined, port: origin.port, authority: '-' },
    through('splice loop alone (the limit)', splice, '-'),
    through('castellan', castellan, `tunnel.test:${origin.port}`),
    through('tinyproxy', tinyproxy),
    through('squid', squid),
    through('haproxy, to one fixed origin', forwarder, '-'),
  ]);
  const http = stack.use(await startHaproxy(directory, 'http', origin.port));
  const api = `api.test:${origin.port}`;
  await benchRequests(load, rounds, [
    ['direct (baseline)', origin.port, '/v1/x', at],
    ['castellan, inspected', castellan.port, `http://${api}/v1/x`, api],
    ['tinyproxy, reads the first only', tinyproxy.port, `http://${at}/v1/x`, at],
    ['squid', squid.port, `http://${at}/v1/x`, at],
    ['haproxy, to one fixed origin', http.port, '/v1/x', at],
  ]);
  const { authority } = JSON.parse(castellan.line) as { readonly authority: string };
  const tlsApi = `api.test:${tlsOrigin.port}`;
  await benchTlsRequests(rounds, [
    ['direct (baseline)', { port: tlsOrigin.port, connect: undefined, host: tlsApi, ca: certificate.cert }],
    [
      'castellan, opened and inspected',
      { port: castellan.port, connect: tlsApi, host: tlsApi, ca: authority },
    ],
  ]);
}

async function benchTunnels(load: Load, rounds: number, contenders: readonly Tunnelled[]): Promise<void> {
  const rows = await medians(contenders, rounds, async ({ server, port, authority }) => {
    const [opening = 0] = await load('connections', TUNNELS, port, authority);
    const [half = 0, most = 0] = await load('ping', PINGS, port, authority);
    const before = server && cpuSeconds(server.pid);
    const [one = 0] = await load('bulk', 1, MEGABYTES, port, authority);
    const [eight = 0] = await load('bulk', 8, MEGABYTES, port, authority);
    const cpu = server && before !== undefined ? cpuSeconds(server.pid) - before : Number.NaN;
    return [
      TUNNELS / opening,
      half,
      most,
      MEGABYTES / one,
      MEGABYTES / eight,
      cpu / ((2 * MEGABYTES) / 1000),
    ];
  });
  console.log(
    `\ntunnels on loopback, medians of ${rounds} rounds in turns; castellan without its sandbox, identities stood in for`,
  );
  printFigures(
    ['connections/s', 'ping µs', 'p99 µs', 'MB/s, 1', 'MB/s, 8', 'CPU s/GB'],
    [0, 1, 1, 0, 0, 2],
    rows,
  );
}

async function benchRequests(
  load: Load,
  rounds: number,
  contenders: readonly (readonly [name: string, port: number, target: string, host: string])[],
): Promise<void> {
  const rows = await medians(
    contenders.map(([name, ...rest]) => ({ name, rest })),
    rounds,
    async ({ rest }) => {
      const [seconds = 0] = await load('requests', REQUESTS, ...rest);
      return [REQUESTS / seconds];
    },
  );
  console.log(`\nHTTP/1.1 requests in the clear, ${CONNECTIONS} connections; only castellan judges them`);
  printFigures(['requests/s'], [0], rows);
}

async function benchTlsRequests(
  rounds: number,
  contenders: readonly (readonly [name: string, target: Parameters<typeof timeTlsRequests>[0]])[],
): Promise<void> {
  const rows = await medians(
    contenders.map(([name, target]) => ({ name, target })),
    rounds,
    async ({ target }) => [TLS_REQUESTS / (await timeTlsRequests(target, TLS_REQUESTS, CONNECTIONS))],
  );
  console.log(`\nHTTP/1.1 requests in TLS, ${CONNECTIONS} connections; the peers do not open TLS`);
  printFigures(['requests/s'], [0], rows);
}

/** The median of each figure. */
async function medians<T extends { readonly name: string }>(
  contenders: readonly T[],
  rounds: number,
  measure: (contender: T) => Promise<number[]>,
): Promise<[string, number[]][]> {
  const samples = await inTurns(contenders, rounds, measure);
  return samples.map(([name, all]) => [
    name,
    (all[0] ?? []).map((_, column) => median(all.map((figures) => figures[column] ?? Number.NaN))),
  ]);
}
