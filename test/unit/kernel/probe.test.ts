import { describe, expect, test } from 'vitest';
import { parseCapabilities, parseCgroups } from '../../../src/kernel/probe.ts';

describe('capabilities', () => {
  test.each([
    ['0000000000000000', []],
    ['0000000000000001', ['CAP_CHOWN']],
    [
      '00000000a80425fb',
      [
        ...[
          'CAP_CHOWN',
          'CAP_DAC_OVERRIDE',
          'CAP_FOWNER',
          'CAP_FSETID',
          'CAP_KILL',
          'CAP_SETGID',
          'CAP_SETUID',
        ],
        ...[
          'CAP_SETPCAP',
          'CAP_NET_BIND_SERVICE',
          'CAP_NET_RAW',
          'CAP_SYS_CHROOT',
          'CAP_MKNOD',
          'CAP_AUDIT_WRITE',
          'CAP_SETFCAP',
        ],
      ],
    ],
    ['0000010000001000', ['CAP_NET_ADMIN', 'CAP_CHECKPOINT_RESTORE']],
    ['8000000000000000', ['CAP_63']],
  ])('%s', (mask, expected) => {
    expect(parseCapabilities(`Name:\tx\nCapPrm:\tffff\nCapEff:\t${mask}\nCapBnd:\tffff\n`)).toEqual(expected);
  });

  test('a status without them says so', () => {
    expect(() => parseCapabilities('Name:\tCapEff: 1\n')).toThrow('no CapEff');
  });
});

describe('cgroups', () => {
  const v1 = '30 25 0:26 / /sys/fs/cgroup/memory rw,nosuid shared:9 - cgroup cgroup rw,memory';
  const v2 = '31 25 0:27 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw';
  const other = '32 25 0:28 / /cgroup2 rw - tmpfs cgroup rw';
  test.each([
    ['v1', [v1, other]],
    ['v2', [other, v2]],
    ['hybrid', [v1, v2]],
  ])('%s', (expected, lines) => {
    expect(parseCgroups(`${lines.join('\n')}\n`)).toBe(expected);
  });

  test('none mounted says so', () => {
    expect(() => parseCgroups(`${other}\n`)).toThrow('no cgroup file system');
  });
});
