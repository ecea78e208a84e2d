import { chmodSync, existsSync, mkdirSync, readdirSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import {
  CALLER_UID,
  castellan,
  finish,
  isRoot,
  MODES,
  type Mode,
  prepare,
  type RunOptions,
  run,
  type Setup,
  untilPrinted,
  useWorld,
  writePolicy,
} from './sandbox.ts';

const sharedWorld = useWorld();

interface Case {
  readonly code: number;
  readonly says: RegExp;
  readonly command?: (setup: Setup) => string[];
  readonly policy?: (setup: Setup) => string;
  readonly options?: RunOptions['options'];
  readonly auditPath?: string;
}

const policyText = (text: string) => (setup: Setup) => {
  const path = join(setup.directory, 'bad.yaml');
  writeFileSync(path, text);
  return path;
};

const CASES: readonly [string, Case][] = [
  [
    'an unknown flag',
    { code: 100, says: /unknown option "--polcy".*did you mean "--policy"/, options: ['--polcy', 'x'] },
  ],
  ['a missing command', { code: 100, says: /a command is missing/, command: () => [] }],
  [
    'a policy that is not there',
    { code: 101, says: /cannot be read.*ENOENT/, policy: () => '/nonexistent/policy.yaml' },
  ],
  [
    'a policy that is a directory',
    { code: 101, says: /not a regular file/, policy: ({ directory }) => directory },
  ],
  [
    'a misspelt key, with its place',
    {
      code: 102,
      says: /bad\.yaml:3:3.*"read_olny".*did you mean "read_only"/,
      policy: policyText('version: 1\nfilesystem_policy:\n  read_olny: [/usr]\n'),
    },
  ],
  [
    'YAML that is not YAML',
    { code: 102, says: /bad\.yaml:\d+:\d+/, policy: policyText('version: 1\n  x: [\n') },
  ],
  [
    'credentials where TLS stays closed',
    {
      code: 102,
      says: /leaves no place for credentials/,
      policy: policyText(
        'version: 1\nnetwork_policies: { a: { endpoints: [{ host: a.example.org, port: 443, tls: skip, credential_binding: { provider: x } }], binaries: [{ path: /usr/bin/curl }] } }\n',
      ),
    },
  ],
  [
    'a uid out of range',
    {
      code: 102,
      says: /run_as_user/,
      policy: policyText('version: 1\nprocess: { run_as_user: "4294967295" }\n'),
    },
  ],
  [
    'root',
    { code: 102, says: /run_as_user/, policy: policyText('version: 1\nprocess: { run_as_user: "0" }\n') },
  ],
  [
    'a command that is not there',
    { code: 127, says: /no-such-command cannot be run: ENOENT/, command: () => ['no-such-command'] },
  ],
  ['a command that may not be executed', { code: 126, says: /EACCES/, command: () => ['/etc/passwd'] }],
  [
    'a system directory as writable',
    {
      code: 104,
      says: /\/etc is a system directory/,
      policy: policyText(
        'version: 1\nprocess: { run_as_user: "20101" }\nfilesystem_policy: { read_write: [/etc] }\n',
      ),
    },
  ],
  [
    'castellan’s own program as writable',
    {
      code: 104,
      says: /castellan’s own/,
      policy: policyText(
        `version: 1\nprocess: { run_as_user: "20101" }\nfilesystem_policy: { read_write: [${join(import.meta.dirname, '../../src')}] }\n`,
      ),
    },
  ],
  [
    'a writable path through a symbolic link',
    {
      code: 104,
      says: /symbolic link.*ELOOP/,
      policy: (setup) => {
        symlinkSync('/etc', join(setup.directory, 'link'));
        return policyText(
          `version: 1\nprocess: { run_as_user: "20101" }\nfilesystem_policy: { read_write: [${setup.directory}/link/x] }\n`,
        )(setup);
      },
    },
  ],
  ['an audit file in a place others can read', { code: 110, says: /audit log/, auditPath: '/dev/null' }],
  ['a name that is no name', { code: 100, says: /--name/, options: ['--name', '../up'] }],
];

describe.skipIf(!isRoot).each(MODES)(
  'castellan run refuses, %s (needs root to make the test world)',
  (mode) => {
    it.each(CASES)('%s', async (_, { code, says, command, policy, options, auditPath }) => {
      const prepared = prepare(sharedWorld(), mode);
      const setup = { ...prepared, auditPath: auditPath ?? prepared.auditPath };
      const result = await finish(
        run(setup, command?.(setup) ?? ['true'], {
          policy: policy?.(setup) ?? writePolicy(setup),
          options: ['--quiet', ...(options ?? [])],
        }),
      );
      expect(result.stderr).toMatch(says);
      // One line, whatever the reason.
      expect(result.stderr.trimEnd().split('\n')).toHaveLength(1);
      expect(result.code).toBe(code);
      expect(result.stdout).toBe('');
      // Nothing half-started.
      const base = mode === 'root' ? '/run/castellan' : join(setup.directory, 'rt/castellan');
      if (mode === 'rootless' && existsSync(base)) expect(readdirSync(base)).toEqual([]);
    });

    it('a second sandbox of the same name', async () => {
      const setup = prepare(sharedWorld(), mode);
      const name = `twice-${process.pid}`;
      const policy = writePolicy(setup);
      const first = run(setup, ['sh', '-c', 'echo up; read -r _'], {
        policy,
        name,
        stdin: 'pipe',
        options: ['--quiet'],
      });
      await untilPrinted(first, 'up');
      const second = await finish(
        run({ ...setup, auditPath: `${setup.auditPath}2` }, ['true'], { policy, name, options: ['--quiet'] }),
      );
      expect(second.code).toBe(109);
      expect(second.stderr).toMatch(/running already/);
      first.stdin?.end('\n');
      expect((await finish(first)).code).toBe(0);
    });

    it('hard_requirement holds where the kernel has Landlock', async () => {
      const setup = prepare(sharedWorld(), mode);
      const result = await finish(
        run(setup, ['true'], {
          policy: writePolicy(setup, '', 'landlock: { compatibility: hard_requirement }\n'),
        }),
      );
      expect(result.code, result.stderr).toBe(0);
    });

    it('ssh without a sandbox', async () => {
      const result = await finish(
        castellan(prepare(sharedWorld(), mode), ['ssh', '--sandbox', 'not-there', '--', 'true']),
      );
      expect(result.code).toBe(111);
      expect(result.stderr).toMatch(/no sandbox named not-there is running/);
    });

    it('a group of unwritable files stays refused even when their modes would allow', async () => {
      const setup = prepare(sharedWorld(), mode);
      const open = join(setup.directory, 'open');
      mkdirSync(open);
      chmodSync(open, 0o777);
      const result = await finish(
        run(setup, ['sh', '-c', `echo x > ${open}/file; ls ${open}`], {
          policy: writePolicy(setup),
          options: ['--quiet'],
        }),
      );
      expect(result.stderr).toMatch(/Permission denied/);
      expect(readdirSync(open)).toEqual([]);
    });
  },
);

describe.skipIf(!isRoot)(
  'castellan run refuses where nothing gives the right to namespaces (needs root)',
  () => {
    const limit = 'echo 0 > /proc/sys/user/max_user_namespaces && exec "$@"';
    const ownNamespace = [
      'unshare',
      '--user',
      `--map-user=${CALLER_UID}`,
      `--map-group=${CALLER_UID}`,
      '--keep-caps',
    ];
    const dropped = ['setpriv', '--ambient-caps=-all', '--inh-caps=-all'];
    const runTrue = (mode: Mode, through: readonly string[]) => {
      const setup = prepare(sharedWorld(), mode);
      return finish(run(setup, ['true'], { policy: writePolicy(setup), options: ['--quiet'], through }));
    };

    it('an ordinary user without user namespaces', async () => {
      const { code, stderr } = await runTrue('rootless', [
        ...ownNamespace,
        'sh',
        '-c',
        limit,
        'sh',
        ...dropped,
      ]);
      expect(stderr).toMatch(
        /^castellan: neither root nor user namespaces are available here \[privilege_missing, namespace\/user-namespace: ENOSPC\]; /,
      );
      expect(code).toBe(112);
    });

    it('root without CAP_SYS_ADMIN', async () => {
      const { code, stderr } = await runTrue('root', ['setpriv', '--bounding-set=-sys_admin']);
      expect(stderr).toMatch(/CAP_SYS_ADMIN is missing/);
      expect(code).toBe(112);
    });
  },
);

describe.skipIf(!isRoot)('castellan as PID 1 (needs root)', () => {
  it('reaps orphans and passes the exit code through', async () => {
    const setup = prepare(sharedWorld(), 'root');
    const script = '(setsid sleep 0.1 &); sleep 0.4; ps -e -o stat= | grep -c Z; exit 3';
    const child = run(setup, ['sh', '-c', script], {
      policy: writePolicy(setup),
      options: ['--quiet'],
      through: ['unshare', '--pid', '--fork', '--mount-proc', '--kill-child'],
    });
    expect(await finish(child)).toMatchObject({ code: 3, stdout: '0\n' });
  });
});
