import { chownSync, readdirSync, readFileSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { CASTELLAN } from '../fakes/world.ts';
import {
  ALL_MODES,
  auditEvents,
  CALLER_UID,
  castellan,
  finish,
  isRoot,
  type Mode,
  prepare,
  run,
  type Setup,
  untilPrinted,
  useWorld,
  writePolicy,
} from './sandbox.ts';

const world = useWorld();
const NOBODY_KNOWS = 1_000_680_000;

/** Processes whose command line holds `word`. */
function processesWith(word: string): string[] {
  return readdirSync('/proc').filter((pid) => {
    try {
      return /^\d+$/.test(pid) && readFileSync(`/proc/${pid}/cmdline`, 'utf8').includes(word);
    } catch {
      return false;
    }
  });
}

function looks(
  setup: Setup,
  verb: readonly string[],
  command: readonly string[],
  policy = writePolicy(setup),
) {
  const roles = setup.mode === 'process-only' ? ['--roles', 'process'] : [];
  const words = [
    ...verb,
    '--policy',
    policy,
    '--workdir',
    setup.work,
    '--audit-file',
    setup.auditPath,
    ...roles,
  ];
  return finish(castellan(setup, [...words, '--', ...command]));
}

describe.skipIf(!isRoot).each(ALL_MODES)('the cell, %s (needs root to make the test world)', (mode) => {
  it('a sidecar, which confines no command, is not validated', async () => {
    const setup = prepare(world(), mode);
    const { code, stderr } = await finish(castellan(setup, ['validate', '--roles', 'network']));
    expect(stderr).toContain('validate looks at what confines a command');
    expect(code).toBe(100);
  });

  it('is validated without running anything', async () => {
    const setup = prepare(world(), mode);
    const marker = join(setup.work, 'ran');
    const { code, stdout } = await looks(setup, ['validate', '--json'], ['touch', marker]);
    expect(code, stdout).toBe(0);
    const validation = JSON.parse(stdout);
    expect(validation).toMatchObject({ ok: true, exitCode: 0 });
    expect(validation.checks.map(({ name }: { name: string }) => name)).toEqual([
      'run-directory',
      'policy',
      'cgroup',
      'identity',
      'filesystem',
      'ownership',
      'namespace',
      'launch',
    ]);
    expect(readdirSync(setup.work)).toEqual([]);
  });

  it.each([
    ['a command that is not there', 'shx', 127, 'launch/execute'],
    ['a command that may not be read', '/root/x', 126, 'launch/execute'],
  ])('says what stands in the way: %s', async (_, command, code, step) => {
    const setup = prepare(world(), mode);
    const result = await looks(setup, ['validate', '--json'], [command]);
    expect(result.code, result.stdout).toBe(code);
    expect(JSON.parse(result.stdout).checks.at(-1)).toMatchObject({
      ok: false,
      error: { exitCode: code, step },
    });
  });

  it('is explained as it would be applied, without secrets', async () => {
    const setup = prepare(world(), mode);
    const { code, stdout, stderr } = await looks(
      setup,
      ['run', '--explain', '--env', 'TOKEN=hunter2'],
      ['id'],
    );
    expect(code, stderr).toBe(0);
    expect(stdout).not.toContain('hunter2');
    const spec = JSON.parse(stdout);
    expect(spec.environment).toContain('TOKEN=<set>');
    expect(spec.namespaces.network).toBe(mode === 'process-only' ? 'shared' : 'sealed');
    const refused = spec.refusedSystemCalls.map(({ call }: { call: string }) => call);
    expect(refused).toEqual(expect.arrayContaining(['mount', 'ptrace', 'bpf']));
    const writable = spec.landlock.paths.filter(({ rights }: { rights: string[] }) =>
      rights.includes('MAKE_REG'),
    );
    expect(writable.map(({ path }: { path: string }) => path).sort()).toEqual(['/dev/pts', setup.work]);
  });

  if (mode === 'root')
    it('runs where the mount of the cgroups lies under another', async () => {
      const setup = prepare(world(), mode);
      const through = ['unshare', '-m', 'sh', '-c', 'mount -t tmpfs none /sys/fs/cgroup && exec "$@"', 'sh'];
      const { code, stderr } = await finish(run(setup, ['true'], { policy: writePolicy(setup), through }));
      expect(code, stderr).toBe(0);
    });

  it('gives the command what was opened for castellan, not what Node raised it to', async () => {
    const setup = prepare(world(), mode);
    const { stdout, stderr } = await finish(
      run(setup, ['sh', '-c', 'ulimit -Sn; ulimit -c; umask'], {
        policy: writePolicy(setup),
        through: ['prlimit', '--nofile=777:888'],
      }),
    );
    expect(stdout, stderr).toBe('777\n0\n0022\n');
  });

  it('bounds each process as asked', async () => {
    const setup = prepare(world(), mode);
    const { stdout, stderr } = await finish(
      run(setup, ['sh', '-c', 'ulimit -n; head -c 5000 /dev/zero > big; echo $?; stat -c %s big'], {
        policy: writePolicy(setup),
        options: ['--limit', 'nofile=99', '--limit', 'fsize=4K'],
      }),
    );
    expect(stdout, stderr).toMatch(/^99\n\d+\n4096\n$/);
  });

  it('refuses a working directory behind a link', async () => {
    const setup = prepare(world(), mode);
    const link = join(setup.directory, 'link');
    symlinkSync(setup.work, link);
    const policy = writePolicy(setup);
    writeFileSync(
      policy,
      readFileSync(policy, 'utf8').replace('include_workdir: true', 'include_workdir: false'),
    );
    const child = castellan(setup, [
      ...['run', '--policy', policy, '--workdir', link, '--audit-file', setup.auditPath],
      ...(mode === 'process-only' ? ['--roles', 'process'] : []),
      ...['--', 'id'],
    ]);
    const { code, stderr } = await finish(child);
    expect(code).toBe(107);
    expect(stderr).toContain('launch/directory: ELOOP');
  });

  it('ends daemons that forked away, and those that go on forking', async () => {
    const setup = prepare(world(), mode);
    const word = `bomb-${mode}-${process.pid}`;
    // Each generation leaves its session and ends its parent: nothing that looks first and kills then catches up with it.
    const bomb = `import os,sys,signal
signal.signal(signal.SIGTERM, signal.SIG_IGN)
os.setsid() if os.fork()==0 else os._exit(0)
sys.stdout.write('go\\n'); sys.stdout.flush()
while True:
    if os.fork(): os._exit(0)
    os.setsid()
`;
    writeFileSync(join(setup.work, 'bomb.py'), bomb);
    const script = `python3 bomb.py ${word} & python3 bomb.py ${word} & read line; exit 7`;
    const child = run(setup, ['sh', '-c', script], {
      policy: writePolicy(setup),
      options: ['--grace', '1'],
      stdin: 'pipe',
    });
    await untilPrinted(child, 'go');
    child.stdin?.end('\n');
    const { code, stderr } = await finish(child);
    expect(code, stderr).toBe(7);
    expect(processesWith(word)).toEqual([]);
    expect(auditEvents(setup).at(-1)?.type_uid).toBe(100807);
  });
});

describe.skipIf(!isRoot)('identity from the platform (needs root to make the test world)', () => {
  const asNumbers = (uid: number, gid = uid) => ({ SANDBOX_UID: String(uid), SANDBOX_GID: String(gid) });
  const unnamed = (setup: Setup) => {
    const policy = writePolicy(setup);
    writeFileSync(policy, readFileSync(policy, 'utf8').replace(/^process:.*\n/m, ''));
    return policy;
  };

  it('has a name everywhere that programs ask', async () => {
    const setup = prepare(world(), 'root');
    chownSync(setup.work, NOBODY_KNOWS, NOBODY_KNOWS);
    const script = `whoami; id -gn; python3 -c 'import pwd,os;print(pwd.getpwuid(os.getuid()).pw_dir)'
      git init -q r && cd r && git -c user.email=a@b commit -q --allow-empty -m x && git log --format=%an
      ssh -G host | grep '^user '; echo $USER`;
    const before = readFileSync('/etc/passwd', 'utf8');
    const { stdout, stderr } = await finish(
      run(setup, ['sh', '-c', `HOME=$PWD; ${script}`], {
        policy: unnamed(setup),
        environment: asNumbers(NOBODY_KNOWS),
      }),
    );
    const name = String(NOBODY_KNOWS);
    expect(stdout, stderr).toBe(`${name}\n${name}\n${setup.work}\nsandbox\nuser ${name}\n${name}\n`);
    expect(readFileSync('/etc/passwd', 'utf8')).toBe(before);
  });

  it.each<[string, Mode, NodeJS.ProcessEnv, RegExp]>([
    ['half a pair', 'root', { SANDBOX_UID: '2000' }, /without SANDBOX_GID/],
    ['root', 'root', asNumbers(0), /outside 1 to/],
    ['two kinds', 'root', { ...asNumbers(2000), OPENSHELL_OCI_IMAGE_USER: 'x' }, /both say/],
    ['another than castellan’s own', 'rootless', asNumbers(2000), /platform wants 2000:2000/],
    ['another than castellan’s own', 'process-only', asNumbers(2000), /platform wants 2000:2000/],
  ])('refuses %s, %s', async (_, mode, environment, message) => {
    const setup = prepare(world(), mode);
    const { code, stderr } = await finish(run(setup, ['id'], { policy: unnamed(setup), environment }));
    expect(code).toBe(103);
    expect(stderr).toMatch(message);
  });

  it('is the caller’s own without root', async () => {
    const setup = prepare(world(), 'process-only');
    const { stdout, stderr } = await finish(
      run(setup, ['id', '-u'], { policy: unnamed(setup), environment: asNumbers(CALLER_UID) }),
    );
    expect(stdout, stderr).toBe(`${CALLER_UID}\n`);
  });
});

describe.skipIf(!isRoot)('the process role alone (needs root to make the test world)', () => {
  it('is refused as root', async () => {
    const setup = prepare(world(), 'root');
    const { code, stderr } = await finish(
      run(setup, ['id'], { policy: writePolicy(setup), options: ['--roles', 'process'] }),
    );
    expect(code).toBe(100);
    expect(stderr).toContain('not as root');
  });

  it('refuses a policy that would show castellan’s own places', async () => {
    const setup = prepare(world(), 'process-only');
    const policy = writePolicy(setup, '', '', [join(setup.directory, 'rt')]);
    const { code, stderr } = await finish(run(setup, ['id'], { policy }));
    expect(code).toBe(104);
    expect(stderr).toContain('castellan’s own');
  });

  it('runs with root’s group, as platforms with arbitrary uids start it', async () => {
    const setup = prepare(world(), 'process-only');
    const child = setup.world.spawn(
      [
        ...[
          'setpriv',
          `--reuid=${CALLER_UID}`,
          '--regid=0',
          '--clear-groups',
          CASTELLAN,
          'run',
          '--roles',
          'process',
        ],
        ...[
          '--policy',
          writePolicy(setup),
          '--workdir',
          setup.work,
          '--audit-file',
          setup.auditPath,
          '--',
          'id',
          '-g',
        ],
      ],
      { stdio: ['ignore', 'pipe', 'pipe'], env: setup.environment },
    );
    const { code, stdout, stderr } = await finish(child);
    expect(stdout, stderr).toBe('0\n');
    expect(code).toBe(0);
  });

  it('tells that it does not fence the network', async () => {
    const setup = prepare(world(), 'process-only');
    await finish(run(setup, ['true'], { policy: writePolicy(setup) }));
    expect(auditEvents(setup).some(({ message }) => message.includes('sealed-namespace is degraded'))).toBe(
      true,
    );
  });
});

describe.skipIf(!isRoot)(
  'the workspace becomes the sandbox user’s (needs root to make the test world)',
  () => {
    const numbers = { SANDBOX_UID: String(NOBODY_KNOWS), SANDBOX_GID: String(NOBODY_KNOWS) };
    const tenant = 20_401;
    const workspace = (...owners: number[]) => {
      const setup = prepare(world(), 'root');
      const policy = writePolicy(setup);
      writeFileSync(policy, readFileSync(policy, 'utf8').replace(/^process:.*\n/m, ''));
      const paths = owners.map((owner, index) => {
        const path = join(setup.work, `f${index}`);
        writeFileSync(path, 'x');
        chownSync(path, owner, owner);
        return path;
      });
      chownSync(setup.work, tenant, tenant);
      return { setup, policy, paths };
    };
    const script = [
      'sh',
      '-c',
      'for f in f*; do echo y >> $f || exit 1; done; touch new; stat -c %u f0 new; ls -ln / | head -1 >/dev/null',
    ];

    it.each([
      ['by changing owners', ['--ownership', 'chown'], [tenant, 20_402, 0], NOBODY_KNOWS],
      ['by mapping ids', ['--ownership', 'idmap'], [tenant, tenant], tenant],
      ['by mapping, where all is one other user’s', [], [tenant, tenant], tenant],
      ['by changing, where it is not', [], [tenant, 20_402], NOBODY_KNOWS],
    ])('%s', async (_, options, owners, onDisk) => {
      const { setup, policy, paths } = workspace(...owners);
      const { code, stdout, stderr } = await finish(
        run(setup, script, { policy, options, environment: numbers }),
      );
      expect(code, stderr).toBe(0);
      expect(stdout).toBe(`${NOBODY_KNOWS}\n${NOBODY_KNOWS}\n`);
      expect(paths.map((path) => statSync(path).uid)).toEqual(owners.map(() => onDisk));
      expect(statSync(join(setup.work, 'new')).uid).toBe(onDisk);
      expect(auditEvents(setup).some(({ unmapped }) => unmapped?.['setting'] === 'ownership')).toBe(true);
    });

    it('and without being asked stays whose it is', async () => {
      const { setup, policy, paths } = workspace(tenant);
      await finish(run(setup, ['true'], { policy, options: ['--ownership', 'none'], environment: numbers }));
      expect(paths.map((path) => statSync(path).uid)).toEqual([tenant]);
    });
  },
);

describe.skipIf(!isRoot)('the cell of a machine with a twist (needs root)', () => {
  it('is made where the mount of the cgroups lies under another', async () => {
    const setup = prepare(world(), 'root');
    const through = ['unshare', '-m', 'sh', '-c', 'mount -t tmpfs none /sys/fs/cgroup && exec "$@"', 'sh'];
    const { code, stderr } = await finish(run(setup, ['true'], { policy: writePolicy(setup), through }));
    expect(code, stderr).toBe(0);
  });
});
