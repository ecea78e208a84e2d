import { describe, expect, it } from 'vitest';
import { detachScanner } from '../../../src/session/detach-keys.ts';

const P = '\x10';
const Q = '\x11';

/** Every way to cut the bytes into packets. */
function* cuts(bytes: Buffer): Generator<Buffer[]> {
  for (let mask = 0; mask < 2 ** (bytes.length - 1); mask++) {
    const pieces: Buffer[] = [];
    let from = 0;
    for (let at = 1; at <= bytes.length; at++) {
      if (at < bytes.length && ((mask >> (at - 1)) & 1) === 0) continue;
      pieces.push(bytes.subarray(from, at));
      from = at;
    }
    yield pieces;
  }
}

function scanAll(pieces: readonly Buffer[]) {
  const scanner = detachScanner();
  let passed = '';
  for (const piece of pieces) {
    const { pass, detach } = scanner.scan(piece);
    passed += pass.toString('latin1');
    if (detach) return { passed, detached: true };
  }
  return { passed: passed + scanner.rest().toString('latin1'), detached: false };
}

describe('detachScanner, however the packets are cut', () => {
  it.each([
    ['ab', 'ab', false],
    [`${P}${Q}`, '', true],
    [`ab${P}${Q}cd`, 'ab', true],
    [`${P}x${Q}`, `${P}x${Q}`, false],
    [`${Q}${P}`, `${Q}${P}`, false],
    [`${P}${P}${Q}z`, P, true],
    [`${P}${P}${P}a`, `${P}${P}${P}a`, false],
    [`a${P}`, `a${P}`, false],
    [`${P}a${P}b${P}${Q}`, `${P}a${P}b`, true],
    ['\xff\x00\x10\xff', '\xff\x00\x10\xff', false],
  ])('%j', (input, passed, detached) => {
    for (const pieces of cuts(Buffer.from(input, 'latin1')))
      expect(scanAll(pieces)).toEqual({ passed, detached });
  });

  it('takes empty packets between the keys', () => {
    expect(scanAll([Buffer.from(P), Buffer.alloc(0), Buffer.from(Q)])).toEqual({
      passed: '',
      detached: true,
    });
  });
});
