import { Duplex } from 'node:stream';
import { type ConnectionOptions, connect } from 'node:tls';
import { describe, expect, it } from 'vitest';
import {
  type ClientHello,
  MAX_CLIENT_HELLO_BYTES,
  readClientHello,
} from '../../../src/protocol/tls-client-hello.ts';
import { mutate, seededRandom } from '../random.ts';

const u8 = (value: number) => [value & 255];
const u16 = (value: number) => [(value >> 8) & 255, value & 255];
const u24 = (value: number) => [(value >> 16) & 255, ...u16(value)];
const vector8 = (data: readonly number[]) => [...u8(data.length), ...data];
const vector16 = (data: readonly number[]) => [...u16(data.length), ...data];
const ascii = (text: string) => [...Buffer.from(text, 'latin1')];

const extension = (type: number, data: readonly number[]) => [...u16(type), ...vector16(data)];
const nameEntry = (name: string, type = 0) => [...u8(type), ...vector16(ascii(name))];
const sni = (...entries: number[][]) => extension(0, vector16(entries.flat()));
const alpn = (...protocols: string[]) =>
  extension(16, vector16(protocols.flatMap((each) => vector8(ascii(each)))));

interface Parts {
  readonly version?: number;
  readonly session?: readonly number[];
  readonly ciphers?: readonly number[];
  readonly compression?: readonly number[];
  /** Undefined leaves even the length out. */
  readonly extensions?: readonly number[] | undefined;
  readonly trailing?: readonly number[];
}

function helloBody(parts: Parts): number[] {
  const {
    version = 0x0303,
    session = Array(32).fill(7),
    ciphers = u16(0x1301),
    compression = [0],
    trailing = [],
  } = parts;
  const extensions = 'extensions' in parts ? parts.extensions : sni(nameEntry('a.example'));
  return [
    ...u16(version),
    ...Array(32).fill(9),
    ...vector8(session),
    ...vector16(ciphers),
    ...vector8(compression),
    ...(extensions === undefined ? [] : vector16(extensions)),
    ...trailing,
  ];
}

const handshake = (body: readonly number[], type = 1) => [...u8(type), ...u24(body.length), ...body];
const record = (data: readonly number[], type = 22, version = 0x0301) => [
  ...u8(type),
  ...u16(version),
  ...vector16(data),
];

function hello(parts: Parts = {}): Uint8Array {
  return Uint8Array.from(record(handshake(helloBody(parts))));
}

/** A handshake cut into records of that many bytes. */
function inRecords(data: readonly number[], size: number): Uint8Array {
  const records: number[] = [];
  for (let at = 0; at < data.length; at += size) records.push(...record(data.slice(at, at + size)));
  return Uint8Array.from(records);
}

const complete = (serverName: string | undefined, rest: Partial<ClientHello> = {}) => ({
  state: 'complete',
  serverName,
  alpn: [],
  hasEch: false,
  ...rest,
});

describe('a ClientHello of Node', () => {
  it.each([
    [
      'by name',
      { servername: 'Files.Example.org', ALPNProtocols: ['h2', 'http/1.1'] },
      complete('files.example.org', { alpn: ['h2', 'http/1.1'] }),
    ],
    ['without name', {}, complete(undefined)],
    ['of TLS 1.2', { servername: 'a.example', maxVersion: 'TLSv1.2' }, complete('a.example')],
  ] as const)('%s', async (_, options, expected) => {
    const bytes = await firstFlight(options as ConnectionOptions);
    expect(readClientHello(bytes)).toEqual(expected);
    for (let length = 0; length < bytes.length; length++)
      expect(readClientHello(bytes.subarray(0, length))).toEqual({ state: 'incomplete' });
  });
});

const whole = handshake(helloBody({ extensions: [...alpn('h2'), ...sni(nameEntry('a.example'))] }));

describe('complete', () => {
  it.each<[name: string, bytes: Uint8Array, expected: object]>([
    ['no extensions at all', hello({ extensions: undefined }), complete(undefined)],
    ['an empty list of extensions', hello({ extensions: [] }), complete(undefined)],
    [
      'encrypted hello',
      hello({ extensions: [...sni(nameEntry('a.example')), ...extension(0xfe0d, [1])] }),
      complete('a.example', { hasEch: true }),
    ],
    ['encrypted name', hello({ extensions: extension(0xffce, [1]) }), complete(undefined, { hasEch: true })],
    ['in records of 10 bytes', inRecords(whole, 10), complete('a.example', { alpn: ['h2'] })],
    ['in records of 2 bytes', inRecords(whole, 2), complete('a.example', { alpn: ['h2'] })],
    ['application data behind it', Uint8Array.from([...hello(), 23, 3, 3, 0, 1, 0]), complete('a.example')],
    [
      'an odd minor version of the record',
      Uint8Array.from(record(whole, 22, 0x03ff)),
      complete('a.example', { alpn: ['h2'] }),
    ],
    ['no session', hello({ session: [] }), complete('a.example')],
  ])('%s', (_, bytes, expected) => {
    expect(readClientHello(bytes)).toEqual(expected);
  });
});

describe('not TLS', () => {
  it.each(['GET / HTTP/1.1', '\x15\x03\x01', '\x17', '\x16\x02', '\x80\x2e\x01\x03\x01', 'SSH-2.0'])(
    '%j',
    (text) => {
      expect(readClientHello(Buffer.from(text, 'latin1'))).toEqual({ state: 'not-tls' });
    },
  );
});

const NAME = 'not one valid host name';

