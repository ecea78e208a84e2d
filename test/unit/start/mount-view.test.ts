import { describe, expect, it } from 'vitest';
import { mountView } from '../../../src/start/mount-view.ts';

const hidden = (...args: Parameters<typeof mountView>) => mountView(...args).map(({ path }) => path);

describe('mountView', () => {
  it.each([
    [
      'own places',
      ['/run/castellan', '/var/log/castellan/a.jsonl'],
      [],
      [],
      ['/run/castellan', '/var/log/castellan/a.jsonl'],
    ],
    [
      'all of /run',
      ['/run/user/7/castellan'],
      ['/run/user', '/run/dbus'],
      ['/tmp'],
      ['/run/user', '/run/dbus'],
    ],
    ['but what the policy names', [], ['/run/user', '/run/postgresql'], ['/run/postgresql/s'], ['/run/user']],
    [
      'own places even where the policy names a parent',
      ['/run/user/7/castellan'],
      ['/run/user'],
      ['/run/user/7'],
      ['/run/user/7/castellan'],
    ],
  ])('hides %s', (_, own, entries, granted, expected) => {
    expect(hidden(own, entries, granted)).toEqual(expected);
  });
});
