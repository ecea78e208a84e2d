/** The network role from its early launch to its end, and what goes wrong on the way, with the real launcher and namespace. */
import { readdirSync, readlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { type RunConfig, readRunConfig } from '../../src/config/config.ts';
import { type InstallPaths, installPaths } from '../../src/config/install.ts';
import type { Surroundings } from '../../src/config/surroundings.ts';
import type { NetworkEntrance } from '../../src/kernel/network-entrance.ts';
import { posix } from '../../src/kernel/posix.ts';
import { createIdentifier } from '../../src/kernel/procfs.ts';
import { createSealedNamespace, type SealedNamespace } from '../../src/kernel/sealed-namespace.ts';
import { createLauncher } from '../../src/launch/launch.ts';
import { parsePolicy } from '../../src/policy/parse.ts';
import { followBinaryLinks, serveNetwork } from '../../src/start/network.ts';
import { type LaunchedRole, launchNetworkRole } from '../../src/start/role-launch.ts';
import { isRoot, LAUNCHER, makeCell, type TestCell } from '../fakes/cell.ts';
import { REPOSITORY } from '../fakes/world.ts';

/** Far below any deadline of the roles: who waits for one is seen. */
const AT_ONCE_MS = 3000;

const policy = parsePolicy('version: 1\n', 'p');
const secrets = { descriptors: {}, [Symbol.dispose]() {} };
const surroundings: Surroundings = {
  uid: 0,
  gid: 0,
  groups: [],
  pid: process.pid,
  parentPid: process.ppid,
  initPid: undefined,
  workingDirectory: '/',
  environment: {},
  installRoot: REPOSITORY,
  node: process.execPath,
  stdinIsTerminal: false,
  stdoutIsTerminal: false,
  stderrIsTerminal: false,
};
const install = installPaths(surroundings);

describe.skipIf(!isRoot)('the network role, launched early (as root)', () => {
  let cell: TestCell;
  let config: RunConfig;
  let open: string[];

  beforeEach(() => {
    cell = makeCell();
    const options = new Map([['name', ['early']]]);
    const read = readRunConfig({ options, operands: ['true'] }, surroundings, false, new Date());
    config = { ...read, runBase: cell.directory };
    open = descriptors();
  });
  afterEach(async () => {
    await expect.poll(descriptors).toEqual(open);
    expect(readdirSync(cell.directory)).not.toContain('.code-early');
    expect(readdirSync(join(cell.runDirectory, 'launch'))).toEqual([]);
    cell[Symbol.dispose]();
  });

  function descriptors(): string[] {
    return readdirSync('/proc/self/fd').filter((fd) => {
      try {
        return !readlinkSync(`/proc/self/fd/${fd}`).startsWith('/proc/');
      } catch {
        return false;
      }
    });
  }

  const launch = (change: Partial<InstallPaths> = {}): Promise<LaunchedRole> =>
    launchNetworkRole({
      config,
      install: { ...install, ...change },
      policy,
      changesUid: config.mode === 'root',
      landlockAbi: posix().landlockAbi(),
      launcher: createLauncher({
        launcherPath: change.launcher ?? LAUNCHER,
        runDirectory: cell.runDirectory,
        report: cell.report,
      }),
      report: cell.report,
    });
  const makeNamespace = (): Promise<SealedNamespace> =>
    createSealedNamespace({
      userNamespace: false,
      helper: install.netnsHelper,
      ip: '/usr/sbin/ip',
      nft: '/usr/sbin/nft',
    });
  const serve = (role: LaunchedRole, entrance: NetworkEntrance) =>
    serveNetwork(role, {
      config,
      entrance,
      policy,
      secrets,
      changesUid: config.mode === 'root',
      identify: createIdentifier({
        diag: entrance.diag,
        inode: entrance.inode,
        supervisorPid: process.pid,
      }),
      resolveRules: followBinaryLinks,
      report: cell.report,
    });

  /** A program in the place of the role, which gets the role's arguments and descriptors. */
  function program(script: string): Partial<InstallPaths> {
    const node = join(cell.directory, 'program');
    writeFileSync(node, `#!/bin/sh\n${script}\n`, { mode: 0o755 });
    return { node, root: '/' };
  }

  const hasEnded = (pid: number): boolean => {
    try {
      process.kill(pid, 0);
      return false;
    } catch {
      return true;
    }
  };

  async function quickly(work: () => PromiseLike<unknown>): Promise<void> {
    const began = performance.now();
    await work();
    expect(performance.now() - began).toBeLessThan(AT_ONCE_MS);
  }

  it('boots while the namespace is made, serves what it is handed, and drains at the end', async () => {
    const role = await launch();
    using namespace = await makeNamespace();
    const network = await serve(role, namespace);
    expect((await role.running).pid).toBe(network.pid);
    const held = readdirSync(`/proc/${network.pid}/fd`).map((fd) => {
      const target = readlinkSync(`/proc/${network.pid}/fd/${fd}`);
      return `${fd} ${target}`;
    });
    expect(() => role.handOver([0])).toThrow('already');
    // The wire is there still, the way of the handover is not; Node reuses its number.
    expect(held.filter((one) => one.includes('socket:')).length).toBeGreaterThanOrEqual(6);
    expect(() => posix().peerCredentials(namespace.listeners.nflog as number)).toThrow('EBADF');
    await network[Symbol.asyncDispose]();
    expect(await (await role.running).exited).toEqual({ exitCode: 0, signal: undefined });
    await quickly(() => role[Symbol.asyncDispose]());
  });

  it('ends at once when the start is given up while it is launched', async () => {
    const role = await launch();
    await quickly(() => role[Symbol.asyncDispose]());
    const pid = await role.running.then(
      ({ pid }) => pid,
      () => undefined,
    );
    expect(pid === undefined || hasEnded(pid)).toBe(true);
  });

  it('ends at once when the start is given up while it boots, also when it says nothing', async () => {
    for (const change of [{}, program('exec sleep 1009'), program('trap "" TERM; kill -STOP $$')]) {
      const role = await launch(change);
      const { pid } = await role.running;
      await quickly(() => role[Symbol.asyncDispose]());
      expect(hasEnded(pid)).toBe(true);
    }
  });

  it('ends a launch that hangs', async () => {
    const { node } = program('exec sleep 1010');
    const role = await launch({ launcher: node ?? '' });
    await expect.poll(() => readdirSync(join(cell.runDirectory, 'launch')).length).toBe(1);
    await quickly(() => role[Symbol.asyncDispose]());
    await expect(role.running).rejects.toMatchObject({ code: 'launch_failed' });
  });

  it('is lost when it dies while the namespace is made', async () => {
    await using role = await launch();
    const { pid } = await role.running;
    process.kill(pid, 'SIGKILL');
    using namespace = await makeNamespace();
    await expect(serve(role, namespace)).rejects.toMatchObject({
      code: 'role_lost',
      message: expect.stringContaining('ended by SIGKILL'),
    });
  });

  it('is lost when it ends by itself, and what it complained of is on record', async () => {
    await using role = await launch(program('echo no way >&2; exit 3'));
    using namespace = await makeNamespace();
    await expect(serve(role, namespace)).rejects.toMatchObject({
      code: 'role_lost',
      message: expect.stringContaining('ended with 3'),
    });
    expect(await cell.fact('internal-error')).toMatchObject({ where: 'network-role', message: 'no way' });
  });

  it('is lost when it says something else than hello', async () => {
    await using role = await launch(program('printf "\\0\\0\\0\\2{}" >&3; exec sleep 1011'));
    using namespace = await makeNamespace();
    await expect(serve(role, namespace)).rejects.toMatchObject({
      code: 'role_lost',
      message: expect.stringContaining('malformed'),
    });
  });

  it('gives up when fewer descriptors come than its task names', async () => {
    const role = await launch();
    await using _ = role;
    using namespace = await makeNamespace();
    const handOver = (row: readonly number[]) => role.handOver(row.slice(1));
    await expect(serve({ ...role, handOver }, namespace)).rejects.toMatchObject({
      code: 'role_lost',
      message: expect.stringContaining('ECONNRESET'),
    });
  });

  it('fails where it is awaited when it could not be launched', async () => {
    await using role = await launch({ launcher: join(cell.directory, 'none') });
    using namespace = await makeNamespace();
    await expect(serve(role, namespace)).rejects.toMatchObject({ code: 'install_incomplete' });
  });
});
