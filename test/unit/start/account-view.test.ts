import { describe, expect, it } from 'vitest';
import { parseAccounts, parseGroups } from '../../../src/kernel/accounts.ts';
import { missingAccounts, withLine } from '../../../src/start/account-view.ts';

const passwd = 'root:x:0:0::/root:/bin/sh\nsandbox:x:1500:1600::/home:/bin/sh';
const group = 'root:x:0:\nsandbox:x:1600:\n';
const files = { passwd, group, accounts: parseAccounts(passwd), groups: parseGroups(group) };
const identity = (uid: number, gid: number) => ({
  ...{ uid, gid, groups: [], user: String(uid), home: '/sandbox', shell: '/bin/sh', source: 'test' },
});

describe('missingAccounts', () => {
  it.each([
    ['nothing', 1500, 1600, { passwd: undefined, group: undefined }],
    ['both', 7, 8, { passwd: '7:x:7:8:sandbox:/sandbox:/bin/sh\n', group: '8:x:8:\n' }],
    ['the group', 1500, 9, { passwd: undefined, group: '9:x:9:\n' }],
  ])('%s', (_, uid, gid, expected) => expect(missingAccounts(identity(uid, gid), files)).toEqual(expected));
});

it.each(['/a:b', '/a\nroot2:x:0:0::/:/bin/sh'])('a home that is no field of passwd is left out: %j', (home) =>
  expect(missingAccounts({ ...identity(7, 8), home }, files).passwd).toBe('7:x:7:8:sandbox:/:/bin/sh\n'),
);

describe('withLine', () => {
  it.each([
    ['', 'x\n', 'x\n'],
    ['a\n', 'x\n', 'a\nx\n'],
    ['a', 'x\n', 'a\nx\n'],
  ])('%j', (text, line, expected) => expect(withLine(text, line)).toBe(expected));
});
