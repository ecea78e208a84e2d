/** What castellan is told by files stays out of the agent's sight, wherever everybody may read. */
import { mkdirSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';
import { finish, isRoot, MODES, prepare, run, useWorld, writePolicy } from './sandbox.ts';

const world = useWorld();
const POLICY = 'version: 1\nfilesystem_policy: { include_workdir: true, read_only: [], read_write: [] }\n';
const PLACES = ['castellan', 'castellan-secrets', 'openshell', 'openshell-tls'];

/** The world's own /etc, with files as ConfigMaps are mounted: by links to a directory that an update replaces. */
beforeAll(async () => {
  if (!isRoot) return;
  const [upper, work] = [join(world().directory, 'etc'), join(world().directory, 'etc-work')];
  for (const place of [...PLACES, 'elsewhere']) {
    const directory = join(upper, place);
    mkdirSync(join(directory, '..data'), { recursive: true });
    writeFileSync(join(directory, '..data/policy.yaml'), POLICY);
  }
  mkdirSync(work);
  const script = `mount -t overlay none -o lowerdir=/etc,upperdir=${upper},workdir=${work} /etc
for each in ${[...PLACES, 'elsewhere'].join(' ')}; do ln -s ..data/policy.yaml /etc/$each/policy.yaml; done`;
  const { code, stderr } = await finish(world().spawn(['sh', '-ec', script], { stdio: 'pipe' }));
  if (code !== 0) throw new Error(stderr);
});

describe.skipIf(!isRoot).each(MODES)('%s (needs root to make the test world)', (mode) => {
  const READ = 'cat /etc/*/policy.yaml /etc/*/..data/policy.yaml 2>/dev/null';

  it('the usual places are empty, whichever policy is in force', async () => {
    const setup = prepare(world(), mode);
    const script = `ls -A ${PLACES.map((place) => `/etc/${place}`).join(' ')}; ${READ}; head -c 5 /etc/passwd`;
    const policy = writePolicy(setup);
    const { stdout, stderr } = await finish(run(setup, ['sh', '-c', script], { policy }));
    const listed = PLACES.map((place) => `/etc/${place}:\n`).join('\n');
    const open = POLICY.repeat(2);
    expect(stdout, stderr).toBe(`${listed}${open}root:`);
  });

  it('a policy elsewhere reads as empty too, by its link and by its file', async () => {
    const setup = prepare(world(), mode);
    // By one link more.
    const policy = join(setup.directory, 'link.yaml');
    symlinkSync('/etc/elsewhere/policy.yaml', policy);
    const { stdout, stderr } = await finish(
      run(setup, ['sh', '-c', `${READ}; ls /etc/elsewhere`], {
        policy,
        environment: mode === 'root' ? { SANDBOX_UID: '20101', SANDBOX_GID: '20101' } : {},
      }),
    );
    expect(stdout, stderr).toBe('policy.yaml\n');
  });

  it('a policy without a name is nothing to hide', async () => {
    const setup = prepare(world(), mode);
    const path = writePolicy(setup);
    const through = ['sh', '-c', `exec 9<${path}; rm ${path}; exec "$@"`, 'sh'];
    const { stdout, stderr } = await finish(
      run(setup, ['echo', 'runs'], { policy: '/proc/self/fd/9', through }),
    );
    expect(stdout, stderr).toBe('runs\n');
  });

  it('and are nobody’s to grant', async () => {
    const setup = prepare(world(), mode);
    const policy = writePolicy(setup, '', '', ['/etc/castellan/policy.yaml']);
    const { code, stderr } = await finish(run(setup, ['true'], { policy }));
    expect({ code, stderr }).toMatchObject({ code: 104, stderr: expect.stringContaining('castellan’s own') });
  });
});
