import assert from 'node:assert/strict';
import { Duplex } from 'node:stream';
import { connect, createSecureContext, TLSSocket } from 'node:tls';
import { classifyOpening } from '../../../src/egress/accept/opening.ts';
import { readClientHello } from '../../../src/protocol/tls-client-hello.ts';
import type { Target } from '../target.ts';

/** One side of a connection that goes nowhere: what is written is kept. */
class Held extends Duplex {
  readonly written: Buffer[] = [];

  override _read(): void {}

  override _write(chunk: Buffer, _encoding: string, done: () => void): void {
    this.written.push(chunk);
    done();
  }
}

/** The ClientHello that OpenSSL sends. */
async function realHello(options: {
  readonly servername?: string;
  readonly ALPNProtocols?: string[];
  readonly maxVersion?: 'TLSv1.2';
}): Promise<Uint8Array> {
  const wire = new Held();
  const client = connect({ socket: wire, ...options });
  client.on('error', () => {});
  await new Promise((resolve) => setImmediate(resolve));
  client.destroy();
  return Buffer.concat(wire.written);
}

const CONTEXT = createSecureContext();

/** The name that OpenSSL, as a server, finds in the bytes; undefined where it finds none or refuses them before. */
async function nameForOpenssl(bytes: Uint8Array): Promise<string | undefined> {
  const wire = new Held();
  let found: string | undefined;
  const server = new TLSSocket(wire, {
    isServer: true,
    secureContext: CONTEXT,
    SNICallback: (name, answer) => {
      found = name;
      answer(null, CONTEXT);
    },
  });
  server.on('error', () => {});
  wire.push(bytes);
  wire.push(null);
  await new Promise((resolve) => setImmediate(resolve));
  server.destroy();
  return found;
}

function recordsOf(hello: Uint8Array, size: number): Uint8Array {
  const body = hello.subarray(5);
  const records: Uint8Array[] = [];
  for (let at = 0; at < body.length; at += size) {
    const fragment = body.subarray(at, at + size);
    records.push(Uint8Array.of(22, 3, 1, fragment.length >> 8, fragment.length & 255), fragment);
  }
  return Buffer.concat(records);
}

const NAMED = await realHello({ servername: 'origin.example', ALPNProtocols: ['h2', 'http/1.1'] });

/** What is long enough to be cut at every place would only be slow. */
const MAX_PREFIXES = 48;

const clientHello: Target = {
  name: 'tls-client-hello',
  weight: 2,
  seeds: [
    NAMED,
    await realHello({}),
    await realHello({ servername: 'a.b-c.example', maxVersion: 'TLSv1.2' }),
    recordsOf(NAMED, 100),
    recordsOf(NAMED, 7),
  ],
  words: ['\x16\x03\x01', '\x00\x00', '\x00\x0e', 'evil.example', Uint8Array.of(0xfe, 0x0d)],
  maxBytes: 33 * 1024,
  async check(input) {
    const whole = readClientHello(input);
    const opening = classifyOpening(Buffer.from(input));
    const step = Math.max(1, Math.ceil(input.length / MAX_PREFIXES));
    for (let length = 1; length < input.length; length += step) {
      const part = readClientHello(input.subarray(0, length));
      if (part.state !== 'incomplete')
        assert.deepEqual(whole, part, `${length} bytes are ${part.state}, and more change it`);
      const known = classifyOpening(Buffer.from(input.subarray(0, length)));
      if (known !== undefined) assert.deepEqual(opening, known);
    }
    if (whole.state === 'not-tls' || whole.state === 'incomplete') return;
    const found = await nameForOpenssl(input);
    if (found === undefined || whole.state === 'invalid') return;
    assert.equal(whole.serverName, found.toLowerCase(), 'the origin reads another name than castellan');
  },
  microsecondsPerByte: 40,
};

export const TLS_TARGETS: readonly Target[] = [clientHello];
