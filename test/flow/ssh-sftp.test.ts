/** Files by the real sftp and scp, through Debian's sftp-server put into the agent's view. */
import { execFile } from 'node:child_process';
import { closeSync, mkdtempSync, openSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { AGENT_UID, isRoot } from '../fakes/cell.ts';
import { unpackPackage } from '../fakes/debian-package.ts';
import { makeSshWorld, type SshWorld } from '../fakes/ssh-world.ts';

const O_PATH = 0o10000000;
const LARGE = Buffer.alloc(5_000_000, 'castellan');

let undo: AsyncDisposableStack;
beforeEach(() => {
  undo = new AsyncDisposableStack();
});
afterEach(() => undo.disposeAsync());

async function makeWorld(has: boolean): Promise<SshWorld> {
  const bind = (source: string, path: string) => {
    const descriptor = openSync(source, O_PATH);
    undo.defer(() => closeSync(descriptor));
    return { kind: 'bind', descriptor, path } as const;
  };
  const directory = mkdtempSync(join(tmpdir(), 'castellan-sftp-'));
  undo.defer(() => rmSync(directory, { recursive: true }));
  // A uid without a name is one that neither program works for.
  const accounts = join(directory, 'passwd');
  writeFileSync(accounts, `agent:x:${AGENT_UID}:${AGENT_UID}::/:/bin/sh\n`);
  const server = () => join(unpackPackage('openssh-sftp-server'), 'usr/lib/openssh');
  const mounts = [bind(accounts, '/etc/passwd'), ...(has ? [bind(server(), '/usr/lib/openssh')] : [])];
  return undo.use(await makeSshWorld({ mounts }));
}

interface Ended {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** `sftp` and `scp` take ssh's options, up to the user; `words` has what follows. */
function run(world: SshWorld, program: string, words: (host: string) => string[]): Promise<Ended> {
  const all = world.arguments([]);
  const [options, host] = [all.slice(0, all.indexOf('-l')), all.at(-1) ?? ''];
  const argv = [...options, '-o', 'User=agent', ...words(host)];
  return new Promise((resolve) => {
    execFile(program, argv, (error, stdout, stderr) =>
      resolve({ code: Number(error?.code ?? 0), stdout, stderr }),
    );
  });
}

function batch(world: SshWorld, ...lines: string[]): Promise<Ended> {
  const file = join(world.cell.directory, 'batch');
  writeFileSync(file, lines.join('\n'));
  return run(world, 'sftp', (host) => ['-b', file, host]);
}

describe.skipIf(!isRoot)('sftp (needs root)', () => {
  it('puts, lists and gets files as the agent, confined like it, on record', async () => {
    const world = await makeWorld(true);
    const { directory, work, cell } = world.cell;
    const [near, back] = [join(directory, 'near'), join(directory, 'back')];
    writeFileSync(near, LARGE);
    const { code, stdout, stderr } = await batch(
      world,
      `put ${near} far`,
      'ls -n',
      `get far ${back}`,
      '-ls /root',
      `-put ${near} /etc/castellan-test`,
    );
    expect(code, stderr).toBe(0);
    expect(readFileSync(back).equals(LARGE)).toBe(true);
    expect(statSync(join(work, 'far'))).toMatchObject({ uid: AGENT_UID, size: LARGE.length });
    expect(stdout).toContain(`${AGENT_UID}`);
    expect(stderr).toMatch(/Permission denied[\s\S]*Permission denied/);
    expect(await world.cell.fact('process-exited')).toMatchObject({
      process: { kind: 'sftp', argv: ['sftp-server'], uid: cell.identity.uid },
      exitCode: 0,
    });
  });

  it('serves scp', async () => {
    const world = await makeWorld(true);
    const near = join(world.cell.directory, 'near');
    writeFileSync(near, LARGE);
    expect(await run(world, 'scp', (host) => [near, `${host}:there`])).toEqual({
      code: 0,
      stdout: '',
      stderr: '',
    });
    expect(readFileSync(join(world.cell.work, 'there')).equals(LARGE)).toBe(true);
  });

  it('is told to be missing where the image has none, by the client and the record', async () => {
    const world = await makeWorld(false);
    const { code, stderr } = await batch(world, 'ls');
    expect(code).not.toBe(0);
    expect(stderr).toContain('castellan: the image has no sftp-server; scp -O and tar do without');
    expect(await world.cell.fact('launch-refused')).toMatchObject({
      argv: ['sftp-server'],
      step: 'launch/execute',
      errno: 'ENOENT',
    });
    const file = join(world.cell.directory, 'batch');
    expect(await run(world, 'scp', (host) => ['-O', file, `${host}:there`])).toEqual({
      code: 0,
      stdout: '',
      stderr: '',
    });
    expect(readFileSync(join(world.cell.work, 'there'), 'utf8')).toBe('ls');
    expect((await world.run('sftp', { options: ['-s'] })).code).toBe(127);
  });
});
