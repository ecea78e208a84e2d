/** How the containers of a pod end together, and who may not take part. Takes root. */

import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, describe, expect, test } from 'vitest';
import { CASTELLAN } from '../fakes/world.ts';
import { killAll, makePod, OTHER_UID, type Pod, SANDBOX_UID, untilSaid } from './pod.ts';
import { ALLOW_CURL, finish, isRoot, untilPrinted, useWorld } from './sandbox.ts';

/** Beyond what it takes on an idle machine, by far. */
const SOON_MS = 15_000;
const ROLE_LOST = 108;

const world = useWorld();
let pod: Pod;
afterEach(async () => {
  await pod?.[Symbol.asyncDispose]();
});

const event = (text: string) => pod.events().find(({ message }) => message.includes(text));

describe.skipIf(!isRoot)('a pod', () => {
  describe('ends', () => {
    test('with the sidecar: every process of the agent’s container is killed', async () => {
      pod = await makePod(world(), ALLOW_CURL);
      const sidecar = await pod.sidecar();
      const marker = join(pod.work, 'alive');
      const script = `(setsid sh -c 'trap "" TERM HUP; while :; do date +%s%N > ${marker}; sleep 0.05; done' &) ; trap "" TERM; while ! test -s ${marker}; do sleep 0.05; done; echo up; while :; do sleep 1; done`;
      const agent = pod.agent(['sh', '-c', script]);
      const ended = finish(agent);
      await untilPrinted(agent, 'up');
      const killed = performance.now();
      sidecar.kill('SIGKILL');
      expect(await ended).toMatchObject({ code: ROLE_LOST });
      expect(performance.now() - killed).toBeLessThan(SOON_MS);
      const last = readFileSync(marker, 'utf8');
      await new Promise((resolve) => setTimeout(resolve, 300));
      expect(readFileSync(marker, 'utf8')).toBe(last);
    });

    test('with the process role: the sidecar ends, and says so', async () => {
      pod = await makePod(world(), ALLOW_CURL);
      const sidecar = finish(await pod.sidecar());
      const agent = pod.agent(['sh', '-c', 'echo up; exec sleep 1000']);
      await untilPrinted(agent, 'up');
      const gone = finish(agent);
      killAll(agent);
      await gone;
      expect(await sidecar).toMatchObject({ code: ROLE_LOST });
      expect(event('castellan refused to go on: role_lost')).toBeDefined();
    });

    test.each([
      ['alone', false],
      ['and to the agent’s container too', true],
    ])('by a signal to the sidecar %s: the command has its grace', async (_, both) => {
      pod = await makePod(world(), ALLOW_CURL);
      const child = await pod.sidecar();
      const sidecar = finish(child);
      const script = 'trap "sleep 1; echo graceful; exit 5" TERM; echo up; while :; do sleep 0.1; done';
      const isReady = untilSaid(child, 'sandbox ready');
      // Without a pid namespace of its own, what was started is castellan itself.
      const agent = pod.agent(['sh', '-c', script], { sharesProcesses: both });
      const ended = finish(agent);
      await untilPrinted(agent, 'up');
      await isReady;
      child.kill('SIGTERM');
      if (both) agent.kill('SIGTERM');
      expect(await ended).toMatchObject({ code: 5, stdout: expect.stringContaining('graceful') });
      expect(await sidecar).toMatchObject({ code: 0 });
    });

    test('before anybody came', async () => {
      pod = await makePod(world(), ALLOW_CURL);
      const child = await pod.sidecar();
      const sidecar = finish(child);
      child.kill('SIGTERM');
      expect(await sidecar).toMatchObject({ code: 143 });
      expect(readdirSync(join(pod.directory, 'state'))).toEqual([]);
    });

    test('of a command that does not exist is its own exit code', async () => {
      pod = await makePod(world(), ALLOW_CURL);
      const sidecar = finish(await pod.sidecar());
      expect(await finish(pod.agent(['no-such-program']))).toMatchObject({ code: 127 });
      expect(await sidecar).toMatchObject({ code: 0 });
    });
  });

  describe('strangers', () => {
    test('another uid is refused, recorded, and the process role still comes in', async () => {
      pod = await makePod(world(), ALLOW_CURL);
      const child = await pod.sidecar('plain', ['--sandbox-uid', String(SANDBOX_UID)]);
      const sidecar = finish(child);
      const stranger = pod.agent(['true'], { uid: OTHER_UID });
      await untilSaid(child, `uid ${OTHER_UID} refused`);
      stranger.kill('SIGTERM');
      expect(await finish(pod.agent(['true']))).toMatchObject({ code: 0 });
      await sidecar;
      expect(event(`uid ${OTHER_UID} refused at the control socket`)).toMatchObject({
        status_code: 'control_refused',
      });
    });

    test('the agent finds neither socket nor token, and cannot put another there', async () => {
      pod = await makePod(world(), ALLOW_CURL);
      const sidecar = finish(await pod.sidecar());
      const state = join(pod.directory, 'state');
      const agent = await finish(
        pod.agent([
          'sh',
          '-c',
          `ls ${state}; cat ${pod.socket}.token; touch ${pod.socket}; mv ${state} ${state}2; python3 -c "
import socket
s=socket.socket(socket.AF_UNIX)
try: s.connect('${pod.socket}'); print('connected')
except OSError as e: print('errno', e.errno)"`,
        ]),
      );
      expect(agent.stdout).toBe('errno 2\n');
      await sidecar;
    });

    test('a policy that grants the agent the control directory is refused', async () => {
      pod = await makePod(world(), ALLOW_CURL);
      const text = readFileSync(pod.policy, 'utf8');
      writeFileSync(
        pod.policy,
        text.replace('read_only: [', `read_only: [${join(pod.directory, 'state')}, `),
      );
      const sidecar = finish(await pod.sidecar());
      expect(await finish(pod.agent(['true']))).toMatchObject({ code: 104 });
      await sidecar;
    });

    test.each([
      ['the fence is gone', ['nft', 'delete', 'table', 'inet', 'castellan'], SANDBOX_UID],
      // To whom the fence gives way.
      ['the fence is another’s', [CASTELLAN, 'network-init', '--proxy-uid', String(OTHER_UID)], OTHER_UID],
    ])('nothing starts where %s', async (_, spoil, uid) => {
      pod = await makePod(world(), ALLOW_CURL);
      expect(await finish(pod.spawn(spoil))).toMatchObject({ code: 0 });
      const sidecar = finish(await pod.sidecar());
      const { code, stdout, stderr } = await finish(pod.agent(['echo', 'ran'], { uid }));
      expect(stderr).toContain('nobody has fenced the network of the pod');
      expect({ code, stdout }).toEqual({ code: 105, stdout: '' });
      await sidecar;
    });

    test('a second sidecar finds the ports taken', async () => {
      pod = await makePod(world(), ALLOW_CURL);
      await pod.sidecar();
      await expect(pod.sidecar('plain', ['--name', 'other'])).rejects.toThrow(/ended with 109 .*3128/s);
    });
  });
});
