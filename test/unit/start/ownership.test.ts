import { describe, expect, it } from 'vitest';
import { type OwnershipPlan, type OwnershipQuestion, ownershipPlan } from '../../../src/start/ownership.ts';

const AGENT = { uid: 2000, gid: 2000 };
const TENANTS = { uid: 1000, gid: 1000, isDirectory: true, isShared: false, ownPlace: undefined };
const ROOTS = { ...TENANTS, uid: 0, gid: 0 };
const AGENTS = { ...TENANTS, ...AGENT };
const SHARED = { ...ROOTS, isShared: true };
const WITH_LOG = { ...TENANTS, ownPlace: '/work/log' };

type Asked = OwnershipQuestion['asked'];
type Mode = OwnershipQuestion['mode'];
type Workspace = OwnershipQuestion['workspace'];

const plan = (
  asked: Asked,
  mode: Mode,
  source: OwnershipQuestion['identity']['source'],
  workspace: Workspace,
) => ownershipPlan({ asked, mode, identity: { ...AGENT, source }, workingDirectory: '/work', workspace });

const none: OwnershipPlan = { method: 'none' };
const chown: OwnershipPlan = { method: 'chown' };
const mapOrChown: OwnershipPlan = { method: 'idmap', otherwise: 'chown' };
const mapOnly: OwnershipPlan = { method: 'idmap', otherwise: 'refuse' };

describe('ownershipPlan', () => {
  it.each<[string, Asked, Mode, OwnershipQuestion['identity']['source'], Workspace, OwnershipPlan]>([
    ['nobody asks', undefined, 'root', 'policy', TENANTS, none],
    ['the platform names the user', undefined, 'root', 'driver', TENANTS, mapOrChown],
    ['the platform does; the directory is root’s', undefined, 'root', 'driver', ROOTS, chown],
    ['the platform does; he owns the top already', undefined, 'root', 'driver', AGENTS, chown],
    ['the platform does, but nothing is granted', undefined, 'root', 'driver', undefined, none],
    ['the platform does; everybody works in /tmp', undefined, 'root', 'driver', SHARED, none],
    [
      'the platform does; it is a file',
      undefined,
      'root',
      'driver',
      { ...TENANTS, isDirectory: false },
      none,
    ],
    ['the platform does, without root', undefined, 'rootless', 'driver', TENANTS, none],
    ['an image’s user owns his files already', undefined, 'root', 'image USER', TENANTS, none],
    ['asked not to', 'none', 'root', 'driver', TENANTS, none],
    ['asked not to, without root', 'none', 'rootless', 'caller', TENANTS, none],
    ['asked to change', 'chown', 'root', 'policy', TENANTS, chown],
    ['asked to map', 'idmap', 'root', 'policy', TENANTS, mapOnly],
    ['asked to map what is his', 'idmap', 'root', 'policy', AGENTS, none],
    ['a map gives no log away', 'idmap', 'root', 'policy', WITH_LOG, mapOnly],
  ])('%s', (_, asked, mode, source, workspace, expected) => {
    expect(plan(asked, mode, source, workspace)).toEqual(expected);
  });

  it.each<[string, Asked, Mode, Workspace, string]>([
    ['auto without root', 'auto', 'rootless', TENANTS, 'privilege_missing'],
    ['chown without root', 'chown', 'process-only', TENANTS, 'privilege_missing'],
    ['what is not granted', 'chown', 'root', undefined, 'filesystem_refused'],
    ['a file', 'chown', 'root', { ...TENANTS, isDirectory: false }, 'filesystem_refused'],
    ['a shared directory', 'chown', 'root', SHARED, 'filesystem_refused'],
    ['a shared directory, mapped', 'idmap', 'root', { ...SHARED, uid: 5, gid: 5 }, 'filesystem_refused'],
    ['to stand for root', 'idmap', 'root', ROOTS, 'filesystem_refused'],
    ['to stand for root’s group', 'idmap', 'root', { ...TENANTS, gid: 0 }, 'filesystem_refused'],
    ['to give the log away', 'chown', 'root', WITH_LOG, 'filesystem_refused'],
    ['to give the log away unasked', undefined, 'root', WITH_LOG, 'filesystem_refused'],
  ])('refuses %s', (_, asked, mode, workspace, code) => {
    expect(() => plan(asked, mode, 'driver', workspace)).toThrow(expect.objectContaining({ code }));
  });
});
