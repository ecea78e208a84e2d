/** The bundle in images that its author never saw: what the demo shows has to come out in each. */
import { existsSync, mkdirSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { finish, isRoot, type Result, useWorld } from '../e2e/sandbox.ts';
import { AGENT_UID, type Container, makeContainer } from './container.ts';
import { EVIL_WORD, IMAGES, type Image, MUSL_WORD } from './images.ts';

const world = useWorld();
const container = (image: Image): Container => makeContainer(world(), image);

function run(
  { start, policy }: Container,
  command: readonly string[],
  options: readonly string[] = [],
  more: readonly string[] = [],
): Promise<Result> {
  const own = ['--policy', policy, '--workdir', '/work', '--audit-file', '/run/log/audit.jsonl', '--quiet'];
  return finish(start(['run', ...own, ...options, '--', ...command], more));
}

const ALLOWED = 'http://allowed.demo.test:8080/x';
const FORBIDDEN = 'http://forbidden.demo.test:8080/x';

describe.skipIf(!isRoot).each(IMAGES.map((image) => [image.name, image] as const))(
  '%s (needs root)',
  (_, image) => {
    const { client } = image;

    it('what the policy allows is reached', async () => {
      const { code, stdout, stderr } = await run(container(image), [...client, ALLOWED]);
      expect(stdout, stderr).toBe('GET allowed.demo.test:8080 /x 0\n');
      expect(code).toBe(0);
    });

    it('what it does not allow is refused', async () => {
      const { code, stdout, stderr } = await run(container(image), [...client, FORBIDDEN]);
      expect(stdout).toBe('');
      expect(stderr).toContain('403');
      expect(code).not.toBe(0);
    });

    it('the log is there, and its chain holds', async () => {
      const here = container(image);
      await run(here, [...client, FORBIDDEN]);
      const text = readFileSync(join(here.run, 'log/audit.jsonl'), 'utf8');
      expect(text).toContain('host_not_listed');
      const { code, stdout, stderr } = await finish(here.start(['audit', '/run/log/audit.jsonl']));
      expect(stdout, stderr).toContain('verified');
      expect(code).toBe(0);
    });

    it('nothing but the bundle is needed: the image stays as it is', async () => {
      const here = container(image);
      await run(here, [...client, ALLOWED]);
      const root = join(here.run, '../root');
      for (const left of ['var', 'root', 'home']) expect(existsSync(join(root, left))).toBe(false);
      expect(readdirSync(join(root, 'opt')).filter((name) => name.startsWith('castellan'))).toEqual([]);
    });
  },
);

const WITH_SHELL = IMAGES.flatMap((image) =>
  image.shell === undefined ? [] : [[image.name, image, image.shell] as const],
);
describe.skipIf(!isRoot).each(WITH_SHELL)('%s, which has a shell (needs root)', (_, image, shell) => {
  it('the agent is who it should be, and confined', async () => {
    const script =
      'id -u; grep -E "^(CapEff|NoNewPrivs|Seccomp):" /proc/self/status; touch x && echo wrote; touch /etc/x';
    const words =
      shell[0] === '/bin/busybox' ? script.replaceAll(/\b(id|grep|touch)\b/g, 'busybox $1') : script;
    const { stdout, stderr } = await run(
      container(image),
      [...shell, words],
      ['--env', 'PATH=/bin:/usr/bin'],
    );
    expect(stdout.replaceAll('\t', ' '), stderr).toBe(
      `${AGENT_UID}\nCapEff: 0000000000000000\nNoNewPrivs: 1\nSeccomp: 2\nwrote\n`,
    );
    expect(stderr).toMatch(/\/etc\/x.*(Permission denied|Read-only)/);
  });
});

describe.skipIf(!isRoot)('what an image brings (needs root)', () => {
  it('nothing of a hostile one is loaded', async () => {
    const image = IMAGES.find(({ name }) => name.startsWith('hostile')) as Image;
    const { code, stdout, stderr } = await run(container(image), [...image.client, ALLOWED]);
    expect(stdout, stderr).toContain('GET allowed.demo.test:8080');
    expect(stderr).not.toContain(EVIL_WORD);
    expect(code).toBe(0);
  });

  it('a program of the image runs by the image’s own loader', async () => {
    const image = IMAGES.find(({ name }) => name.includes('musl')) as Image;
    expect((await run(container(image), ['/bin/hello'])).stdout).toBe(`${MUSL_WORD}\n`);
  });
});

describe.skipIf(!isRoot)('containers of other shapes (needs root)', () => {
  const image = IMAGES[0] as Image;
  const request = [...image.client, ALLOWED];
  const answer = 'GET allowed.demo.test:8080 /x 0\n';

  it('a read-only root, where only /run can be written', async () => {
    const here = container(image);
    const { stdout, stderr } = await run(here, request, [], ['--remount-ro', '/']);
    expect(stdout, stderr).toBe(answer);
  });

  it('as a uid that no account has, without root', async () => {
    const uid = 1_000_680_000;
    const own = ['--unshare-user', '--uid', String(uid), '--gid', String(uid)];
    const { stdout, stderr } = await run(container(image), ['/bin/busybox', 'id', '-u'], [], own);
    expect(stderr).toBe('');
    expect(stdout).toBe(`${uid}\n`);
  });

  it('with a /tmp from which nothing can be executed', async () => {
    const here = container(image);
    const temporary = join(here.run, '../tmp');
    mkdirSync(temporary);
    await finish(
      world().spawn(['mount', '-t', 'tmpfs', '-o', 'noexec', 'tmpfs', temporary], { stdio: 'pipe' }),
    );
    const { stdout, stderr } = await run(here, request, [], ['--bind', temporary, '/tmp']);
    expect(stdout, stderr).toBe(answer);
  });

  it('as root without any capability it says what is missing', async () => {
    const { code, stderr } = await run(container(image), request, [], ['--cap-drop', 'ALL']);
    expect(stderr).toContain('CAP_SYS_ADMIN is missing: namespaces');
    expect(code).toBe(112);
  });

  it('without any capability, under the sandbox’s own uid, the process role works alone', async () => {
    const here = container(image);
    const become = [
      '--cap-drop',
      'ALL',
      '--unshare-user',
      '--uid',
      String(AGENT_UID),
      '--gid',
      String(AGENT_UID),
    ];
    const { code, stdout, stderr } = await run(
      here,
      ['/bin/busybox', 'id', '-u'],
      ['--roles', 'process'],
      become,
    );
    expect(stdout, stderr).toBe(`${AGENT_UID}\n`);
    expect(code).toBe(0);
  });
});
