/**
 * What V8 makes of the code of both roles. Each goes through a start and an end, which tells what functions starts call; those are
 * compiled. The same sources on the same machine give the same bytes.
 */
import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, chownSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { type AddressInfo, connect, createServer, type Server, Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { posix } from '../../src/kernel/posix.ts';
import { descriptorOf } from '../../src/kernel/socket-handle.ts';
import { parsePolicy } from '../../src/policy/parse.ts';
import { openProcessSide } from '../../src/roles/process-side.ts';
import { layOutDescriptors } from '../../src/start/descriptor-layout.ts';
import { nodeCommand, type Target } from './target.ts';

/** Somebody who may do nothing. */
const NOBODY = 65_534;
/** A start takes less than a second. */
const DEADLINE_MS = 60_000;

const isRoot = process.getuid?.() === 0;
/** With what policies have most: an endpoint whose requests are judged, for which TLS is opened. */
const POLICY = `version: 1
${isRoot ? `process: { run_as_user: "${NOBODY}" }\n` : ''}filesystem_policy: { include_workdir: false }
network_policies:
  rehearsal:
    endpoints: [{ host: api.example.org, port: 443, protocol: rest, access: read-only }]
    binaries: [{ path: /usr/bin/curl }]
`;

interface Rehearsal {
  /** After the program's name. */
  readonly words: readonly string[];
  readonly uid?: number | undefined;
  /** Descriptors 3 and up. */
  readonly descriptors?: readonly number[];
}

interface Stage {
  readonly repository: string;
  readonly bundle: string;
  readonly target: Target;
  /** For what a rehearsal writes. */
  readonly directory: string;
}

/**
 * Puts process.cache and network.cache into app/ of `bundle`, by its own Node: only the very same V8 takes them. What is emulated cannot
 * make namespaces, and is compiled as it is used.
 */
export async function compileCode(repository: string, bundle: string, target: Target): Promise<void> {
  const directory = mkdtempSync(join(tmpdir(), 'castellan-rehearsal-'));
  chmodSync(directory, 0o755);
  const stage = { repository, bundle, target, directory };
  try {
    for (const role of ['process', 'network']) compile(stage, role, NOTHING_CALLED);
    if (target.emulator !== undefined) return;
    compile(stage, 'network', await networkRole(stage));
    compile(stage, 'process', await processRole(stage));
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}

const NOTHING_CALLED = '[]';

function compile({ repository, bundle, target }: Stage, role: string, called: string): void {
  const [node = '', ...words] = nodeCommand(bundle, target);
  const file = join(bundle, 'app', role);
  const program = join(repository, 'scripts/bundle/compile.cjs');
  execFileSync(node, [...words, '--predictable', program, `${file}.cjs`, `${file}.cache`], {
    env: { OPENSSL_CONF: '/dev/null' },
    input: called,
  });
}

/** Gives the functions that were called, for compile.cjs. @throws Error with what was complained of when it did not end well */
async function rehearse(
  { repository, bundle, directory }: Stage,
  { words, uid, descriptors = [] }: Rehearsal,
): Promise<string> {
  const own = mkdtempSync(join(directory, 'run-'));
  if (uid !== undefined) chownSync(own, uid, uid);
  const target = join(own, 'called');
  const program = join(repository, 'scripts/bundle/rehearse.cjs');
  const child = spawn(join(bundle, 'libexec/node'), [program, join(bundle, 'app'), target, ...words], {
    stdio: ['ignore', 'ignore', 'pipe', ...descriptors],
    env: { OPENSSL_CONF: '/dev/null', PATH: '/usr/bin:/bin', HOME: own, XDG_RUNTIME_DIR: own },
    cwd: '/',
    timeout: DEADLINE_MS,
    ...(uid !== undefined && { uid, gid: uid }),
  });
  let complaint = '';
  child.stderr?.setEncoding('utf8').on('data', (text: string) => {
    complaint += text;
  });
  const [code] = await once(child, 'close');
  if (code !== 0) throw new Error(`${words.join(' ')} ended with ${code}: ${complaint}`);
  return readFileSync(target, 'utf8');
}

/** A run as we are; where we may make no namespaces, the process role alone, as somebody who may be without. */
async function processRole(stage: Stage): Promise<string> {
  const policy = join(stage.directory, 'policy.yaml');
  writeFileSync(policy, POLICY);
  const run = ['run', '--quiet', '--policy', policy];
  const whole = [...run, '--audit-file', join(stage.directory, 'audit.jsonl'), '--', 'true'];
  const alone = [...run, '--roles', 'process', '--', 'true'];
  const uid = isRoot ? NOBODY : undefined;
  try {
    return await rehearse(stage, { words: whole });
  } catch (error) {
    process.stderr.write(`bundle: starts with both roles cannot be rehearsed here: ${error}\n`);
    return await rehearse(stage, { words: alone, uid }).catch(unrehearsed);
  }
}

function unrehearsed(error: unknown): string {
  process.stderr.write(`bundle: starts will be slower, as none can be rehearsed here: ${error}\n`);
  return NOTHING_CALLED;
}

/** The process role's part is played here, and the sealed namespace is the loopback. */
async function networkRole(stage: Stage): Promise<string> {
  using opened = new DisposableStack();
  const [wire, theirWire] = posix().socketPair();
  const [handover, theirHandover] = posix().socketPair();
  const nflog = posix().socketPair();
  const listen = async (): Promise<Server> => {
    const server = createServer().listen(0, '127.0.0.1');
    opened.defer(() => void server.close());
    await once(server, 'listening');
    return server;
  };
  const numberOf = (server: Server): number => descriptorOf(server as unknown as Socket);
  const proxy = await listen();
  const { port } = proxy.address() as AddressInfo;
  const { row, places } = layOutDescriptors({
    listeners: {
      proxy: [numberOf(proxy)],
      transparent: [numberOf(await listen())],
      // Node tells no numbers of such sockets.
      dnsUdp: [],
      dnsTcp: [numberOf(await listen())],
      nflog: nflog[0],
    },
    secrets: {},
  });
  posix().sendDescriptors(handover, row);
  // What arrives is the role's from now on.
  opened.dispose();
  const side = openProcessSide(new Socket({ fd: wire }), { report() {} });
  const called = rehearse(stage, { words: ['network-role'], descriptors: [theirWire, theirHandover] });
  for (const descriptor of [theirWire, theirHandover, handover, ...nflog]) posix().close(descriptor);
  const served = side.serve({
    ...places,
    rules: parsePolicy(POLICY, 'rehearsal').network,
    mayChange: false,
    takesProposals: false,
    identify: async () => ({ ok: false, reason: 'a rehearsal' }),
  });
  // A role that breaks says why only with its end.
  await Promise.race([served, called]);
  await refusedRequest(port);
  side.stop();
  return called;
}

/** The way of a first request up to its refusal, for nobody is behind it. */
async function refusedRequest(port: number): Promise<void> {
  const client = connect(port, '127.0.0.1');
  client.write('CONNECT api.example.org:443 HTTP/1.1\r\nHost: api.example.org:443\r\n\r\n');
  const answer = await text(client);
  if (!answer.startsWith('HTTP/1.1 403 ')) throw new Error(`the rehearsal’s request got ${answer}`);
}
