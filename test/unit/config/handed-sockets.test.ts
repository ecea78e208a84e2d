import { describe, expect, it } from 'vitest';
import { handedDescriptors } from '../../../src/config/handed-sockets.ts';
import type { Surroundings } from '../../../src/config/surroundings.ts';

const read = (environment: Surroundings['environment'], initPid?: number) =>
  handedDescriptors({ environment, pid: 8, initPid } as Surroundings);
const sockets = (count: string, names?: string, pid = '7') => ({
  LISTEN_PID: pid,
  LISTEN_FDS: count,
  ...(names !== undefined && { LISTEN_FDNAMES: names }),
});

describe('sockets of a service manager', () => {
  it.each([
    ['to the init', sockets('2', 'ssh:metrics')],
    ['to this process', sockets('2', 'ssh:metrics', '8')],
  ])('%s', (_, environment) =>
    expect(read(environment, 7)).toEqual([
      { name: 'ssh', descriptor: 3 },
      { name: 'metrics', descriptor: 4 },
    ]),
  );

  it.each([
    ['none', {}],
    ['none of them', sockets('0', '')],
    ['those of an ancestor', sockets('1', 'ssh', '6')],
    ['those of an init that is not ours', sockets('1', 'ssh', '')],
    ['a number without a receiver', { LISTEN_FDS: '1', LISTEN_FDNAMES: 'ssh' }],
  ])('not %s', (_, environment) => expect(read(environment, 7)).toEqual([]));

  it('without an init only those to this process', () => {
    expect(read(sockets('1', 'ssh'))).toEqual([]);
    expect(read(sockets('1', 'ssh', 'undefined'))).toEqual([]);
    expect(read(sockets('1', 'ssh', '8'))).toHaveLength(1);
  });

  it.each([
    ['a number that is none', sockets('x', 'ssh'), 'LISTEN_FDS'],
    ['too many', sockets('33', ''), 'LISTEN_FDS'],
    ['another name', sockets('1', 'castellan@demo.socket'), 'castellan@demo.socket'],
    ['fewer names than sockets', sockets('2', 'ssh'), 'nothing'],
    ['no names', sockets('1'), 'nothing'],
  ])('refuses %s', (_, environment, said) => expect(() => read(environment, 7)).toThrow(said));
});
