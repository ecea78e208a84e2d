import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { type IncomingMessage, request } from 'node:http';
import { connect, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { openDoor } from '../../../src/start/door.ts';

let directory: string;
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'castellan-door-'));
});
afterEach(() => rmSync(directory, { recursive: true }));

describe('a door', () => {
  it.each([
    ['says nothing', ''],
    ['sends a byte now and then', 'GET /ready HTTP/1.1\r\nX: '],
  ])(
    'throws out who %s',
    async (_, said) => {
      const path = join(directory, 'door');
      await using _door = await openDoor({ path }, 'health', async () => undefined);
      const began = performance.now();
      const client = connect(path).on('error', () => {});
      client.write(said);
      const drip = setInterval(() => said !== '' && client.write('x'), 500);
      client.resume();
      await new Promise((done) => client.once('close', done));
      clearInterval(drip);
      // A loaded machine may take a few seconds more, but not Node's own half a minute.
      expect(performance.now() - began).toBeLessThan(15_000);
    },
    20_000,
  );

  const open = async (path: string): Promise<Socket> => {
    const client = connect(path).on('error', () => {});
    client.resume();
    await once(client, 'connect');
    return client;
  };
  const status = async (path: string): Promise<number | undefined> => {
    const asked = request({ socketPath: path, path: '/ready' }).end();
    const [response] = (await once(asked, 'response')) as [IncomingMessage];
    response.resume();
    return response.statusCode;
  };
  const ready = async () => ({ status: 200, type: 'text/plain', body: 'yes' });

  it('answers though all places are held: whoever has been there longest goes', async () => {
    const path = join(directory, 'door');
    await using _door = await openDoor({ path }, 'health', ready);
    const holders = await Promise.all(Array.from({ length: 16 }, () => open(path)));
    const gone = Promise.race(holders.map((holder) => once(holder, 'close')));
    expect(await status(path)).toBe(200);
    await gone;
    expect(holders.filter((holder) => !holder.destroyed).length).toBeGreaterThanOrEqual(15);
    for (const holder of holders) holder.destroy();
  });

  it('gives no place to whom it does not admit', async () => {
    const path = join(directory, 'door');
    let admits = false;
    await using _door = await openDoor({ path }, 'health', ready, () => admits);
    const holders = await Promise.all(Array.from({ length: 20 }, () => open(path)));
    await Promise.all(holders.map((holder) => holder.destroyed || once(holder, 'close')));
    admits = true;
    expect(await status(path)).toBe(200);
  });
});
