import { chmodSync, chownSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { openSecretFiles, readSecretFile, type SecretFileReaders } from '../../../src/start/secret-files.ts';

const AGENT = { uid: 20_101, gid: 20_101, groups: [20_200] };
const isRoot = process.getuid?.() === 0;

let directory: string;
let path: string;
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'castellan-secrets-'));
  path = join(directory, 'file');
  writeFileSync(path, 'secret', { mode: 0o600 });
});
afterEach(() => rmSync(directory, { recursive: true }));

function open(readers: Partial<SecretFileReaders> = {}) {
  return openSecretFiles({ credentials: path }, { mode: 'root', identity: AGENT, granted: [], ...readers });
}

const refusal = (message: string) => expect.objectContaining({ code: 'filesystem_refused', message });

test('what only castellan’s user can read is handed over', () => {
  // Not disposed of: reading closes the descriptor.
  expect(readSecretFile(open().descriptors.credentials ?? -1)).toBe('secret');
});

test('links are followed: volumes are made of them', () => {
  const link = join(directory, 'link');
  symlinkSync(path, link);
  using files = openSecretFiles({ upstreamProxyAuth: link }, { mode: 'root', identity: AGENT, granted: [] });
  expect(Object.keys(files.descriptors)).toEqual(['upstreamProxyAuth']);
});

test('disposed of twice, it closes once', () => {
  const files = open();
  files[Symbol.dispose]();
  files[Symbol.dispose]();
});

describe('what is within reach of the agent', () => {
  test.each<[string, () => Partial<SecretFileReaders> | undefined, string]>([
    ['missing', () => void rmSync(path), 'cannot be opened'],
    [
      'a directory',
      () => {
        rmSync(path);
        mkdirSync(path);
      },
      'is not a regular file',
    ],
    [
      'readable by everybody',
      () => void chmodSync(path, 0o604),
      'can be read by the sandbox user (mode 604)',
    ],
    ['writable by everybody', () => void chmodSync(path, 0o602), 'can be written by everybody'],
    [
      'below a place it may write',
      () => ({ granted: [{ path: directory, access: 'write' }] }),
      'which the policy grants to the agent',
    ],
    [
      'its own user’s, below a place it may read',
      () => ({ mode: 'rootless', granted: [{ path: directory, access: 'read' }] }),
      'which the policy grants to the agent',
    ],
    [
      'behind a link that leads there',
      () => {
        const link = `${directory}-link`;
        rmSync(link, { force: true });
        symlinkSync(path, link);
        const granted = [{ path: directory, access: 'write' as const }];
        path = link;
        return { granted };
      },
      'which the policy grants to the agent',
    ],
  ])('%s is refused', (_name, arrange, message) => {
    const readers = arrange() ?? {};
    expect(() => open(readers)).toThrow(refusal(expect.stringContaining(message) as unknown as string));
    if (path.endsWith('-link')) rmSync(path);
  });

  test.skipIf(!isRoot).each([
    ['its own', AGENT.uid, 0, 0o600],
    ['of its group', 0, AGENT.gid, 0o640],
    ['of another group of its', 0, 20_200, 0o640],
  ])('%s is refused (needs root)', (_name, uid, gid, mode) => {
    chownSync(path, uid, gid);
    chmodSync(path, mode);
    expect(() => open()).toThrow(refusal(expect.stringContaining('can be read') as unknown as string));
  });

  test.skipIf(!isRoot)('a group that it is not in may read (needs root)', () => {
    chownSync(path, 0, 20_300);
    chmodSync(path, 0o640);
    open()[Symbol.dispose]();
  });

  test('a place it may only read, for another uid, is none', () => {
    open({ granted: [{ path: directory, access: 'read' }] })[Symbol.dispose]();
  });
});

test('a file that grows beyond the limit is not taken', () => {
  const { credentials = -1 } = open().descriptors;
  writeFileSync(path, Buffer.alloc(1024 * 1024 + 1));
  expect(() => readSecretFile(credentials)).toThrow(RangeError);
});
