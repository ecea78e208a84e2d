/** What collectors of metrics get of a run, over TCP and Unix sockets, and that the command gets nothing of it. */
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { chownSync, existsSync, lstatSync, mkdirSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { escapeText } from '../../src/lib/escape.ts';
import {
  ALL_MODES,
  ALLOW_CURL,
  auditEvents,
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
const NAME = `metrics-${process.pid}`;
const READY = 'echo running; exec sleep 1000';

function start(setup: Setup, script: string, options: readonly string[] = []): ChildProcess {
  const policy = writePolicy(setup, setup.mode === 'process-only' ? '' : ALLOW_CURL);
  return run(setup, ['/bin/sh', '-c', script], { policy, name: NAME, options: ['--grace', '0', ...options] });
}

async function end(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null) return;
  child.kill('SIGTERM');
  await once(child, 'close');
}

const curl = async (setup: Setup, ...argv: string[]): Promise<string> => {
  const who = setup.mode === 'root' ? {} : { asUid: CALLER_UID };
  const asked = world().spawn(['curl', '-sS', ...argv], { stdio: 'pipe', ...who });
  return (await finish(asked)).stdout;
};
const runSocket = ({ mode, directory }: Setup): string =>
  join(mode === 'root' ? '/run/castellan' : join(directory, 'rt/castellan'), NAME, 'health.sock');
const overSocket = (setup: Setup, path: string): Promise<string> =>
  curl(setup, '--unix-socket', path, 'http://castellan/metrics');
const sample = (text: string, series: string): number | undefined => {
  const line = text.split('\n').find((each) => each.startsWith(`${series} `));
  return line === undefined ? undefined : Number(line.slice(series.length));
};
/** Where anybody may look, and only the owner may connect. */
function socketPlace(setup: Setup): string {
  const place = join(setup.directory, 'sockets');
  mkdirSync(place);
  if (setup.mode !== 'root') chownSync(place, CALLER_UID, CALLER_UID);
  return join(place, 'metrics.sock');
}

const inside = (script: string): readonly string[] => ['ssh', '--sandbox', NAME, '--', script];

describe.skipIf(!isRoot).each(MODES)('%s (needs root to make the test world)', (mode) => {
  it('both roles tell what they did, to who is outside', async () => {
    const setup = prepare(world(), mode);
    const address = mode === 'root' ? '10.77.0.1:9911' : '10.77.0.1:9912';
    const evil = 'evil-name.demo.test';
    const script = `curl -s -o /dev/null http://allowed.demo.test:8080/x; curl -s -o /dev/null http://${evil}/; ${READY}`;
    const child = start(setup, script, ['--metrics-listen', address]);
    await untilPrinted(child, 'running');
    const text = await curl(setup, `http://${address}/metrics`);
    expect(sample(text, 'castellan_requests_total{decision="allowed"}')).toBe(1);
    expect(sample(text, 'castellan_requests_total{decision="denied"}')).toBe(1);
    expect(sample(text, 'castellan_denials_total{reason="host_not_listed"}')).toBe(1);
    expect(sample(text, 'castellan_http_responses_total{class="2xx"}')).toBe(1);
    expect(sample(text, 'castellan_launches_total{kind="main"}')).toBe(1);
    expect(sample(text, 'castellan_policy_generation')).toBe(1);
    for (const role of ['process', 'network']) {
      expect(sample(text, `castellan_role_up{role="${role}"}`)).toBe(1);
      expect(sample(text, `castellan_role_resident_memory_bytes{role="${role}"}`)).toBeGreaterThan(1e7);
      expect(sample(text, `castellan_role_cpu_seconds_total{role="${role}"}`)).toBeGreaterThan(0);
    }
    for (const word of [evil, 'demo', 'curl', ':8080', setup.directory]) expect(text).not.toContain(word);
    expect(await overSocket(setup, runSocket(setup))).toContain(
      'castellan_requests_total{decision="denied"} 1',
    );
    expect(await curl(setup, '-w', '%{http_code}', `http://${address}/ready`)).toContain('404');
    await end(child);
  });

  it('a role that takes no turn is told as down, and does not hold up the rest', async () => {
    const setup = prepare(world(), mode);
    const child = start(setup, READY);
    await untilPrinted(child, 'running');
    const told = auditEvents(setup).find(({ message }) => /network-role.*pid \d+/.test(message));
    const pid = Number(/pid (\d+)/.exec(told?.message ?? '')?.[1]);
    process.kill(pid, 'SIGSTOP');
    const text = await overSocket(setup, runSocket(setup));
    process.kill(pid, 'SIGCONT');
    expect(sample(text, 'castellan_role_up{role="network"}')).toBe(0);
    expect(sample(text, 'castellan_launches_total{kind="main"}')).toBe(1);
    expect(text).not.toContain('castellan_egress_clients');
    expect(await overSocket(setup, runSocket(setup))).toContain('castellan_role_up{role="network"} 1');
    await end(child);
  });

  it('at a Unix socket of the operator’s choice, which the command cannot reach', async () => {
    const setup = prepare(world(), mode);
    const path = socketPlace(setup);
    // What a run that was killed leaves behind.
    const stale = createServer().listen(path);
    await once(stale, 'listening');
    await finish(world().spawn(['cp', '-a', path, `${path}.kept`]));
    await new Promise((done) => stale.close(done));
    await finish(world().spawn(['mv', `${path}.kept`, path]));
    if (mode !== 'root') chownSync(path, CALLER_UID, CALLER_UID);
    const child = start(setup, READY, ['--metrics-listen', `unix:${path}`]);
    await untilPrinted(child, 'running');
    expect(lstatSync(path).mode & 0o777).toBe(0o600);
    expect(await overSocket(setup, path)).toContain('castellan_build_info{');
    const connect = `curl -sS --unix-socket ${path} http://castellan/metrics; curl -sS --unix-socket ${runSocket(setup)} http://castellan/metrics`;
    const { code, stdout } = await finish(castellan(setup, inside(connect)));
    expect(stdout).toBe('');
    expect(code).not.toBe(0);
    await end(child);
    expect(existsSync(path)).toBe(false);
  });

  it('over TCP the command cannot reach it', async () => {
    const setup = prepare(world(), mode);
    const address = mode === 'root' ? '10.77.0.1:9913' : '10.77.0.1:9914';
    const child = start(setup, READY, ['--metrics-listen', address]);
    await untilPrinted(child, 'running');
    const ways = ['--noproxy "*"', ''].map((way) => `curl -sS ${way} http://${address}/metrics`);
    const { stdout } = await finish(castellan(setup, inside(ways.join('; '))));
    expect(stdout).not.toContain('castellan_');
    await end(child);
  });
});

describe.skipIf(!isRoot).each(ALL_MODES)('%s (needs root to make the test world)', (mode) => {
  it('the run directory’s socket answers its owner, and no process of the sandbox', async () => {
    const setup = prepare(world(), mode);
    const path = runSocket(setup);
    const child = start(setup, READY);
    await untilPrinted(child, 'running');
    expect(await overSocket(setup, path)).toContain('castellan_role_up{role="process"} 1');
    const { stdout } = await finish(
      castellan(setup, inside(`curl -s --unix-socket ${path} http://castellan/metrics`)),
    );
    expect(stdout).not.toContain('castellan_');
    await end(child);
  });
});

describe.skipIf(!isRoot)('what is refused (needs root to make the test world)', () => {
  it('a socket where the policy lets the agent write', async () => {
    const setup = prepare(world(), 'rootless');
    const path = join(setup.work, 'metrics.sock');
    const { code, stderr } = await finish(start(setup, READY, ['--metrics-listen', `unix:${path}`]));
    expect(stderr).toContain(`would let the agent write ${escapeText(path)}`);
    expect(code).toBe(104);
    expect(existsSync(path)).toBe(false);
  });

  it('a path that somebody serves, and one that is a file', async () => {
    const setup = prepare(world(), 'root');
    const path = socketPlace(setup);
    const served = createServer().listen(path);
    await once(served, 'listening');
    const place = ['--health-listen', `unix:${path}`];
    expect(await finish(start(setup, READY, place))).toMatchObject({ code: 109 });
    await new Promise((done) => served.close(done));
    writeFileSync(path, 'precious');
    expect(await finish(start(setup, READY, place))).toMatchObject({ code: 109 });
    expect(lstatSync(path).isFile()).toBe(true);
  });
});