describe('invalid', () => {
  it.each<[name: string, bytes: Uint8Array | readonly number[], reason: string]>([
    ['another handshake message', record(handshake([], 2)), 'no ClientHello'],
    ['an empty record', [22, 3, 1, 0, 0], 'empty'],
    ['a record that is too long', [22, 3, 1, 0x40, 1], 'longer than TLS allows'],
    ['an enormous hello', record([1, ...u24(MAX_CLIENT_HELLO_BYTES)]), 'longer than 32768 bytes'],
    ['another record in between', [...record(whole.slice(0, 20)), ...record([1, 0], 21)], 'no TLS handshake'],
    ['an empty record in between', [...record(whole.slice(0, 20)), ...record([])], 'empty'],
    ['too many records', inRecords(whole, 1), 'more than 64 records'],
    ['a second message in its record', record([...whole, ...whole]), 'more than the ClientHello'],
    ['SSL 2 as version', hello({ version: 0x0200 }), 'malformed'],
    ['a long session', hello({ session: Array(33).fill(0) }), 'malformed'],
    ['no ciphers', hello({ ciphers: [] }), 'malformed'],
    ['half a cipher', hello({ ciphers: [1, 2, 3] }), 'malformed'],
    ['no compression', hello({ compression: [] }), 'malformed'],
    ['bytes behind the extensions', hello({ trailing: [0] }), 'malformed'],
    ['a cut extension', hello({ extensions: [0, 0, 0, 9, 1] }), 'malformed'],
    ['a cut extension header', hello({ extensions: [0, 5, 0] }), 'malformed'],
    [
      'two server names',
      hello({ extensions: [...sni(nameEntry('a.example')), ...sni(nameEntry('b.example'))] }),
      'malformed',
    ],
    [
      'another extension twice',
      hello({ extensions: [...extension(99, []), ...extension(99, [])] }),
      'malformed',
    ],
    [
      'two names in the list',
      hello({ extensions: sni(nameEntry('a.example'), nameEntry('b.example')) }),
      NAME,
    ],
    ['a name of unknown type', hello({ extensions: sni(nameEntry('a.example', 1)) }), NAME],
    ['an empty list of names', hello({ extensions: sni() }), NAME],
    ['an empty extension', hello({ extensions: extension(0, []) }), NAME],
    ['an empty name', hello({ extensions: sni(nameEntry('')) }), NAME],
    [
      'bytes behind the list',
      hello({ extensions: extension(0, [...vector16(nameEntry('a.example')), 0]) }),
      NAME,
    ],
    [
      'a list that claims more',
      hello({ extensions: extension(0, [0, 99, ...nameEntry('a.example')]) }),
      NAME,
    ],
    ['a NUL in the name', hello({ extensions: sni(nameEntry('a.example\0.evil.net')) }), NAME],
    ['a dot behind the name', hello({ extensions: sni(nameEntry('a.example.')) }), NAME],
    ['an address as name', hello({ extensions: sni(nameEntry('10.0.0.1')) }), NAME],
    ['bytes outside ASCII', hello({ extensions: sni(nameEntry('b\xfccher.example')) }), NAME],
    ['an empty protocol', hello({ extensions: alpn('') }), 'malformed'],
    ['no protocols', hello({ extensions: alpn() }), 'malformed'],
    ['a cut protocol', hello({ extensions: extension(16, [0, 3, 9, 104, 50]) }), 'malformed'],
  ])('%s', (_, bytes, reason) => {
    expect(readClientHello(Uint8Array.from(bytes))).toEqual({
      state: 'invalid',
      reason: expect.stringContaining(reason),
    });
  });
});

describe('a record that is to hold more than the hello', () => {
  const bytes = Uint8Array.from(record([...whole, 0]));

  it('is refused before the rest of it has come', () => {
    expect(readClientHello(bytes.subarray(0, -1))).toEqual(readClientHello(bytes));
    expect(readClientHello(bytes)).toMatchObject({ state: 'invalid' });
  });
});

describe('hostile bytes', () => {
  it('give one of the four answers', () => {
    const random = seededRandom(11);
    const seeds = [hello(), inRecords(whole, 16), inRecords(whole, 3)];
    const seen = new Set<string>();
    for (let round = 0; round < 4000; round++) {
      const bytes = round % 8 === 0 ? random.bytes(random.below(80)) : mutate(random.pick(seeds), random);
      const answer = readClientHello(bytes);
      seen.add(answer.state);
      if (answer.state === 'complete' && answer.serverName !== undefined)
        expect(answer.serverName).toMatch(/^[a-z0-9_.-]+$/);
    }
    expect([...seen].sort()).toEqual(['complete', 'incomplete', 'invalid', 'not-tls']);
  });

  it('never stay incomplete beyond the limit', () => {
    const endless = [
      ...u8(1),
      ...u24(MAX_CLIENT_HELLO_BYTES - 4),
      ...Array(MAX_CLIENT_HELLO_BYTES - 4).fill(0),
    ];
    expect(readClientHello(inRecords(endless, 16_384)).state).toBe('invalid');
  });
});

/** What Node's TLS client says first; there is no network and no peer. */
async function firstFlight(options: ConnectionOptions): Promise<Buffer> {
  const { promise, resolve, reject } = Promise.withResolvers<Buffer>();
  const wire = new Duplex({
    read() {},
    write(chunk: Buffer, _encoding, done) {
      resolve(chunk);
      done();
    },
  });
  const client = connect({ socket: wire, ...options });
  client.on('error', reject);
  try {
    return await promise;
  } finally {
    client.destroy();
  }
}
