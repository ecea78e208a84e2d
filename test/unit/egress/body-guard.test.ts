import { buffer } from 'node:stream/consumers';
import { describe, expect, it } from 'vitest';
import { createBodyGuard, findPlaceholder } from '../../../src/egress/inject/body-guard.ts';
import { seededRandom } from '../random.ts';

const isKnown = (name: string) => ['A', 'TOKEN'].includes(name);
const flaw = (name: string) => `found ${name}`;
const HANDLE = 'f'.repeat(64);

const FOUND = [
  'openshell:resolve:env:TOKEN',
  'x openshell:resolve:env:A y',
  'openshell%3Aresolve%3aenv:TOKEN&x',
  '"openshell\\u003aresolve\\u003Aenv\\u003ATOKEN"',
  `openshell:resolve:env:s${HANDLE}_TOKEN`,
  'openshell:resolve:env:v18446744073709551615_TOKEN',
  'xoxb-OPENSHELL-RESOLVE-ENV-TOKEN',
  'openshellopenshell:resolve:env:TOKEN',
];
const NOT_FOUND = [
  '',
  'openshell',
  'openshell:resolve:env:',
  'openshell:resolve:env:OTHER',
  'openshell:resolve:env:TOKENS',
  'OpenShell:resolve:env:TOKEN',
  'openshell:resolve:env',
  'OPENSHELL-RESOLVE-ENV-',
  'ends in opensh',
  'the openshell project, and OPENSHELL too',
];

describe.each([
  ['found', FOUND, true],
  ['passed', NOT_FOUND, false],
] as const)('%s', (_, texts, isFound) => {
  it.each(texts)('%s', (text) => {
    expect(findPlaceholder(Buffer.from(text), isKnown) !== undefined).toBe(isFound);
  });
  it.each(texts)('%s, in every two pieces and byte by byte', async (text) => {
    const bytes = Buffer.from(text);
    const cuts = [...Array(bytes.length + 1).keys()].map((at) => [bytes.subarray(0, at), bytes.subarray(at)]);
    for (const pieces of [...cuts, [...bytes].map((byte) => Buffer.from([byte]))]) {
      const said = await through(pieces);
      if (isFound) expect(said).toMatch(/^found /);
      else expect(said).toBe(text);
    }
  });
});

async function through(pieces: readonly Buffer[]): Promise<string> {
  const guard = createBodyGuard(isKnown, flaw);
  for (const piece of pieces) guard.write(piece);
  guard.end();
  return await buffer(guard).then(
    (bytes) => bytes.toString(),
    (error: Error) => error.message,
  );
}

it('nothing of a placeholder has gone out when it is found', async () => {
  const guard = createBodyGuard(isKnown, flaw);
  let out = '';
  guard.on('data', (chunk) => {
    out += chunk;
  });
  const broken = new Promise((resolve) => guard.once('error', resolve));
  for (const character of 'before openshell:resolve:env:TOKEN after') guard.write(character);
  await broken;
  expect(out).toBe('before ');
});

it('holds back only what may be the beginning of one', () => {
  const guard = createBodyGuard(isKnown, flaw);
  const passed = (text: string) => {
    guard.write(text);
    return String(guard.read() ?? '');
  };
  expect(passed('{"ask": 1}')).toBe('{"ask": 1}');
  expect(passed('open')).toBe('');
  expect(passed('ed')).toBe('opened');
  expect(passed('openshell')).toBe('');
  expect(passed(' is a shell')).toBe('openshell is a shell');
});

it('finds as a search of the whole does, however it is cut', async () => {
  const random = seededRandom(5);
  const pieces = [
    'openshell',
    ':resolve:env:',
    'TOKEN',
    'A',
    '%3A',
    'OPENSHELL-RESOLVE-ENV-',
    'v1_',
    ' ',
    'x',
    'opens',
  ];
  for (let round = 0; round < 500; round++) {
    const bytes = Buffer.from(Array.from({ length: random.below(9) }, () => random.pick(pieces)).join(''));
    const cuts: Buffer[] = [];
    for (let at = 0; at < bytes.length; ) {
      const length = 1 + random.below(12);
      cuts.push(bytes.subarray(at, at + length));
      at += length;
    }
    const isFound = findPlaceholder(bytes, isKnown) !== undefined;
    const said = await through(cuts);
    if (isFound) expect(said, String(bytes)).toMatch(/^found/);
    else expect(said).toBe(String(bytes));
  }
});

it('looks through what was made to be slow in time that grows with its length', () => {
  const began = performance.now();
  for (const word of ['openshell', 'OPENSHELL', 'openshell:', 'openshell:resolve:env:'])
    findPlaceholder(Buffer.from(word.repeat(20_000)), isKnown);
  const guard = createBodyGuard(isKnown, flaw).resume();
  for (let count = 0; count < 20_000; count++) guard.write('openshell:');
  expect(performance.now() - began).toBeLessThan(3000);
});
