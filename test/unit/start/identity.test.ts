import { describe, expect, it } from 'vitest';
import { parseAccounts, parseGroups, parseId } from '../../../src/kernel/accounts.ts';
import { callerIdentity, resolveIdentity } from '../../../src/start/identity.ts';

const files = {
  accounts: parseAccounts(
    [
      'root:x:0:0:root:/root:/bin/bash',
      'sandbox:x:1500:1600::/home/sandbox:/bin/bash',
      'locked:x:1501:1501::/nonexistent:/usr/sbin/nologin',
      'toor:x:0:0::/root:/bin/sh',
      'wheel:x:1502:0::/:/bin/sh',
      'broken:x:abc:1::/:/bin/sh',
      'short:x:1',
    ].join('\n'),
  ),
  groups: parseGroups('root:x:0:sandbox\nsandbox:x:1600:\nvideo:x:44:sandbox,locked\ndocker:x:999:locked\n'),
};
const ask = (runAsUser?: string, runAsGroup?: string) => resolveIdentity({ runAsUser, runAsGroup }, files);

describe('resolveIdentity', () => {
  it.each([
    [
      'the default account',
      undefined,
      undefined,
      { uid: 1500, gid: 1600, user: 'sandbox', home: '/home/sandbox', shell: '/bin/bash', source: 'default' },
    ],
    ['a name', 'sandbox', undefined, { uid: 1500, gid: 1600, source: 'policy' }],
    ['a name with a group', 'sandbox', '2000', { uid: 1500, gid: 2000 }],
    ['a group by name', '20001', 'video', { uid: 20001, gid: 44 }],
    [
      'a number without an account',
      '20001',
      undefined,
      { uid: 20001, gid: 20001, user: '20001', home: '/sandbox', shell: '/bin/sh', groups: [] },
    ],
    ['a number with an account', '1500', undefined, { uid: 1500, gid: 1600, user: 'sandbox' }],
    ['the lowest and highest number', '1000', '2000000000', { uid: 1000, gid: 2_000_000_000 }],
    ['an account that may not log in gets a shell', 'locked', undefined, { shell: '/bin/sh' }],
  ])('%s', (_, user, group, expected) => expect(ask(user, group)).toMatchObject(expected));

  it('gives the account’s groups, and never root’s', () => {
    expect(ask('sandbox').groups).toEqual([44]);
  });

  it.each([
    ['root by name', 'root', undefined],
    ['root by another name', 'toor', undefined],
    ['root’s group', 'wheel', undefined],
    ['zero', '0', undefined],
    ['a system uid', '999', undefined],
    ['above the range', '2000000001', undefined],
    ['the reserved uid', '4294967295', undefined],
    ['an unknown name', 'nobody-here', undefined],
    ['group zero', '20001', '0'],
    ['root’s group by name', '20001', 'root'],
    ['an unknown group', '20001', 'nothing'],
    ['an account with a malformed uid', 'broken', undefined],
  ])('refuses %s', (_, user, group) => {
    expect(() => ask(user, group)).toThrow(expect.objectContaining({ code: 'identity_invalid' }));
  });
});

describe('callerIdentity', () => {
  const caller = { uid: 1500, gid: 1600, groups: [44] };
  it('is the caller', () => {
    expect(callerIdentity(caller, { runAsUser: undefined, runAsGroup: undefined }, files)).toMatchObject({
      ...caller,
      user: 'sandbox',
      source: 'caller',
    });
  });
  it('says so when the policy asks for somebody else', () => {
    expect(callerIdentity(caller, { runAsUser: '20001', runAsGroup: undefined }, files).source).toContain(
      '20001',
    );
  });
});

describe('parseId', () => {
  it.each([
    ['0', 0],
    ['1', 1],
    ['4294967294', 4_294_967_294],
    ['4294967295', undefined],
    ['-1', undefined],
    ['01', undefined],
    ['1e3', undefined],
    ['', undefined],
    [' 1', undefined],
    ['0x10', undefined],
  ])('%s', (text, expected) => {
    expect(parseId(text)).toBe(expected);
  });
});
