import { describe, expect, test } from 'vitest';
import { readNetworkInitConfig } from '../../../src/config/network-init.ts';
import type { Surroundings } from '../../../src/config/surroundings.ts';

const SURROUNDINGS = { workingDirectory: '/work' } as Surroundings;

function read(options: Readonly<Record<string, readonly string[]>>) {
  return readNetworkInitConfig({ options: new Map(Object.entries(options)), operands: [] }, SURROUNDINGS);
}

describe('what network-init is told', () => {
  test.each([
    [
      {},
      { proxyUid: 1337, proxyGid: 1337, stateDirectory: undefined, inboundPorts: [], wholeMachine: false },
    ],
    [{ 'proxy-uid': ['4294967294'] }, { proxyUid: 4_294_967_294, proxyGid: 4_294_967_294 }],
    [
      { 'proxy-uid': ['7'], 'proxy-gid': ['0'] },
      { proxyUid: 7, proxyGid: 0 },
    ],
    [{ 'state-directory': ['state'] }, { stateDirectory: '/work/state' }],
    [{ 'state-directory': ['/run/x/../y'] }, { stateDirectory: '/run/y' }],
    [{ 'allow-inbound': ['9001', '80', '9001'] }, { inboundPorts: [80, 9001] }],
    [{ 'whole-machine': [''] }, { wholeMachine: true }],
  ])('%j', (options, config) => {
    expect(read(options)).toMatchObject(config);
  });

  test.each([
    [{ 'proxy-uid': ['0'] }],
    [{ 'proxy-uid': ['4294967295'] }],
    [{ 'proxy-uid': ['-1'] }],
    [{ 'proxy-uid': ['01337'] }],
    [{ 'proxy-uid': ['root'] }],
    [{ 'proxy-uid': ['1 } accept'] }],
    [{ 'proxy-gid': ['4294967295'] }],
    [{ 'state-directory': [''] }],
    [{ 'allow-inbound': ['0'] }],
    [{ 'allow-inbound': ['65536'] }],
    [{ 'allow-inbound': ['80-90'] }],
    [{ 'allow-inbound': Array.from({ length: 65 }, (_, port) => String(port + 1)) }],
  ])('%j is refused', (options) => {
    expect(() => read(options)).toThrow(expect.objectContaining({ code: 'usage' }));
  });
});
