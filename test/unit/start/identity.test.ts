import { describe, expect, it } from 'vitest';
import type { DriverIdentity } from '../../../src/config/driver-identity.ts';
import { parseAccounts, parseGroups } from '../../../src/kernel/accounts.ts';
import { type AccountFiles, callerIdentity, resolveIdentity } from '../../../src/start/identity.ts';

const files = accountFiles(
  [
    'root:x:0:0:root:/root:/bin/bash',
    'sandbox:x:1500:1600::/home/sandbox:/bin/bash',
    'locked:x:1501:1501::/nonexistent:/usr/sbin/nologin',
    'toor:x:0:0::/root:/bin/sh',
    'wheel:x:1502:0::/:/bin/sh',
    'broken:x:abc:1::/:/bin/sh',
    'short:x:1',
    'twice:x:1503:1503::/:/bin/sh',
    'twice:x:1504:1504::/:/bin/sh',
    `long:x:1505:1505:${'x'.repeat(2000)}:/:/bin/sh`,
  ],
  [
    'root:x:0:sandbox',
    'sandbox:x:1600:',
    'video:x:44:sandbox,locked',
    'docker:x:999:locked',
    'two:x:1:',
    'two:x:2:',
  ],
);

function accountFiles(passwd: readonly string[], group: readonly string[]): AccountFiles {
  return {
    passwd: passwd.join('\n'),
    group: group.join('\n'),
    accounts: parseAccounts(passwd.join('\n')),
    groups: parseGroups(group.join('\n')),
  };
}

const ask = (runAsUser?: string, runAsGroup?: string, driver?: DriverIdentity) =>
  resolveIdentity({ runAsUser, runAsGroup }, driver, files);
const ids = (uid: number, gid: number): DriverIdentity => ({ kind: 'ids', uid, gid });
const image = (text: string): DriverIdentity => ({ kind: 'image-user', text });

describe('the policy alone', () => {
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
      { uid: 20001, gid: 20001, user: '20001', home: '/', shell: '/bin/sh', groups: [] },
    ],
    ['a number with an account', '1500', undefined, { uid: 1500, gid: 1600, user: 'sandbox' }],
    ['the lowest and highest number', '1', '4294967294', { uid: 1, gid: 4_294_967_294 }],
    ['an account that may not log in gets a shell', 'locked', undefined, { shell: '/bin/sh' }],
  ])('%s', (_, user, group, expected) => expect(ask(user, group)).toMatchObject(expected));

  it('gives the account’s groups, and never root’s', () => {
    expect(ask('sandbox').groups).toEqual([44]);
  });
});

describe('the platform’s choice', () => {
  it.each([
    [
      'numbers, without a policy',
      undefined,
      undefined,
      ids(1_000_680_000, 1_000_680_001),
      {
        uid: 1_000_680_000,
        gid: 1_000_680_001,
        user: '1000680000',
        home: '/',
        groups: [],
        source: 'driver',
      },
    ],
    [
      'numbers, where the policy says sandbox',
      'sandbox',
      'sandbox',
      ids(70_000, 70_001),
      { uid: 70_000, gid: 70_001, source: 'driver' },
    ],
    [
      'the policy’s user comes first',
      '20001',
      undefined,
      ids(70_000, 70_001),
      { uid: 20_001, gid: 70_001, source: 'policy' },
    ],
    [
      'the policy’s user and group come first',
      'locked',
      '20002',
      ids(70_000, 70_001),
      { uid: 1501, gid: 20_002, source: 'policy' },
    ],
    [
      'the policy’s group alone',
      undefined,
      '20002',
      ids(70_000, 70_001),
      { uid: 70_000, gid: 20_002, source: 'driver' },
    ],
    [
      'numbers of somebody in the image get none of his groups',
      undefined,
      undefined,
      ids(1500, 1600),
      { user: 'sandbox', groups: [] },
    ],
    [
      'an image’s user by name',
      undefined,
      undefined,
      image('locked'),
      { uid: 1501, gid: 1501, groups: [44, 999], source: 'image USER' },
    ],
    [
      'an image’s user and group by name',
      undefined,
      undefined,
      image('locked:video'),
      { uid: 1501, gid: 44, groups: [999] },
    ],
    ['an image’s user by number', undefined, undefined, image('1501'), { uid: 1501, gid: 1501 }],
    [
      'an image’s user and group by number',
      undefined,
      undefined,
      image('3000:3001'),
      { uid: 3000, gid: 3001, user: '3000', groups: [] },
    ],
    [
      'no user in the image, but in the policy',
      'locked',
      'video',
      image(''),
      { uid: 1501, gid: 44, source: 'policy' },
    ],
  ])('%s', (_, user, group, driver, expected) => expect(ask(user, group, driver)).toMatchObject(expected));
});

