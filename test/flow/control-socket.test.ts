/** The control socket of a pod, with real processes of several uids at it. Takes root. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, chownSync, existsSync, mkdirSync, mkdtempSync, rmSync, symlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import type { AuditFact } from '../../src/audit/event.ts';
import {
  type ControlListener,
  type ControlListenOptions,
  listenForProcessRole,
} from '../../src/roles/control/listen.ts';

const SIDECAR_UID = 21_337;
const SANDBOX_UID = 21_500;
const OTHER_UID = 21_501;
const isRoot = process.getuid?.() === 0;

let directory: string;
let path: string;
let facts: AuditFact[];
let listener: ControlListener | undefined;
const children: ChildProcess[] = [];

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'castellan-control-'));
  chmodSync(directory, 0o755);
  path = join(directory, 'control.sock');
  facts = [];
});
afterEach(async () => {
  await listener?.[Symbol.asyncDispose]();
  listener = undefined;
  for (const child of children.splice(0)) {
    child.kill('SIGKILL');
    if (child.exitCode === null && child.signalCode === null) await once(child, 'exit');
  }
  rmSync(directory, { recursive: true });
});

const listen = async (options: Partial<ControlListenOptions> = {}): Promise<ControlListener> => {
  listener = await listenForProcessRole({
    path,
    uid: 0,
    pid: process.pid,
    sandboxUid: SANDBOX_UID,
    exemptUid: SIDECAR_UID,
    mustBeVisible: false,
    report: (fact) => facts.push(fact),
    ...options,
  });
  return listener;
};

/** Lines of a client that runs as `uid`. */
function client(uid: number, how?: string): AsyncIterator<string> {
  const script = join(import.meta.dirname, '../fakes/control-client.ts');
  const argv = [`--reuid=${uid}`, `--regid=${uid}`, '--clear-groups', '--', process.execPath, script, path];
  const child = spawn('setpriv', how === undefined ? argv : [...argv, how], {
    stdio: ['ignore', 'pipe', 'inherit'],
    env: { PATH: '/usr/bin:/bin' },
  });
  children.push(child);
  return createInterface(child.stdout)[Symbol.asyncIterator]();
}

const said = async (lines: AsyncIterator<string>): Promise<unknown> => JSON.parse((await lines.next()).value);

