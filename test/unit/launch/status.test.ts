import { describe, expect, it } from 'vitest';
import { LAUNCH_STEPS } from '../../../src/launch/spec.ts';
import { errnoName, parseStatus } from '../../../src/launch/status.ts';

function record(step: number, errno: number, object = ''): Buffer {
  const head = Buffer.alloc(8);
  head.writeUInt32LE(step, 0);
  head.writeInt32LE(errno, 4);
  return Buffer.concat([head, Buffer.from(object)]);
}

describe('parseStatus', () => {
  it('is undefined when the command was executed', () =>
    expect(parseStatus(new Uint8Array())).toBeUndefined());

  it.each(LAUNCH_STEPS.map((step, index) => [step, index + 1] as const))('%s is step %i', (step, number) => {
    expect(parseStatus(record(number, 13, '/bin'))).toEqual({ step, errno: 13, object: '/bin' });
  });

  it('reads no further than its own bytes', () => {
    const pool = Buffer.concat([
      Buffer.from('before'),
      record(LAUNCH_STEPS.length, 2, 'ü'),
      Buffer.from('after'),
    ]);
    expect(parseStatus(pool.subarray(6, 16))).toEqual({ step: 'execute', errno: 2, object: 'ü' });
  });

  it.each([
    ['one byte', Buffer.from([1])],
    ['a head cut short', record(1, 13).subarray(0, 7)],
    ['step 0', record(0, 13)],
    ['a step past the last', record(LAUNCH_STEPS.length + 1, 13)],
  ])('never takes %s for success', (_, bytes) => {
    expect(() => parseStatus(bytes)).toThrow(RangeError);
  });
});

describe('errnoName', () => {
  it.each([
    [1, 'EPERM'],
    [2, 'ENOENT'],
    [11, 'EAGAIN'],
    [13, 'EACCES'],
    [38, 'ENOSYS'],
    [71, 'EPROTO'],
    [95, 'EOPNOTSUPP'],
    [116, 'ESTALE'],
    [4242, 'errno 4242'],
  ])('%i is %s', (number, name) => {
    expect(errnoName(number)).toBe(name);
  });
});