describe('refuses', () => {
  it.each([
    ['root by name', 'root', undefined, undefined],
    ['root by another name', 'toor', undefined, undefined],
    ['root’s group', 'wheel', undefined, undefined],
    ['zero', '0', undefined, undefined],
    ['the reserved uid', '4294967295', undefined, undefined],
    ['an unknown name', 'nobody-here', undefined, undefined],
    ['an ambiguous name', 'twice', undefined, undefined],
    ['an ambiguous group', '20001', 'two', undefined],
    ['an account with a field too long', 'long', undefined, undefined],
    ['group zero', '20001', '0', undefined],
    ['root’s group by name', '20001', 'root', undefined],
    ['an unknown group', '20001', 'nothing', undefined],
    ['an account with a malformed uid', 'broken', undefined, undefined],
    ['an image without a user', undefined, undefined, image('')],
    ['an image without a user, half named by the policy', '20001', undefined, image('')],
    ['an image’s root', undefined, undefined, image('root')],
    ['an image’s zero', undefined, undefined, image('0:1')],
    ['an image’s group zero', undefined, undefined, image('3000:0')],
    ['an image’s user in root’s group', undefined, undefined, image('sandbox')],
    ['an image’s unknown number without a group', undefined, undefined, image('3000')],
    ['an image’s unknown name', undefined, undefined, image('who')],
    ['an empty user', undefined, undefined, image(':3000')],
    ['an empty group', undefined, undefined, image('3000:')],
    ['too many parts', undefined, undefined, image('1:2:3')],
  ])('%s', (_, user, group, driver) => {
    expect(() => ask(user, group, driver)).toThrow(expect.objectContaining({ code: 'identity_invalid' }));
  });
});

describe('without root', () => {
  const caller = { uid: 1500, gid: 1600, groups: [44] };
  const none = { runAsUser: undefined, runAsGroup: undefined };
  it('is the caller', () => {
    expect(callerIdentity(caller, none, undefined, files)).toMatchObject({
      ...caller,
      user: 'sandbox',
      source: 'caller',
    });
  });
  it('says so when the policy asks for somebody else', () => {
    const policy = { runAsUser: '20001', runAsGroup: undefined };
    expect(callerIdentity(caller, policy, undefined, files).source).toContain('20001');
  });
  it('takes the platform’s numbers when they are the caller’s', () => {
    expect(callerIdentity(caller, none, ids(1500, 1600), files)).toMatchObject({
      ...caller,
      source: 'driver',
    });
  });
  it.each([
    ['uid', ids(1501, 1600)],
    ['gid', ids(1500, 1601)],
  ])('refuses another %s than the platform wants', (_, driver) => {
    expect(() => callerIdentity(caller, none, driver, files)).toThrow(/platform wants/);
  });

  it.each([
    ['with an account', 1500, 1600],
    ['whose account cannot be logged in with', 1501, 1501],
    ['without an account', 20_001, 20_001],
  ])('a platform’s numbers %s are the same to sessions as where castellan is root', (_, uid, gid) => {
    const asRoot = resolveIdentity(none, ids(uid, gid), files);
    // Groups are the container's: without CAP_SETGID nobody leaves one.
    const groups = [44];
    expect(callerIdentity({ uid, gid, groups }, none, ids(uid, gid), files)).toEqual({ ...asRoot, groups });
  });
});
