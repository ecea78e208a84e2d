/** How the containers of a pod end together, and who tells the sidecar which program asks. */
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { BUSYBOX } from '../bundle/images.ts';
import { isRoot, untilPrinted } from '../e2e/sandbox.ts';
import { CURL, PYTHON } from './agent-image.ts';
import { type PlayedPod, usePods } from './pod.ts';
import { requestFor, URL } from './requests.ts';

const FILESYSTEM_REFUSED = 104;
const ROLE_LOST = 108;
/** Beyond what it takes on an idle machine, by far. */
const SOON_MS = 15_000;

const pods = usePods();
const play = async (name: string, script: string, more = ''): Promise<PlayedPod> => {
  const pod = await pods().play(requestFor({ name, topology: 'sidecar', script, more }));
  expect(pod.start, pod.start.stderr).toMatchObject({ code: 0 });
  return pod;
};
const messages = (pod: PlayedPod) => pod.events().map(({ message }) => message);

describe.skipIf(!isRoot)('the containers of a pod end (needs root)', () => {
  test('with the sidecar: whoever runs in the agent’s container is killed', async () => {
    const script = `trap '' TERM; (trap '' TERM HUP; while :; do ${BUSYBOX} date +%s > alive; done) & echo up; while :; do ${BUSYBOX} sleep 1; done`;
    const pod = await play('loses-sidecar', script);
    await untilPrinted(pod.follow('agent'), 'up');
    const began = performance.now();
    await pod.podman('kill', '--signal', 'KILL', 'loses-sidecar-castellan-network');
    expect(await pod.ended('agent')).toMatchObject({ code: ROLE_LOST });
    expect(performance.now() - began).toBeLessThan(SOON_MS);
    expect(existsSync(join(pod.volume('workspace'), 'alive'))).toBe(true);
  });

  test('with the agent’s container: the sidecar tells', async () => {
    const pod = await play('loses-agent', `echo up; exec ${BUSYBOX} sleep 1000`);
    await untilPrinted(pod.follow('agent'), 'up');
    await pod.podman('kill', '--signal', 'KILL', 'loses-agent-agent');
    expect(await pod.ended('agent')).toMatchObject({ code: 137 });
    expect(await pod.ended('castellan-network')).toMatchObject({ code: ROLE_LOST });
    expect(messages(pod)).toContainEqual(expect.stringContaining('refused to go on: role_lost'));
  });

  test('by the end of the pod: the command has its grace, and the log its last line', async () => {
    const script = `trap 'echo graceful > end; exit 5' TERM; echo up; while :; do ${BUSYBOX} sleep 0.1; done`;
    const pod = await play('stops', script);
    await untilPrinted(pod.follow('agent'), 'up');
    expect(await pod.podman('pod', 'stop', '--time', '30', 'stops')).toMatchObject({ code: 0 });
    expect(await pod.ended('agent')).toMatchObject({ code: 5 });
    expect(await pod.ended('castellan-network')).toMatchObject({ code: 0 });
    expect(readFileSync(join(pod.volume('workspace'), 'end'), 'utf8')).toBe('graceful\n');
    expect(messages(pod).at(-1)).toMatch(/^audit log closed/);
  });

  test('where the policy would show the agent how they meet: before the command', async () => {
    const policy = 'version: 1\nfilesystem_policy: { read_write: [/run/castellan-pod] }\n';
    const pod = await pods().play(
      requestFor({ name: 'shows', topology: 'sidecar', script: 'echo never', policy }),
    );
    const agent = await pod.ended('agent');
    expect(agent).toMatchObject({ code: FILESYSTEM_REFUSED, stdout: '' });
    expect(await pod.ended('castellan-network')).toMatchObject({ code: 0 });
  });
});

describe.skipIf(!isRoot)('which program asks is told (needs root)', () => {
  const two = `${CURL} -sS ${URL}/curl; ${PYTHON} -c "
import urllib.request
try: print(urllib.request.urlopen('${URL}/python').read().decode())
except Exception as error: print('refused', error)"`;

  test.each([
    ['by the process role', 'process', 'refused'],
    ['by the sidecar', 'sidecar', 'refused'],
    ['by nobody', 'none', '/python 0'],
  ])('%s', async (_, who, python) => {
    const pod = await play(`identity-${who}`, two, `binary_identity: ${who}`);
    const { stdout, stderr } = await pod.ended('agent');
    expect(stdout, stderr).toContain('/curl 0');
    expect(stdout, stderr).toContain(python);
    expect(await pod.ended('castellan-network')).toMatchObject({ code: 0 });
    const spec = pod.rendered.pod.spec;
    expect(spec.shareProcessNamespace).toBe(who === 'sidecar' ? true : undefined);
  });
});
