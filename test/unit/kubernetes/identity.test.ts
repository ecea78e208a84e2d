import { describe, expect, it } from 'vitest';
import {
  GROUPS_ANNOTATION,
  type NamespaceFacts,
  refuseProxyIds,
  resolvePodIdentity,
  UID_RANGE_ANNOTATION,
} from '../../../src/kubernetes/identity.ts';

const namespace = (uidRange?: string, groups?: string): NamespaceFacts => ({
  kind: 'read',
  annotations: {
    ...(uidRange !== undefined && { [UID_RANGE_ANNOTATION]: uidRange }),
    ...(groups !== undefined && { [GROUPS_ANNOTATION]: groups }),
  },
});
const UNKNOWN: NamespaceFacts = { kind: 'unknown' };
const UNREADABLE: NamespaceFacts = { kind: 'unreadable', reason: 'forbidden' };
const R = UID_RANGE_ANNOTATION;
const G = GROUPS_ANNOTATION;

describe('resolvePodIdentity', () => {
  it.each([
    ['nothing known', {}, UNKNOWN, [1000, 'default'], [1000, 'default']],
    ['a namespace without annotations', {}, namespace(), [1000, 'default'], [1000, 'default']],
    ['a range of uids', {}, namespace('1000680000/10000'), [1000680000, R], [1000680000, R]],
    ['the other spelling', {}, namespace('1000680000-1000689999'), [1000680000, R], [1000680000, R]],
    [
      'uids and groups',
      {},
      namespace('1000680000/10000', '1000690000/100'),
      [1000680000, R],
      [1000690000, G],
    ],
    ['a list of groups', {}, namespace('1-2', '1000/10,2000/10'), [1, R], [1000, G]],
    ['a list in both spellings', {}, namespace('1-2', '3000-3005,2000/10'), [1, R], [3000, G]],
    ['at the default', {}, namespace('1000/50000'), [1000, R], [1000, R]],
    ['below the default', {}, namespace('999/50000'), [999, R], [999, R]],
    ['the least', {}, namespace('1/50000'), [1, R], [1, R]],
    ['the most', {}, namespace('2147483647/1'), [2147483647, R], [2147483647, R]],
    ['a block of one', {}, namespace('7-7'), [7, R], [7, R]],
    ['both configured', { uid: 5, gid: 6 }, namespace('9/9', '9/9'), [5, 'sandbox_uid'], [6, 'sandbox_gid']],
    ['both configured, unreadable', { uid: 5, gid: 6 }, UNREADABLE, [5, 'sandbox_uid'], [6, 'sandbox_gid']],
    ['a gid alone', { gid: 6 }, UNKNOWN, [1000, 'default'], [6, 'sandbox_gid']],
    ['a gid alone, annotated', { gid: 6 }, namespace('9/9', '8/9'), [9, R], [6, 'sandbox_gid']],
    ['a uid alone', { uid: 5 }, UNKNOWN, [5, 'sandbox_uid'], [5, 'sandbox_uid']],
    ['a uid alone, annotated', { uid: 5 }, namespace('9/9', '8/9'), [5, 'sandbox_uid'], [8, G]],
    ['a uid alone, no groups', { uid: 5 }, namespace('9/9'), [5, 'sandbox_uid'], [9, R]],
    ['a uid beside groups alone', { uid: 5 }, namespace(undefined, '8/9'), [5, 'sandbox_uid'], [8, G]],
    ['a bad range nobody needs', { uid: 5 }, namespace('x', '8/9'), [5, 'sandbox_uid'], [8, G]],
  ] as const)('takes %s', (_, configured, facts, [uid, uidSource], [gid, gidSource]) => {
    expect(resolvePodIdentity(configured, facts)).toEqual({
      kind: 'ids',
      uid: { value: uid, source: uidSource },
      gid: { value: gid, source: gidSource },
    });
  });

  it.each([
    ['root of a range', {}, namespace('0/50000'), '0 (openshift.io/sa.scc.uid-range) is outside 1 to'],
    ['root of a list', {}, namespace('1/5', '0/5'), '0 (openshift.io/sa.scc.supplemental-groups) is outside'],
    ['the reserved number', {}, namespace('4294967295/10000'), 'a number that is none from 0 to 4294967294'],
    ['an overflowing end', {}, namespace('4294967290/10000'), 'goes beyond 4294967294'],
    ['an overflowing second block', {}, namespace('1/5', '7/5,4294967294/2'), 'goes beyond'],
    ['an empty block', {}, namespace('1000/0'), 'is empty'],
    ['a block backwards', {}, namespace('1000-999'), 'ends before it starts'],
    ['an empty annotation', {}, namespace(''), 'is neither START/SIZE nor START-END'],
    ['an empty list', {}, namespace('1/5', ''), 'is neither'],
    ['a list with a hole', {}, namespace('1/5', '1/5,,7/5'), 'is neither'],
    ['a list for uids', {}, namespace('1/5,7/5'), 'is neither'],
    ['a number alone', {}, namespace('1000'), 'is neither'],
    ['words', {}, namespace('a/b'), 'is neither'],
    ['a negative number', {}, namespace('-1/10'), 'is neither'],
    ['blanks', {}, namespace(' 1000/10'), 'is neither'],
    ['a line end', {}, namespace('1000/10\n'), 'is neither'],
    ['a padded number', {}, namespace('01000/10'), 'a number that is none'],
    ['hexadecimal', {}, namespace('0x10/10'), 'is neither'],
    ['an unreadable namespace', {}, UNREADABLE, 'cannot be read: forbidden'],
    ['an unreadable namespace, gid alone', { gid: 6 }, UNREADABLE, 'cannot be read: forbidden'],
    ['groups without uids', {}, namespace(undefined, '8/9'), `without ${R}`],
    ['a bad range where the gid needs it', { uid: 5 }, namespace('x'), 'is neither'],
    ['root, configured', { uid: 0 }, UNKNOWN, '0 (sandbox_uid) is outside'],
    ['the reserved number, configured', { gid: 4294967295 }, UNKNOWN, '4294967295 (sandbox_gid) is outside'],
    ['half a number', { uid: 1.5 }, UNKNOWN, '1.5 (sandbox_uid) is outside'],
  ] as const)('refuses %s', (_, configured, facts, message) => {
    expect(() => resolvePodIdentity(configured, facts)).toThrow(message);
  });
});

describe('refuseProxyIds', () => {
  it.each([
    [{ uid: 1337 }, "uid 1337 (sandbox_uid) is the proxy's"],
    [{ gid: 1337 }, "gid 1337 (sandbox_gid) is the proxy's"],
  ])('refuses %o', (configured, message) => {
    expect(() => refuseProxyIds(resolvePodIdentity(configured, UNKNOWN), 1337)).toThrow(message);
  });

  it('lets others pass', () => {
    expect(() => refuseProxyIds(resolvePodIdentity({}, UNKNOWN), 1337)).not.toThrow();
    expect(() => refuseProxyIds({ kind: 'platform' }, 1337)).not.toThrow();
  });
});
