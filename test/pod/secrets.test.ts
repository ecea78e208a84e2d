/** Where an agent looks for secrets and for castellan's own state, as the user that it is: everywhere. */
import { execFileSync } from 'node:child_process';
import { chmodSync, lstatSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { isRoot, untilPrinted } from '../e2e/sandbox.ts';
import { PYTHON } from './agent-image.ts';
import { type PlayedPod, usePods } from './pod.ts';
import { POLICY, requestFor } from './requests.ts';

/** In each of the files with secrets. */
const SECRET = 'hunter2-of-the-pod';
/** In a file that is the agent's to read, to see that it would find another. */
const PUBLIC = 'for-everybody-to-read';
const CONTENTS = {
  keys: { 'credentials.yaml': `version: 1\ncredentials:\n  TOKEN: { value: "${SECRET}", provider: demo }\n` },
  routes: {
    'routes.yaml': `routes:\n  - { name: main, endpoint: "https://allowed.demo.test:8443/v1", model: m, provider_type: openai, protocols: [openai_responses], api_key: ${SECRET} }\n`,
  },
  proxy: { auth: `user:${SECRET}` },
};
const MORE = `credentials: { secret: keys }
upstream_proxy: { url: "http://allowed.demo.test:3129", auth: { secret: proxy }, allow_insecure_auth: true }
volumes: [{ name: tools, mount: /tools, config_map: tools }]
`;
/** Castellan's volumes that hold no program and no policy. */
const PRIVATE = [
  ...['castellan-credentials', 'castellan-proxy-auth', 'castellan-log'],
  ...['castellan-pod', 'castellan-run', 'castellan-network-run'],
];
/** What the agent is to see: certificates and accounts, made in castellan's run directory. */
const SHOWN = /^castellan-run\/castellan\/[^/]+\/(trust(\/[^/]+)?|passwd|group)$/;
/** Names of files in Secrets, which are none: a combined pod has them below /etc, which this policy opens. */
const NAMES = /^castellan-(credentials|proxy-auth)\/(\.\.[\d_.]+)?$/;

interface Found {
  readonly path: string;
  readonly number: string;
  readonly opens: boolean;
  readonly words: readonly string[];
}

const backwards = (word: string) => [...word].reverse().join('');

const pods = usePods();

async function look(topology: 'combined' | 'sidecar', more: string): Promise<[Found[], Map<string, string>]> {
  const script = `${PYTHON} /tools/look.py ${backwards(SECRET)} ${backwards(PUBLIC)}; echo looked; read -r end < /sandbox/end`;
  const tools = { 'look.py': readFileSync(join(import.meta.dirname, 'look.py'), 'utf8'), note: PUBLIC };
  const pod = await pods().play(
    requestFor({
      name: 'secrets',
      topology,
      script,
      more: `${MORE}${more}`,
      policy: POLICY.replace('/etc]', '/etc, /tools, /var]'),
    }),
    {
      contents: { ...CONTENTS, tools },
      change: ({ spec }) => {
        const workspace = spec.volumes?.find(({ name }) => name === 'workspace')?.hostPath?.path ?? '';
        execFileSync('mkfifo', [join(workspace, 'end')]);
        chmodSync(join(workspace, 'end'), 0o666);
      },
    },
  );
  expect(pod.start, pod.start.stderr).toMatchObject({ code: 0 });
  await untilPrinted(pod.follow('agent'), 'looked');
  const own = numbersOf(pod);
  writeFileSync(join(pod.volume('workspace'), 'end'), '\n');
  const { stdout, stderr, code } = await pod.ended('agent');
  expect(code, stderr).toBe(0);
  const lines = stdout.split('\n').filter((line) => line.startsWith('{'));
  return [lines.map((line) => JSON.parse(line) as Found), own];
}

/** Everything in castellan's own volumes while the agent runs, by device and inode, which are the same in every container. */
function numbersOf(pod: PlayedPod): Map<string, string> {
  const volumes = (pod.rendered.pod.spec.volumes ?? []).filter(({ name }) => PRIVATE.includes(name));
  return new Map(
    volumes.flatMap(({ name }) =>
      ['', ...readdirSync(pod.volume(name), { recursive: true, encoding: 'utf8' })].map(
        (path): [string, string] => {
          const place = join(pod.volume(name), path);
          const { dev, ino } = lstatSync(place);
          return [`${dev}:${ino}`, `${name}/${path}`];
        },
      ),
    ),
  );
}

describe.skipIf(!isRoot)('files with secrets, and castellan’s state (needs root)', () => {
  // A claim brings the pod an fsGroup, which opens files of Secrets to it whatever their mode; the agent is in it.
  test.each([
    ['combined', 'combined', 'read_only_root: true\n'],
    ['beside a sidecar', 'sidecar', 'inference_routes: { secret: routes }\n'],
    ['beside a sidecar, with an fsGroup', 'sidecar', 'workspace: { claim: work }\n'],
    [
      'beside a sidecar that is root, with an fsGroup',
      'sidecar',
      'workspace: { claim: work }\nbinary_identity: sidecar\n',
    ],
  ] as const)('are nowhere for the agent to read: %s', async (_, topology, more) => {
    const [found, own] = await look(topology, more);
    const paths = (chosen: readonly Found[]) => chosen.map(({ path }) => path);
    expect(paths(found.filter(({ words }) => words.includes(PUBLIC)))).toEqual(
      expect.arrayContaining([expect.stringContaining('/note')]),
    );
    expect(paths(found.filter(({ words }) => words.includes(SECRET)))).toEqual([]);

    expect([...own.values()]).toEqual(
      expect.arrayContaining([
        expect.stringMatching(/credentials.yaml$/),
        expect.stringMatching(/audit.jsonl$/),
      ]),
    );
    const open = found.flatMap(({ number, opens, path }) => {
      const name = own.get(number);
      const isMeant =
        name !== undefined && (SHOWN.test(name) || (topology === 'combined' && NAMES.test(name)));
      return name === undefined || !opens || isMeant ? [] : [`${path} is ${name}`];
    });
    expect(open).toEqual([]);
  });
});
