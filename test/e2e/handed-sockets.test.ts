/** Sockets that were opened before the run, as sd_listen_fds(3) hands them over. */
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { chownSync, mkdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
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
const NAME = `handed-${process.pid}`;

/** Opens what the words before `--` say, NAME=KIND:PLACE, and becomes what comes after. */
const MANAGER = `
import os, socket, sys
words = sys.argv[1:]
cut = words.index('--')
names = []
for number, word in enumerate(words[:cut]):
    name, what = word.split('=', 1)
    kind, place = what.split(':', 1)
    if kind == 'unix' or kind == 'silent' or kind == 'datagram':
        s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM if kind == 'datagram' else socket.SOCK_STREAM)
        s.bind(place.replace('@', '\\0'))
        if '@' not in place: os.chmod(place, 0o600)
    elif kind == 'tcp':
        s = socket.socket()
        s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        s.bind(('10.77.0.1', int(place)))
    if kind in ('unix', 'tcp'): s.listen()
    if kind == 'file': s = open(place)
    names.append(name)
    os.dup2(s.fileno(), 100 + number)
for number in range(len(names)): os.dup2(100 + number, 3 + number); os.close(100 + number)
os.closerange(3 + len(names), 100)
os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS=str(len(names)), LISTEN_FDNAMES=':'.join(names))
os.execv(words[cut + 1], words[cut + 1:])
`;
const manager = (...sockets: readonly string[]): readonly string[] => [
  'python3',
  '-c',
  MANAGER,
  ...sockets,
  '--',
];

function place(setup: Setup, name: string): string {
  const directory = join(setup.directory, 'sockets');
  mkdirSync(directory, { recursive: true });
  if (setup.mode !== 'root') chownSync(directory, CALLER_UID, CALLER_UID);
  return join(directory, name);
}

const start = (setup: Setup, sockets: readonly string[], script = 'echo running; exec sleep 1000') =>
  run(setup, ['/bin/sh', '-c', script], {
    policy: writePolicy(setup),
    name: NAME,
    through: manager(...sockets),
    options: ['--grace', '0'],
  });

describe.skipIf(!isRoot).each(MODES)('%s (needs root to make the test world)', (mode) => {
  it('SSH, probes and metrics are served on them, and nothing of the sandbox has or reaches them', async () => {
    const setup = prepare(world(), mode);
    const [ssh, metrics] = [place(setup, 'ssh'), place(setup, 'metrics')];
    const port = mode === 'root' ? 9931 : 9932;
    const script = 'env | grep LISTEN; ls /proc/self/fd | wc -l; echo running; exec sleep 1000';
    const child = start(setup, [`ssh=unix:${ssh}`, `health=tcp:${port}`, `metrics=unix:${metrics}`], script);
    let printed = '';
    child.stdout?.on('data', (chunk: Buffer) => {
      printed += chunk;
    });
    await untilPrinted(child, 'running');
    expect(printed).toBe('4\nrunning\n');
    expect(isClosedOnExec(Number(childOf(child)), 3)).toBe(true);
    const ask = async (...argv: string[]) =>
      (await finish(world().spawn(['curl', '-sS', ...argv], { stdio: 'pipe' }))).stdout;
    expect(await ask(`http://10.77.0.1:${port}/ready`)).toBe('{"status":"ready"}\n');
    expect(await ask('--unix-socket', metrics, 'http://c/metrics')).toContain('castellan_build_info');
    const client = [
      '-F',
      'none',
      '-o',
      'StrictHostKeyChecking=no',
      '-o',
      'UserKnownHostsFile=/dev/null',
      '-o',
      'BatchMode=yes',
    ];
    const proxy = `ProxyCommand=python3 -c '${CAT}' ${ssh}`;
    const session = world().spawn(['ssh', ...client, '-o', proxy, '-l', 'x', 'sandbox', 'id -u'], {
      stdio: 'pipe',
      ...(mode !== 'root' && { asUid: CALLER_UID }),
    });
    expect((await finish(session)).stdout).toMatch(/^\d+\n$/);
    const connects = [ssh, metrics]
      .map((path) => `curl -sS --unix-socket ${path} http://c/metrics`)
      .join(';');
    const inside = await finish(castellan(setup, ['ssh', '--sandbox', NAME, '--', connects]));
    expect(inside.stdout).toBe('');
    child.kill('SIGTERM');
    await once(child, 'close');
  });

  it.each([
    ['ssh=tcp:9933', 'SSH is served on Unix sockets only'],
    ['ssh=unix:@castellan-test', 'it has no path in the file system'],
    ['health=datagram:SOCKETS/d', 'it is no stream socket that listens'],
    ['metrics=silent:SOCKETS/s', 'it is no stream socket that listens'],
    ['metrics=file:/etc/passwd', 'is no socket'],
    ['console=unix:SOCKETS/c', 'a socket named console was handed over'],
  ])('%s is refused', async (socket, said) => {
    const setup = prepare(world(), mode);
    const { code, stderr } = await finish(start(setup, [socket.replace('SOCKETS/', place(setup, ''))]));
    expect(stderr).toContain(said);
    expect(code).toBe(100);
  });

  it('one where the policy lets the agent write is refused', async () => {
    const setup = prepare(world(), mode);
    const { code, stderr } = await finish(start(setup, [`ssh=unix:${join(setup.work, 's')}`]));
    expect(stderr).toContain('would let the agent write');
    expect(code).toBe(104);
  });
});

describe.skipIf(!isRoot)('a sidecar (needs root to make the test world)', () => {
  it('takes no socket for people, who would wait in it', async () => {
    const setup = prepare(world(), 'root');
    const argv = ['run', '--roles', 'network', '--control-socket', place(setup, 'control.sock')];
    const through = manager(`ssh=unix:${place(setup, 'ssh')}`);
    const { code, stderr } = await finish(castellan(setup, argv, 'ignore', through));
    expect(stderr).toContain('people come to the agent’s container');
    expect(code).toBe(100);
  });
});

/** The process role: the one child of the init. */
function childOf({ pid }: ChildProcess): string {
  return readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').trim();
}

function isClosedOnExec(pid: number, descriptor: number): boolean {
  const flags = /^flags:\s*(\d+)$/m.exec(readFileSync(`/proc/${pid}/fdinfo/${descriptor}`, 'utf8'))?.[1];
  return (Number.parseInt(flags ?? '', 8) & O_CLOEXEC) !== 0;
}

const O_CLOEXEC = 0o2000000;

/** A connection to a Unix socket, for ProxyCommand. */
const CAT =
  'import socket,sys,os,threading; s=socket.socket(socket.AF_UNIX); s.connect(sys.argv[1]); threading.Thread(target=lambda: [s.sendall(b) for b in iter(lambda: os.read(0,65536), b"")], daemon=True).start(); [os.write(1,b) for b in iter(lambda: s.recv(65536), b"")]';
