import { describe, expect, it } from 'vitest';
import { readDriverIdentity } from '../../../src/config/driver-identity.ts';

const IDS = { SANDBOX_UID: '1000680000', SANDBOX_GID: '1000680001' };
const PREFIXED = { OPENSHELL_SANDBOX_UID: '1000680000', OPENSHELL_SANDBOX_GID: '1000680001' };
const FOUND = { kind: 'ids', uid: 1_000_680_000, gid: 1_000_680_001 };

describe('readDriverIdentity', () => {
  it.each([
    ['nothing', {}, undefined],
    ['plain names', IDS, FOUND],
    ['prefixed names', PREFIXED, FOUND],
    ['both spellings that agree', { ...IDS, ...PREFIXED }, FOUND],
    [
      'one spelling each',
      { SANDBOX_UID: '1', OPENSHELL_SANDBOX_GID: '4294967294' },
      { kind: 'ids', uid: 1, gid: 4_294_967_294 },
    ],
    ['numbers beside a cleared declaration', { ...IDS, OPENSHELL_OCI_IMAGE_USER: '' }, FOUND],
    ['an image’s user', { OPENSHELL_OCI_IMAGE_USER: 'node:node' }, { kind: 'image-user', text: 'node:node' }],
    [
      'numbers that a driver has cleared',
      { OPENSHELL_SANDBOX_UID: '', OPENSHELL_SANDBOX_GID: '', OPENSHELL_OCI_IMAGE_USER: 'node' },
      { kind: 'image-user', text: 'node' },
    ],
    ['one spelling that is cleared', { ...IDS, OPENSHELL_SANDBOX_UID: '' }, FOUND],
    ['an image without one', { OCI_IMAGE_USER: '' }, { kind: 'image-user', text: '' }],
  ])('reads %s', (_, variables, expected) => expect(readDriverIdentity(variables)).toEqual(expected));

  it.each([
    ['half a pair: no gid', { SANDBOX_UID: '1000' }, 'SANDBOX_UID is set without SANDBOX_GID'],
    [
      'half a pair: no uid',
      { OPENSHELL_SANDBOX_GID: '1000' },
      'OPENSHELL_SANDBOX_GID is set without SANDBOX_UID',
    ],
    ['spellings that contradict', { ...IDS, OPENSHELL_SANDBOX_UID: '1001' }, 'contradict'],
    ['numbers beside an image’s user', { ...IDS, OPENSHELL_OCI_IMAGE_USER: 'node' }, 'both say'],
    ['a name for a number', { ...IDS, SANDBOX_UID: 'node' }, 'not a decimal number'],
    ['half a pair by an empty number', { ...IDS, SANDBOX_UID: '' }, 'without SANDBOX_UID'],
    ['a padded number', { ...IDS, SANDBOX_UID: '01000' }, 'not a decimal number'],
    ['a negative number', { ...IDS, SANDBOX_UID: '-1' }, 'not a decimal number'],
    ['root', { ...IDS, SANDBOX_UID: '0' }, 'outside 1 to 4294967294'],
    ['root’s group', { ...IDS, SANDBOX_GID: '0' }, 'outside 1 to 4294967294'],
    ['the reserved number', { ...IDS, SANDBOX_UID: '4294967295' }, 'not a decimal number'],
  ])('refuses %s', (_, variables, message) => {
    expect(() => readDriverIdentity(variables)).toThrow(message);
  });
});
