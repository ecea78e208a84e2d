/** People in the agent's container of a pod, whose uid has no account there: they come in by castellan's own client. Takes root. */
import type { ChildProcess } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { CASTELLAN } from '../fakes/world.ts';
import { AGENT, childOf, makePod, type Pod, SANDBOX_UID } from './pod.ts';
import { ALLOW_CURL, finish, isRoot, type Result, untilPrinted, useWorld } from './sandbox.ts';

const world = useWorld();
let pod: Pod;
let sidecar: Promise<Result>;
let agent: ChildProcess;
let ended: Promise<Result>;

beforeEach(async () => {
  if (!isRoot) return;
  pod = await makePod(world(), ALLOW_CURL);
  sidecar = finish(await pod.sidecar());
  agent = pod.agent(['sh', '-c', 'echo up; read line; echo "main heard $line"'], {
    options: ['--retain', '--name', 'people'],
    stdin: 'pipe',
  });
  ended = finish(agent);
  await untilPrinted(agent, 'up');
});
afterEach(async () => {
  await pod?.[Symbol.asyncDispose]();
});

/** As who enters the container as its user. */
function enter(...argv: readonly string[]): ChildProcess {
  return pod.spawn(
    [
      ...['nsenter', `--target=${childOf(agent)}`, '--mount', '--pid', '--'],
      ...['setpriv', ...AGENT(), '--', ...argv],
    ],
    {
      stdin: 'pipe',
      environment: {
        XDG_RUNTIME_DIR: join(pod.directory, 'agent-run'),
        HOME: pod.work,
        TERM: 'vt220',
        CASTELLAN,
      },
    },
  );
}

/** Resolves when no process of the agent's container runs `program` any more. */
async function gone(program: string): Promise<void> {
  const running = async () => (await finish(enter('ps', '-eo', 'comm='))).stdout.split('\n');
  await expect.poll(running, { timeout: 15_000 }).not.toContain(program);
}

describe.skipIf(!isRoot)('without an account', () => {
  test('a command: what it says, hears and ends with, confined and recorded', async () => {
    const script = 'id -u; echo $USER $HOME $SHELL; cat; tty; echo oops >&2; exit 7';
    const client = enter(CASTELLAN, 'ssh', '--', script);
    const said = finish(client);
    client.stdin?.end('heard\n');
    expect(await said).toEqual({
      code: 7,
      stdout: `${SANDBOX_UID}\n${SANDBOX_UID} ${pod.work} /bin/sh\nheard\nnot a tty\n`,
      stderr: 'oops\n',
    });
    const killed = await finish(enter(CASTELLAN, 'ssh', '--', 'kill -KILL $$'));
    expect(killed).toMatchObject({ code: 255 });
    const messages = pod.events().map(({ message }) => message);
    expect(messages.some((message) => message.startsWith(`SSH session`))).toBe(true);
    expect(messages.filter((message) => message.startsWith('exec sh'))).not.toEqual([]);
  });

  test('more than a window of output', async () => {
    const much = await finish(enter('sh', '-c', '$CASTELLAN ssh -- "head -c 5000000 /dev/zero" | wc -c'));
    expect(much.stdout).toBe('5000000\n');
  });

  test('a reader that leaves', async () => {
    const first = await finish(
      enter('sh', '-c', '{ $CASTELLAN ssh -- yes; echo "ended $?" >&2; } | head -n 1'),
    );
    expect(first).toMatchObject({ code: 0, stdout: 'y\n', stderr: 'ended 255\n' });
    await gone('yes');
  });

  test('a shell on a terminal, whose size it knows', async () => {
    const client = enter('script', '-qec', 'stty cols 91 rows 17; $CASTELLAN ssh', '/dev/null');
    const said = finish(client);
    client.stdin?.write('echo size $(stty size) $TERM; exit 3\n');
    const { code, stdout, stderr } = await said;
    expect(stdout, stderr).toContain('size 17 91 vt220');
    expect(code).toBe(3);
  });

  test('a signal ends the client, and with it what it started', async () => {
    const script = `mkfifo begun; $CASTELLAN ssh -- "echo up; exec sleep 1000" >begun & read up <begun; kill $!; wait $!; echo "$up, $?"`;
    const { stdout } = await finish(enter('sh', '-c', `cd ${pod.work}; ${script}`));
    expect(stdout).toBe('up, 255\n');
    await gone('sleep');
  });

  test('another server than the run’s own is refused', async () => {
    const key = Buffer.concat([
      Buffer.from('0000000b7373682d6564323535313900000020', 'hex'),
      Buffer.alloc(32, 7),
    ]);
    writeFileSync(
      join(pod.directory, 'agent-run/castellan/people/known_hosts'),
      `castellan-people ssh-ed25519 ${key.toString('base64')}\n`,
    );
    const refused = await finish(enter(CASTELLAN, 'ssh', '--', 'id'));
    expect(refused).toMatchObject({ code: 111, stdout: '' });
    expect(refused.stderr).toContain('does not let us in');
  });

  test('attach: the main process of a retained run', async () => {
    const client = enter(CASTELLAN, 'attach');
    const said = finish(client);
    client.stdin?.write('you\n');
    const { stdout, stderr } = await said;
    expect(stdout, stderr).toContain('main heard you');
    expect(await ended).toMatchObject({ code: 0 });
    await sidecar;
  });
});
