/** castellan's own SSH client against servers of the test, which say what no honest one would. */
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { PassThrough } from 'node:stream';
import { text } from 'node:stream/consumers';
import ssh2, { type ServerChannel } from 'ssh2';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { knownHostsLine } from '../../src/session/ssh/client-arguments.ts';
import { generateHostKey } from '../../src/session/ssh/host-key.ts';
import { type ClientStreams, runOwnClient } from '../../src/session/ssh/own-client.ts';

let directory: string;
let undo: AsyncDisposableStack;
beforeEach(() => {
  undo = new AsyncDisposableStack();
  directory = mkdtempSync(join(tmpdir(), 'castellan-own-client-'));
  undo.defer(() => rmSync(directory, { recursive: true }));
});
afterEach(() => undo.disposeAsync());

/** Answers every command at once. */
async function serve(hostKey: string, answer: (channel: ServerChannel) => void): Promise<string> {
  const socketPath = join(directory, 'ssh.sock');
  const ssh = new ssh2.Server({ hostKeys: [hostKey] }, (connection) => {
    connection.on('error', () => {});
    connection.on('authentication', (context) => context.accept());
    connection.on('session', (accept) => accept().on('exec', (accept) => answer(accept())));
  });
  const listener = createServer((socket) => {
    undo.defer(() => void socket.destroy());
    ssh.injectSocket(socket);
  }).listen(socketPath);
  await once(listener, 'listening');
  undo.defer(() => void listener.close());
  return socketPath;
}

async function run(
  socketPath: string,
  hostKey: string,
  stdin = new PassThrough(),
): Promise<{ status: number; output: string; errors: string }> {
  const knownHosts = join(directory, 'known_hosts');
  writeFileSync(knownHosts, knownHostsLine('test', hostKey));
  const [stdout, stderr] = [new PassThrough(), new PassThrough()];
  const said = Promise.all([text(stdout), text(stderr)]);
  const streams = { stdin, stdout, stderr } as unknown as ClientStreams;
  const request = { user: 'x', socketPath, knownHosts, tty: false, command: ['do'], terminalName: undefined };
  const status = await runOwnClient(request, streams, new AbortController().signal);
  stdout.end();
  stderr.end();
  const [output, errors] = await said;
  return { status, output, errors };
}

describe('castellan’s own client', () => {
  it('has the status of a command that ended before it was heard of', async () => {
    const key = generateHostKey();
    const path = await serve(key.private, (channel) => {
      channel.write('all');
      channel.stderr.write('wrong');
      channel.exit(7);
      channel.end();
    });
    expect(await run(path, key.public)).toEqual({ status: 7, output: 'all', errors: 'wrong' });
  });

  it('ends with 255 where a signal ended the command, or nobody says', async () => {
    const key = generateHostKey();
    let calls = 0;
    const path = await serve(key.private, (channel) => {
      if (++calls === 1) channel.exit('KILL');
      channel.end();
    });
    expect((await run(path, key.public)).status).toBe(255);
    expect((await run(path, key.public)).status).toBe(255);
  });

  it('leaves where its input fails, as that of a terminal which is gone', async () => {
    const key = generateHostKey();
    const stdin = new PassThrough();
    stdin.write('read');
    const path = await serve(key.private, (channel) =>
      channel.once('data', () => stdin.destroy(new Error('EIO'))),
    );
    expect((await run(path, key.public, stdin)).status).toBe(255);
  });

  it.each([
    ['of another run', generateHostKey().public],
    ['that nobody wrote yet', ''],
  ])('talks to no server with a key %s', async (_, known) => {
    const path = await serve(generateHostKey().private, (channel) => channel.end());
    await expect(run(path, known)).rejects.toMatchObject({ code: 'no_sandbox' });
  });
});
