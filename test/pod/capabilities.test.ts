/** That castellan's containers have what they need and no more: each capability is taken away in turn. */
import { chmodSync, chownSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { renderedCapabilities } from '../../src/config/capabilities.ts';
import { isRoot } from '../e2e/sandbox.ts';
import { CURL } from './agent-image.ts';
import { allContainers, type RenderedPod } from './manifest.ts';
import { type PlayedPod, usePods } from './pod.ts';
import { requestFor, URL } from './requests.ts';

const SOMEBODY = 4321;

const pods = usePods();
const play = (topology: 'combined' | 'sidecar', change: (pod: RenderedPod['pod']) => void, more = '') =>
  pods().play(requestFor({ name: 'needs', topology, script: `${CURL} -sS ${URL}/a`, more }), { change });

describe.skipIf(!isRoot)('a combined castellan needs each of its capabilities (needs root)', () => {
  const done = (text: string) => ({ code: 0, stdout: expect.stringContaining(text) });
  const refused = (code: number) => ({ code, stdout: '' });
  const ALLOWED = done('GET allowed.demo.test:8080 /a 0');
  /** Runs on, and tells that it cannot see who asks. */
  const UNSEEN = done('identity_unknown');
  const without: readonly { name: string; want: object; finding?: string }[] = [
    { name: 'SYS_ADMIN', want: refused(112) },
    { name: 'SYS_CHROOT', want: ALLOWED, finding: 'teardown is degraded' },
    { name: 'NET_ADMIN', want: refused(112) },
    { name: 'SETUID', want: refused(112) },
    { name: 'SETGID', want: refused(112) },
    { name: 'SETPCAP', want: refused(112) },
    { name: 'CHOWN', want: refused(104) },
    { name: 'DAC_OVERRIDE', want: refused(104) },
    { name: 'FOWNER', want: refused(104) },
    { name: 'KILL', want: ALLOWED, finding: 'teardown is degraded' },
    { name: 'SYS_PTRACE', want: UNSEEN, finding: 'binary-identity is degraded' },
  ];

  test('of which the table has all', () => {
    expect(without.map(({ name }) => name).sort()).toEqual(renderedCapabilities('combined').toSorted());
  });

  const playWithout = (name?: string) =>
    play('combined', (pod) => {
      if (name !== undefined) takeAway(pod, 'agent', name);
      leaveFiles(pod);
    });
  const expectMessage = (pod: PlayedPod, how: string) =>
    expect(pod.events().map(({ message }) => message)).toContainEqual(expect.stringContaining(how));

  test('with all of them it runs, and would end everybody at one stroke', async () => {
    const pod = await playWithout();
    expect(await pod.ended('agent')).toMatchObject(ALLOWED);
    expectMessage(pod, 'killed by their signal scope');
  });

  test.each(without)('without $name', async ({ name, want, finding }) => {
    const pod = await playWithout(name);
    expect(await pod.ended('agent')).toMatchObject(want);
    if (finding !== undefined) expectMessage(pod, finding);
  });
});

describe.skipIf(!isRoot)('a sidecar that is root needs each of its capabilities (needs root)', () => {
  const without: readonly { name: string; code: number }[] = [
    { name: 'SYS_PTRACE', code: 112 },
    { name: 'SETUID', code: 112 },
    { name: 'SETGID', code: 112 },
    { name: 'SETPCAP', code: 112 },
    { name: 'DAC_OVERRIDE', code: 112 },
  ];

  test('of which the table has all', () => {
    expect(without.map(({ name }) => name).sort()).toEqual(
      renderedCapabilities('identifying', 'sidecar').toSorted(),
    );
  });

  const playWithout = async (name: string, instead?: string) => {
    const take = (pod: RenderedPod['pod']) => takeAway(pod, 'castellan-network', name, instead);
    const pod = await play('sidecar', take, 'binary_identity: sidecar');
    return pod.ended('castellan-network');
  };

  test.each(without)('without $name', async ({ name, code }) => {
    expect(await playWithout(name)).toMatchObject({ code });
  });

  // Opens directories of processes, and makes no socket in the proxy's.
  test('DAC_READ_SEARCH does not do for DAC_OVERRIDE', async () => {
    expect(await playWithout('DAC_OVERRIDE', 'DAC_READ_SEARCH')).toMatchObject({ code: 104 });
  });
});

describe.skipIf(!isRoot)('the fence needs each of its capabilities (needs root)', () => {
  test.each(renderedCapabilities('fence'))('without %s', async (name) => {
    const pod = await play('sidecar', (pod) => takeAway(pod, 'castellan-fence', name));
    expect(pod.start.code).not.toBe(0);
    expect(pod.events()).toEqual([]);
  });
});

function takeAway(
  { spec }: RenderedPod['pod'],
  container: string,
  capability: string,
  instead?: string,
): void {
  const one = allContainers(spec).find(({ name }) => name === container);
  const add = one?.securityContext?.capabilities?.add ?? [];
  expect(add).toContain(capability);
  add.splice(add.indexOf(capability), 1, ...(instead === undefined ? [] : [instead]));
}

/** Somebody else's, as an image's or an older pod's are. */
function leaveFiles({ spec }: RenderedPod['pod']): void {
  const workspace = spec.volumes?.find((volume) => volume.name === 'workspace')?.hostPath?.path ?? '';
  const directory = join(workspace, 'others');
  mkdirSync(directory);
  writeFileSync(join(directory, 'program'), '');
  for (const path of [join(directory, 'program'), directory]) chownSync(path, SOMEBODY, SOMEBODY);
  chmodSync(join(directory, 'program'), 0o4755);
  chmodSync(directory, 0o700);
}
