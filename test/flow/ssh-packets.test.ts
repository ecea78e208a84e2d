/** Clients of SSH that say what no honest one does. */
import { once } from 'node:events';
import { connect } from 'node:net';
import ssh2, { type Client } from 'ssh2';
import { describe, expect, it } from 'vitest';
import { isRoot } from '../fakes/cell.ts';
import { makeSshWorld } from '../fakes/ssh-world.ts';

interface Opener {
  readonly _protocol: {
    session(channel: number, window: number, packetSize: number): void;
    directTcpip(channel: number, window: number, packetSize: number, target: object): void;
  };
  readonly _chanMgr: { add(answered: (error: Error) => void): number };
}

const TARGET = { srcIP: '', srcPort: 0, dstIP: '127.0.0.1', dstPort: 80 };

/** What the server says to a channel that takes packets of `bytes` at most. */
function open(client: Client, kind: 'session' | 'forward', bytes: number): Promise<Error | undefined> {
  const { _protocol: protocol, _chanMgr: channels } = client as unknown as Opener;
  return new Promise((resolve) => {
    const channel = channels.add(resolve);
    if (kind === 'session') protocol.session(channel, 1 << 20, bytes);
    else protocol.directTcpip(channel, 1 << 20, bytes, TARGET);
  });
}

describe.skipIf(!isRoot)('a channel (needs root)', () => {
  it.each(['session', 'forward'] as const)(
    'that takes no packet worth sending is refused, and nobody waits for it: %s',
    async (kind) => {
      await using world = await makeSshWorld();
      const client = new ssh2.Client();
      client.connect({ sock: connect(world.socketPath), username: 'x', authHandler: ['none'] });
      await once(client, 'ready');
      for (const bytes of [0, 255])
        expect(await open(client, kind, bytes)).toMatchObject({
          message: expect.stringContaining('too small'),
        });
      expect(await world.cell.fact('ssh-refused')).toMatchObject({
        reason: 'packets of 0 bytes are too small',
      });
      // Others are served, by the same connection too.
      expect(await open(client, 'session', 256)).toBeUndefined();
      expect((await world.run('echo here')).stdout).toBe('here\n');
      client.destroy();
    },
  );
});
