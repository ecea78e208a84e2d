import { describe, expect, it } from 'vitest';
import type { OwnershipMethod, RunMode } from '../../../src/config/config.ts';
import { ownershipPlan } from '../../../src/start/ownership.ts';

const plan = (ownership: OwnershipMethod | undefined, mode: RunMode, source: string, granted = true) =>
  ownershipPlan({ ownership, mode, workingDirectory: '/work' }, source, granted);

describe('ownershipPlan', () => {
  it.each<[string, OwnershipMethod | undefined, RunMode, string, boolean, OwnershipMethod]>([
    ['nobody asks', undefined, 'root', 'policy', true, 'none'],
    ['the platform names the user', undefined, 'root', 'driver', true, 'auto'],
    ['the platform does, but nothing is granted', undefined, 'root', 'driver', false, 'none'],
    ['the platform does, without root', undefined, 'rootless', 'driver', true, 'none'],
    ['an image’s user owns his files already', undefined, 'root', 'image USER', true, 'none'],
    ['asked not to', 'none', 'root', 'driver', true, 'none'],
    ['asked not to, without root', 'none', 'rootless', 'caller', true, 'none'],
    ['asked to change', 'chown', 'root', 'policy', true, 'chown'],
    ['asked to map', 'idmap', 'root', 'policy', true, 'idmap'],
  ])('%s', (_, ownership, mode, source, granted, expected) => {
    expect(plan(ownership, mode, source, granted)).toBe(expected);
  });

  it.each<[OwnershipMethod, RunMode, boolean, string]>([
    ['auto', 'rootless', true, 'privilege_missing'],
    ['chown', 'process-only', true, 'privilege_missing'],
    ['chown', 'root', false, 'filesystem_refused'],
  ])('refuses %s, %s, granted %s', (ownership, mode, granted, code) => {
    expect(() => plan(ownership, mode, 'policy', granted)).toThrow(expect.objectContaining({ code }));
  });
});
