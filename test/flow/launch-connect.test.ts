/** A connection that takes its time, and somebody who no longer waits for it. */
import { readdirSync } from 'node:fs';
import { expect, it } from 'vitest';
import { confineConnection } from '../../src/launch/confine.ts';
import { parseAddress } from '../../src/policy/match/address.ts';
import { isRoot, makeCell } from '../fakes/cell.ts';
import { startPython } from '../native/python.ts';

/** Its queue has room for one, and is full. */
const FULL = `
import socket, sys
server = socket.socket(); server.bind(('127.0.0.1', 0)); server.listen(0)
clients = []
for _ in range(2):
    client = socket.socket(); client.setblocking(False); client.connect_ex(server.getsockname()); clients.append(client)
print(server.getsockname()[1], flush=True); sys.stdin.read()`;

it.skipIf(!isRoot)('is closed, and no failure of the target (needs root)', async () => {
  using world = makeCell();
  await using full = startPython(FULL, []);
  const address = parseAddress('127.0.0.1');
  if (address === undefined) throw new Error('no address');
  const spec = confineConnection(world.cell, { kind: 'tcp', address, port: Number(await full.line()) });
  const held = () => readdirSync('/proc/self/fd').length;
  const before = held();
  const leaving = new AbortController();
  const made = world.launcher.connect(spec, { signal: leaving.signal });
  const launches = () => readdirSync(`${world.runDirectory}/launch`);
  // The launcher is through, and what it made is ours.
  await expect.poll(() => [launches().length, held() > before]).toEqual([0, true]);
  leaving.abort();
  await expect(made).rejects.toMatchObject({ code: 'launch_failed', step: 'launch', errno: undefined });
  await expect.poll(held).toBe(before);
});
