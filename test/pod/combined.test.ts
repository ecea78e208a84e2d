/** A sandbox in one container: what the agent gets there, and what it tries. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { BUSYBOX } from '../bundle/images.ts';
import { isRoot } from '../e2e/sandbox.ts';
import { CURL, PYTHON, SETUID_BUSYBOX } from './agent-image.ts';
import { usePods } from './pod.ts';
import { POLICY, PROXY_UID, requestFor, SANDBOX_UID, URL } from './requests.ts';

const SECRET = 'hunter2-of-the-pod';
const CREDENTIALS = `version: 1\ncredentials:\n  DEMO_TOKEN: { value: "${SECRET}", provider: demo }\n`;

const pods = usePods();
const play = (
  name: string,
  script: string,
  more = '',
  options: Parameters<ReturnType<typeof pods>['play']>[1] = {},
) =>
  pods().play(
    requestFor({
      name,
      topology: 'combined',
      script,
      more,
      policy: POLICY.replace('/etc]', '/etc, /tools]'),
    }),
    options,
  );

/** What is not named here has to be refused. */
const ENDINGS: Readonly<Record<string, RegExp>> = {
  'a program that becomes root': new RegExp(`^${SANDBOX_UID}$`),
  'a program that switches users': /^$/,
  // Rooms that are not in this topology, or are covered.
  ...Object.fromEntries(
    [
      'list the control directory',
      'make a file in the control directory',
      'rename the control directory',
      'rename something in it',
      'take the control socket away',
      'put a socket in its place',
      'link into the control directory',
      'connect to the control socket',
      'read the token',
      'sessions by castellan’s socket',
      'metrics by castellan’s socket',
      'another socket there',
      'list castellan’s run directory',
      'write castellan’s run directory',
      'a secret of castellan’s',
      'the log',
    ].map((name) => [name, /^E(NOENT|ACCES|ROFS)$/]),
  ),
  // Its place is covered.
  'the policy': /^ENOENT$/,
  'see a socket for SSH': /^\[\]$/,
  'the proxy’s port': /^EADDRINUSE$/,
  'the proxy’s port, shared': /^EADDRINUSE$/,
  'the proxy’s port, by IPv6': /^EADDRINUSE$/,
  'the transparent port': /^EADDRINUSE$/,
  'the resolver’s port': /^EADDRINUSE$/,
  // Its network is its own.
  'the port of health, shared': /^bound$/,
  'signal everybody': /^(EPERM|ok)$/,
  'write the workspace': /^written$/,
  'write /tmp': /^written$/,
};

describe.skipIf(!isRoot)('a combined pod (needs root)', () => {
  test('gives the agent what its policy says, and nothing for what it tries', async () => {
    const places = { control: '/run/castellan-pod', run: '/run/castellan', setuid: SETUID_BUSYBOX };
    const tools = {
      'probe.py': readFileSync(join(import.meta.dirname, 'probe.py'), 'utf8'),
    };
    const script = `${BUSYBOX} id -u; ${BUSYBOX} cat seeded; ${BUSYBOX} grep -E '^(CapBnd|NoNew|Seccomp:)' /proc/self/status
${CURL} -sS -H "Authorization: $DEMO_TOKEN" ${URL}/a; ${CURL} -sS -o /dev/null -w '%{http_code}\\n' http://forbidden.demo.test:8080/
unset http_proxy HTTP_PROXY all_proxy ALL_PROXY; ${CURL} -sS https://allowed.demo.test:8443/direct
${PYTHON} /tools/probe.py '${JSON.stringify({ ...places, proxy: PROXY_UID, health: 9000 })}'; ${BUSYBOX} env | ${BUSYBOX} grep -c hunter2; exit 7`;
    const pod = await play(
      'combined',
      script,
      'workspace: { empty_dir: {}, seed: true }\nvolumes: [{ name: tools, mount: /tools, config_map: tools }]\ncredentials: { secret: keys }\nread_only_root: true\nhealth_port: 9000',
      { contents: { tools, keys: { 'credentials.yaml': CREDENTIALS } } },
    );
    const { code, stdout, stderr } = await pod.ended('agent');
    expect(code, stderr).toBe(7);
    expect(stdout, stderr).toMatch(
      new RegExp(
        `^${SANDBOX_UID}\nof the image\nCapBnd:\t0{16}\nNoNewPrivs:\t1\nSeccomp:\t2\nGET allowed.demo.test:8080 /a 0\n403\nGET allowed.demo.test:8443 /direct 0\n`,
      ),
    );
    expect(stdout.trimEnd().split('\n').at(-1)).toBe('0');
    const lines = stdout.split('\n').filter((line) => line.startsWith('['));
    const endings = lines.map((line) => JSON.parse(line) as [string, string | string[]]);
    expect(endings.length, stderr).toBeGreaterThan(45);
    const wrong = endings.filter(([name, ended]) =>
      [ended].flat().some((one) => !(ENDINGS[name] ?? /^E(PERM|ACCES|ROFS)$/).test(one)),
    );
    expect(wrong).toEqual([]);
    expect(JSON.stringify(pod.events())).not.toContain(SECRET);
  });
});
