import { chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { loginShell } from '../../../src/session/login-shell.ts';

let directory: string;
beforeAll(() => {
  directory = mkdtempSync(join(tmpdir(), 'castellan-shell-'));
  for (const [name, mode] of [
    ['fish', 0o755],
    ['plain', 0o644],
    ['nologin', 0o755],
  ] as const) {
    writeFileSync(join(directory, name), '');
    chmodSync(join(directory, name), mode);
  }
});
afterAll(() => rmSync(directory, { recursive: true }));

describe('loginShell', () => {
  it('takes the shell of the account', async () => {
    expect(await loginShell(join(directory, 'fish'))).toBe(join(directory, 'fish'));
  });

  it.each(['missing', 'plain', 'nologin', '.'])('falls back from %s', async (name) => {
    expect(await loginShell(join(directory, name))).toBe('/bin/bash');
  });

  it.each(['', 'fish', 'bin/sh'])('falls back from %j, which is no absolute path', async (shell) => {
    expect(await loginShell(shell)).toBe('/bin/bash');
  });
});
