import { describe, expect, it } from 'vitest';
import { ownCgroup } from '../../../src/kernel/cgroup.ts';

const V2 = '30 25 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate';
const HYBRID = `29 25 0:25 / /sys/fs/cgroup ro - tmpfs tmpfs ro\n31 29 0:27 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n32 29 0:28 / /sys/fs/cgroup/pids rw - cgroup cgroup rw,pids`;

describe('ownCgroup', () => {
  it.each([
    ['the root', V2, '0::/\n', '/sys/fs/cgroup'],
    ['a scope', V2, '0::/user.slice/a.scope\n', '/sys/fs/cgroup/user.slice/a.scope'],
    ['beside version 1', HYBRID, '8:pids:/x\n0::/a\n', '/sys/fs/cgroup/unified/a'],
    ['a mount of a part', V2.replace(' / /sys', ' /box /sys'), '0::/box/in\n', '/sys/fs/cgroup/in'],
    ['another part than ours', V2.replace(' / /sys', ' /box /sys'), '0::/boxes\n', undefined],
    ['a blank in the mount point', V2.replace('/sys/fs/cgroup', '/mnt/a\\040b'), '0::/x\n', '/mnt/a b/x'],
    ['no unified hierarchy', '29 25 0:25 / /sys rw - sysfs sysfs rw', '0::/\n', undefined],
    ['version 1 alone', V2, '8:pids:/x\n', undefined],
  ])('%s', (_, mountinfo, membership, expected) => {
    expect(ownCgroup(mountinfo, membership)).toBe(expected);
  });
});