describe.skipIf(!isRoot)('the control socket', () => {
  test('takes one process role, and then there is nothing to connect to', async () => {
    const { accepted } = await listen();
    const lines = client(SANDBOX_UID);
    expect(await said(lines)).toEqual({ taken: true });
    const { peer, channel } = await accepted;
    expect(peer).toMatchObject({ uid: SANDBOX_UID, pid: children[0]?.pid });
    expect(existsSync(path)).toBe(false);
    expect(existsSync(`${path}.token`)).toBe(false);
    channel.send({ type: 'stop' });
    expect(await said(lines)).toEqual({ type: 'stop' });
    expect(await said(client(SANDBOX_UID))).toMatchObject({ error: 'timeout' });
    expect(facts).toEqual([]);
  });

  test.each([
    ['another uid', OTHER_UID, undefined, `uid ${OTHER_UID} is not the sandbox’s`],
    ['the exempt uid', SIDECAR_UID, undefined, `uid ${SIDECAR_UID} is nobody of the sandbox`],
    ['root', 0, 'token', 'uid 0 is nobody of the sandbox'],
    ['who cannot read the token', SANDBOX_UID, 'token', 'did not read the token'],
    ['who has much to say', SANDBOX_UID, 'giant', 'sent a message that is too large'],
    ['another version', SANDBOX_UID, 'version', 'speaks version 99'],
    ['who says to be another process', SANDBOX_UID, 'pid', 'says that it is process 1'],
    ['who says to be another uid', SANDBOX_UID, 'uid', `says that it is uid ${SANDBOX_UID + 1}`],
  ])('refuses %s, and still takes the process role', async (_, uid, how, reason) => {
    const { accepted } = await listen();
    expect(await said(client(uid, how))).toMatchObject(
      how === undefined ? { error: 'timeout' } : { said: [] },
    );
    expect(facts[0]).toMatchObject({
      kind: 'control-refused',
      peer: { uid },
      reason: expect.stringContaining(reason),
    });
    expect(await said(client(SANDBOX_UID))).toEqual({ taken: true });
    await accepted;
  });

  test('without a sandbox uid it takes anybody but root, itself and the exempt uid', async () => {
    const { accepted } = await listen({ sandboxUid: undefined });
    expect(await said(client(SIDECAR_UID))).toMatchObject({ error: 'timeout' });
    expect(await said(client(OTHER_UID))).toEqual({ taken: true });
    expect((await accepted).peer.uid).toBe(OTHER_UID);
  });

  test('many refusals are one line in the log, and cost nobody a place', async () => {
    const { accepted } = await listen();
    const floods = Array.from({ length: 3 }, () => client(OTHER_UID));
    await Promise.all(floods.map(said));
    expect(facts.filter(({ kind }) => kind === 'control-refused')).toHaveLength(16);
    expect(await said(client(SANDBOX_UID))).toEqual({ taken: true });
    await accepted;
    expect(facts.at(-1)).toMatchObject({ message: expect.stringContaining('further connections') });
  });

  test('a client that comes first waits for it', async () => {
    const state = join(directory, 'state');
    path = join(state, 'control.sock');
    const lines = client(SANDBOX_UID);
    mkdirSync(state);
    await listen();
    expect(await said(lines)).toEqual({ taken: true });
  });

  test('a socket that a killed sidecar left is replaced, one in use is not', async () => {
    await listen();
    await expect(
      listenForProcessRole({
        path,
        uid: 0,
        pid: 1,
        sandboxUid: undefined,
        exemptUid: 1,
        mustBeVisible: false,
        report() {},
      }),
    ).rejects.toMatchObject({ code: 'address_in_use' });
  });

  test('a socket that the sandbox serves is none', async () => {
    chownSync(directory, SANDBOX_UID, SANDBOX_UID);
    const serve = `require('net').createServer().listen(${JSON.stringify(path)}, () => console.log('ready'))`;
    const ids = [`--reuid=${SANDBOX_UID}`, `--regid=${SANDBOX_UID}`, '--clear-groups'];
    const server = spawn('setpriv', [...ids, '--', process.execPath, '-e', serve], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    children.push(server);
    await once(server.stdout, 'data');
    chownSync(directory, 0, 0);
    expect(await said(client(SANDBOX_UID))).toMatchObject({
      error: 'role_lost',
      message: expect.stringContaining(`uid ${SANDBOX_UID} serves the control socket`),
    });
  });

  test.each<[string, () => void]>([
    ['may be written by everybody', () => chmodSync(directory, 0o777)],
    ['may be written by a group', () => chmodSync(directory, 0o775)],
    ['belongs to the sandbox', () => chownSync(directory, SANDBOX_UID, SANDBOX_UID)],
    [
      'lies below one that others may write',
      () => {
        mkdirSync(join(directory, 'state'));
        chmodSync(directory, 0o777);
        path = join(directory, 'state/control.sock');
      },
    ],
    [
      'is a link to such a one',
      () => {
        mkdirSync(join(directory, 'open'));
        chmodSync(join(directory, 'open'), 0o777);
        symlinkSync('open', join(directory, 'state'));
        path = join(directory, 'state/control.sock');
      },
    ],
  ])('neither end takes a directory that %s', async (_, spoil) => {
    spoil();
    await expect(listen()).rejects.toMatchObject({ code: 'filesystem_refused' });
    expect(await said(client(SANDBOX_UID))).toMatchObject({ error: 'filesystem_refused' });
  });
});
