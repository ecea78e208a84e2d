import assert from 'node:assert/strict';
import { listen, rawClient, startWorld, tcpServer } from '../../flow/egress-world.ts';
import { rules } from '../../flow/inspect-world.ts';
import { allReadings } from '../../flow/request-readings.ts';
import type { Target } from '../target.ts';

const POLICY = 'protocol: rest, rules: [{allow: {method: "*", path: "/v1/**"}}]';
const INNER = 'GET /v2/x HTTP/1.1\r\nHost: api.test\r\n\r\n';
/** Whatever is left unfinished is soon over. */
const LIMITS = { headMs: 300, headCheckMs: 50, requestIdleMs: 300, bodyMs: 300, lingerMs: 20 } as const;

/**
 * The whole way of an HTTP/1 request through the proxy. The input is what follows the request line and Host; of what comes out
 * at the origin, servers of all habits read the one request that was allowed, and nothing of what hides behind it.
 */
const smuggling: Target = {
  name: 'http1-smuggling',
  weight: 4,
  seeds: [
    `Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n${INNER}`,
    `Content-Length: ${INNER.length}\r\n\r\n${INNER}`,
    `Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nX: y\r\n\r\n${INNER}`,
    `Expect: 100-continue\r\nConnection: keep-alive, x\r\nX: a\r\nContent-Length: 2\r\n\r\nab`,
    `X: y\r\n z\r\nContent-Type: a\r\n\r\n${INNER}`,
  ],
  words: [
    '\r\n',
    '\n',
    '\r',
    '\0',
    ' ',
    '\t',
    '\x0b',
    ': ',
    'Transfer-Encoding',
    'Content-Length',
    'chunked',
    '0\r\n\r\n',
    '+',
    '0x',
    ';',
    ',',
    'Connection: ',
    INNER,
  ],
  async check(input) {
    const received: Buffer[] = [];
    await using origin = await listen(
      tcpServer((socket) =>
        socket.on('data', (bytes) => {
          received.push(bytes);
          if (Buffer.concat(received).includes('\r\n\r\n'))
            socket.end('HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n');
        }),
      ),
    );
    await using world = await startWorld(rules(origin.port, POLICY), { limits: LIMITS });
    const host = `api.test:${origin.port}`;
    const head = Buffer.from(`POST http://${host}/v1/a HTTP/1.1\r\nHost: ${host}\r\n`);
    const client = rawClient(world.proxyPort, Buffer.concat([head, input]));
    client.socket.end();
    await client.end();
    const text = Buffer.concat(received).toString('latin1');
    for (const reading of allReadings(text)) {
      assert.ok(reading.length <= 1, `a server may read several requests: ${JSON.stringify(text)}`);
      for (const { target } of reading)
        assert.ok(
          /^\/v1\//.test(target) || target.startsWith('POST /v1/'),
          `a server may read ${target}: ${JSON.stringify(text)}`,
        );
    }
  },
};

export const SMUGGLING_TARGETS: readonly Target[] = [smuggling];
