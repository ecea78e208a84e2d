import { mkdirSync, mkdtempSync, renameSync, rmSync, symlinkSync, unlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { describe, expect, test } from 'vitest';
import type { AuditFact } from '../../../src/audit/event.ts';
import type { ReloadConfig, RunConfig } from '../../../src/config/config.ts';
import type { NetworkRule } from '../../../src/policy/document.ts';
import { parsePolicy } from '../../../src/policy/parse.ts';
import { openPolicyReload, type PolicyReload, type PolicyReloadOptions } from '../../../src/start/reload.ts';
import { makeCertificate } from '../../flow/egress-world.ts';

const policy = (...hosts: string[]) =>
  `version: 1\nnetwork_policies:\n${hosts
    .map(
      (host) =>
        `  ${host}: {endpoints: [{host: ${host}.test, port: 443}], binaries: [{path: /usr/bin/curl}]}\n`,
    )
    .join('')}`;

interface World extends Disposable {
  readonly path: string;
  readonly reload: PolicyReload;
  /** What the network role was given, by the hosts of its rules. */
  readonly given: string[][];
  /** The next fact. */
  next(): Promise<AuditFact>;
}

async function world(
  reload: Partial<ReloadConfig> = {},
  options: Partial<Pick<PolicyReloadOptions, 'granted'>> & { path?: (directory: string) => string } = {},
): Promise<World> {
  const directory = mkdtempSync(join(tmpdir(), 'castellan-reload-'));
  const path = options.path?.(directory) ?? join(directory, 'policy.yaml');
  if (options.path === undefined) writeFileSync(path, policy('a'));
  const given: string[][] = [];
  const facts: AuditFact[] = [];
  let wake = (): void => {};
  const opened = await openPolicyReload({
    config: { policyPath: path, reload: { when: 'signal', invalid: 'keep', ...reload } } as RunConfig,
    policy: parsePolicy(policy('a'), path),
    granted:
      options.granted?.map((grant) => ({ ...grant, path: grant.path.replace('DIR', directory) })) ?? [],
    network: {
      async replacePolicy(rules: readonly NetworkRule[]) {
        given.push(rules.map(({ name }) => name));
        return given.length;
      },
    },
    report(fact) {
      facts.push(fact);
      wake();
    },
  }).catch((error: unknown) => {
    rmSync(directory, { recursive: true });
    throw error;
  });
  if (opened === undefined) throw new Error('it was asked for');
  return {
    path,
    reload: opened,
    given,
    async next() {
      while (facts.length === 0)
        await new Promise<void>((resolve) => {
          wake = resolve;
        });
      return facts.shift() as AuditFact;
    },
    [Symbol.dispose]() {
      opened[Symbol.dispose]();
      rmSync(directory, { recursive: true });
    },
  };
}

describe('at a signal', () => {
  test('another policy is put in force, and told', async () => {
    using it = await world();
    writeFileSync(it.path, policy('a', 'b'));
    it.reload.request();
    expect(await it.next()).toMatchObject({ kind: 'policy-loaded', rules: 2, closed: 1 });
    expect(it.given).toEqual([['a', 'b']]);
  });

  test('the same policy is not, and several requests are one', async () => {
    using it = await world();
    it.reload.request();
    writeFileSync(it.path, policy('b'));
    for (let round = 0; round < 5; round++) it.reload.request();
    await it.next();
    writeFileSync(it.path, policy('c'));
    it.reload.request();
    await it.next();
    expect(it.given).toEqual([['b'], ['c']]);
  });

  test.each([
    ['is broken', 'version: 1\nnetwork_polices: {}\n', /unknown key.*network_polices/],
    ['is empty', '', /is empty/],
    ['is ambiguous in its language', 'version: 2\n', /version/],
    [
      'changes what the file system is',
      'version: 1\nfilesystem_policy: {read_only: [/srv]}\n',
      /filesystem_policy/,
    ],
    ['changes Landlock', 'version: 1\nlandlock: {compatibility: hard_requirement}\n', /landlock/],
    ['changes who runs', 'version: 1\nprocess: {run_as_user: "4711"}\n', /process/],
    ['changes seccomp', 'version: 1\nseccomp: {relax: [trace]}\n', /seccomp/],
  ])('one that %s leaves the last in force', async (_what, text, reason) => {
    using it = await world();
    writeFileSync(it.path, text);
    it.reload.request();
    expect(await it.next()).toMatchObject({
      kind: 'policy-rejected',
      effect: 'kept',
      reason: expect.stringMatching(reason),
    });
    expect(it.given).toEqual([]);
  });

  test('one that is gone is told, and the old one can come back', async () => {
    using it = await world({ invalid: 'deny' });
    unlinkSync(it.path);
    it.reload.request();
    expect(await it.next()).toMatchObject({ kind: 'policy-rejected', effect: 'denied' });
    expect(it.given).toEqual([[]]);
    writeFileSync(it.path, policy('a'));
    it.reload.request();
    expect(await it.next()).toMatchObject({ kind: 'policy-loaded', rules: 1 });
    expect(it.given).toEqual([[], ['a']]);
  });
});

describe('a certificate that the policy names', () => {
  const pinned = (path: string) =>
    `${policy('a')}  pinned: {endpoints: [{host: p.test, port: 443, protocol: rest, access: full, tls_authority: ${path}}], binaries: [{path: /usr/bin/curl}]}\n`;

  test('is read again, though the text of the policy is the same', async () => {
    using it = await world();
    using one = makeCertificate('one');
    using other = makeCertificate('other');
    const path = join(dirname(it.path), 'ca.pem');
    writeFileSync(path, one.cert);
    writeFileSync(it.path, pinned(path));
    it.reload.request();
    expect(await it.next()).toMatchObject({ kind: 'policy-loaded', rules: 2 });
    it.reload.request();
    writeFileSync(path, other.cert);
    it.reload.request();
    expect(await it.next()).toMatchObject({ kind: 'policy-loaded', rules: 2 });
    unlinkSync(path);
    it.reload.request();
    expect(await it.next()).toMatchObject({
      kind: 'policy-rejected',
      reason: expect.stringContaining('ENOENT'),
    });
    expect(it.given).toHaveLength(2);
  });

  test('may not be the agent’s', async () => {
    using it = await world({}, { granted: [{ path: 'DIR/work', access: 'write' }] });
    using one = makeCertificate('one');
    const path = join(dirname(it.path), 'work', 'ca.pem');
    mkdirSync(dirname(path));
    writeFileSync(path, one.cert);
    writeFileSync(it.path, pinned(path));
    it.reload.request();
    expect(await it.next()).toMatchObject({
      kind: 'policy-rejected',
      reason: expect.stringContaining('tls_authority'),
    });
  });
});

describe('when the file changes', () => {
  test('by being replaced, as editors do', async () => {
    using it = await world({ when: 'watch' });
    writeFileSync(`${it.path}.new`, policy('b'));
    renameSync(`${it.path}.new`, it.path);
    expect(await it.next()).toMatchObject({ kind: 'policy-loaded' });
    expect(it.given).toEqual([['b']]);
  });

  test('by its directory being exchanged, as volumes of a pod are', async () => {
    const volume = (directory: string, name: string, text: string) => {
      mkdirSync(join(directory, name));
      writeFileSync(join(directory, name, 'policy.yaml'), text);
    };
    using it = await world(
      { when: 'watch' },
      {
        path(directory) {
          volume(directory, '..1', policy('a'));
          symlinkSync('..1', join(directory, '..data'));
          symlinkSync('..data/policy.yaml', join(directory, 'policy.yaml'));
          return join(directory, 'policy.yaml');
        },
      },
    );
    const directory = dirname(it.path);
    volume(directory, '..2', policy('b'));
    symlinkSync('..2', join(directory, '..data_tmp'));
    renameSync(join(directory, '..data_tmp'), join(directory, '..data'));
    expect(await it.next()).toMatchObject({ kind: 'policy-loaded' });
    expect(it.given).toEqual([['b']]);
  });
});

describe('a policy that the agent may write', () => {
  test.each([
    ['itself', 'DIR/policy.yaml'],
    ['its directory', 'DIR'],
    ['a directory above', tmpdir()],
  ])('%s ends the start', async (_what, path) => {
    await expect(world({}, { granted: [{ path, access: 'write' }] })).rejects.toMatchObject({
      code: 'filesystem_refused',
    });
  });

  test('is no longer read when its name comes to lead there', async () => {
    using it = await world({}, { granted: [{ path: 'DIR/work', access: 'write' }] });
    const work = join(dirname(it.path), 'work');
    mkdirSync(work);
    writeFileSync(join(work, 'evil.yaml'), policy('evil'));
    unlinkSync(it.path);
    symlinkSync(join(work, 'evil.yaml'), it.path);
    it.reload.request();
    expect(await it.next()).toMatchObject({
      kind: 'policy-rejected',
      reason: expect.stringContaining('may write'),
    });
    expect(it.given).toEqual([]);
  });

  test('may be read by it', async () => {
    using it = await world({}, { granted: [{ path: 'DIR', access: 'read' }] });
    expect(it.given).toEqual([]);
  });
});
