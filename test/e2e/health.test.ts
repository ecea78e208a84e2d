/** How a run is looked after: probes by the verb and over HTTP, and the service manager's protocol. */
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, chownSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { describe, expect, it } from 'vitest';
import {
  CALLER_UID,
  castellan,
  finish,
  isRoot,
  MODES,
  prepare,
  run,
  type Setup,
  untilPrinted,
  useWorld,
  writePolicy,
} from './sandbox.ts';

const world = useWorld();
/** Says that it is to end, and does not. */
const STUBBORN =
  '(trap "" TERM; exec sleep 1000) & child=$!; trap "echo stopping" TERM; echo running; wait $child; wait $child';
/** Other sandboxes may run on the machine. */
const NAME = `health-${process.pid}`;

function start(
  setup: Setup,
  options: readonly string[] = [],
  environment: NodeJS.ProcessEnv = {},
): ChildProcess {
  return run(setup, ['/bin/sh', '-c', STUBBORN], {
    policy: writePolicy(setup),
    name: NAME,
    options,
    environment,
  });
}

const probe = async (setup: Setup, name: string) => {
  const { code, stdout } = await finish(castellan(setup, ['probe', name, '--sandbox', NAME]));
  return `${code} ${stdout.trim()}`;
};

async function end(child: ChildProcess): Promise<void> {
  // The first asks, where nothing has yet; with no grace, or after it, nothing survives.
  child.kill('SIGTERM');
  await once(child, 'close');
}

describe.skipIf(!isRoot).each(MODES)('%s (needs root to make the test world)', (mode) => {
  it('a run that is up says so, and one that ends says that', async () => {
    const setup = prepare(world(), mode);
    expect(await probe(setup, 'live')).toBe(`1 no sandbox named ${NAME} is running`);
    const child = start(setup, ['--grace', '60']);
    await untilPrinted(child, 'running');
    for (const name of ['live', 'startup', 'ready']) expect(await probe(setup, name)).toBe(`0 ${name}`);
    const stopping = untilPrinted(child, 'stopping');
    child.kill('SIGTERM');
    await stopping;
    expect(await probe(setup, 'ready')).toBe('1 not ready');
    expect(await probe(setup, 'live')).toBe('0 live');
    await end(child);
    expect(await probe(setup, 'live')).toBe(`1 no sandbox named ${NAME} is running`);
  });

  it('over HTTP for who is outside, and not for the command', async () => {
    const setup = prepare(world(), mode);
    const address = mode === 'root' ? '10.77.0.1:9901' : '10.77.0.1:9902';
    const child = start(setup, ['--health-listen', address, '--grace', '0']);
    await untilPrinted(child, 'running');
    const outside = world().spawn(['curl', '-sS', '-w', '%{http_code}', `http://${address}/ready`], {
      stdio: 'pipe',
    });
    expect((await finish(outside)).stdout).toBe('{"status":"ready"}\n200');
    const unknown = world().spawn(['curl', '-sS', '-w', '%{http_code}', `http://${address}/metrics`], {
      stdio: 'pipe',
    });
    expect((await finish(unknown)).stdout).toContain('404');
    const inside = castellan(setup, [
      'ssh',
      '--sandbox',
      NAME,
      '--',
      'curl',
      '-sS',
      '--noproxy',
      "'*'",
      `http://${address}/ready`,
    ]);
    // The network role answers, as for any other destination.
    expect((await finish(inside)).stdout).toContain('"reason":"no_policy"');
    await end(child);
  });

  it('the service manager hears of the start, of life, and of the end', async () => {
    const setup = prepare(world(), mode);
    const socket = join(setup.directory, 'notify');
    const listener = world().spawn(['python3', '-c', LISTENER, socket], {
      stdio: ['pipe', 'pipe', 'inherit'],
    });
    const lines = createInterface(listener.stdout as NodeJS.ReadableStream)[Symbol.asyncIterator]();
    const next = async () => (await lines.next()).value;
    expect(await next()).toBe('listening');
    if (mode !== 'root') chownSync(socket, CALLER_UID, CALLER_UID);
    const child = start(setup, ['--grace', '1'], { NOTIFY_SOCKET: socket, WATCHDOG_USEC: '200000' });
    let said: string | undefined;
    do said = await next();
    while (said === 'WATCHDOG=1');
    expect(said).toBe('READY=1');
    expect(await next()).toBe('WATCHDOG=1');
    // Anybody may write to a manager's socket.
    if (mode === 'root') chmodSync(socket, 0o777);
    const spoof = `import socket; socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM).sendto(b'EVIL=1', '${socket}'); print('told')`;
    const inside = castellan(setup, ['ssh', '--sandbox', NAME, '--', `python3 -c "${spoof}"`]);
    expect(await finish(inside)).toMatchObject({ code: 1, stdout: '' });
    child.kill('SIGTERM');
    do said = await next();
    while (said === 'WATCHDOG=1');
    expect(said).toBe('STOPPING=1');
    await end(child);
    listener.stdin?.end();
  });
});

const LISTENER = `
import os, socket, sys, threading
s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
s.bind(sys.argv[1])
threading.Thread(target=lambda: (sys.stdin.read(), os._exit(0)), daemon=True).start()
print('listening', flush=True)
while True:
    print(s.recv(512).decode(), flush=True)
`;

describe.skipIf(!isRoot)('what is not taken (needs root to make the test world)', () => {
  it.each([
    ['a name', 'localhost:80'],
    ['no port', '127.0.0.1'],
    ['port 0', '127.0.0.1:0'],
    ['a port too large', '127.0.0.1:65536'],
  ])('%s as a place to listen', async (_, place) => {
    const setup = prepare(world(), 'root');
    const { code, stderr } = await finish(start(setup, ['--health-listen', place]));
    expect(stderr).toContain('--health-listen');
    expect(code).toBe(100);
  });

  it('a place that is taken', async () => {
    const setup = prepare(world(), 'root');
    const { code, stderr } = await finish(start(setup, ['--health-listen', '10.77.0.1:8080']));
    expect(stderr).toContain('[address_in_use, health: EADDRINUSE]');
    expect(code).toBe(109);
  });

  it('another question', async () => {
    const { code, stderr } = await finish(castellan(prepare(world(), 'root'), ['probe', 'well']));
    expect(stderr).toContain('one of live, startup, ready');
    expect(code).toBe(100);
  });
});
