import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { privateKeyText, publicKeyText } from '../../../src/protocol/openssh-key.ts';

const hex = (text: string) => Buffer.from(text, 'hex');

/** RFC 8032 §7.1, tests 1 and 2. */
it.each([
  [
    '9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60',
    'd75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a',
  ],
  [
    '4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb',
    '3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c',
  ],
])('ssh-keygen reads the key of seed %s', (seed, key) => {
  const directory = mkdtempSync(join(tmpdir(), 'castellan-key-'));
  try {
    const file = join(directory, 'key');
    writeFileSync(file, privateKeyText(hex(seed), hex(key), 7), { mode: 0o600 });
    expect(execFileSync('ssh-keygen', ['-y', '-f', file], { encoding: 'utf8' }).trim()).toBe(
      publicKeyText(hex(key)),
    );
  } finally {
    rmSync(directory, { recursive: true });
  }
});

it('keeps leading zero bytes', () => {
  const key = Buffer.alloc(32, 1).fill(0, 0, 2);
  const [, blob = ''] = publicKeyText(key).split(' ');
  expect(Buffer.from(blob, 'base64').subarray(-32)).toEqual(key);
});
