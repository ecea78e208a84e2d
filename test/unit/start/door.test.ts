import { mkdtempSync, rmSync } from 'node:fs';
import { connect } from 'node:net';
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
});
