import { describe, expect, it } from 'vitest';
import { showTarget } from '../../../src/launch/spec.ts';
import {
  type Destination,
  tcpDestination,
  unixDestination,
} from '../../../src/session/forward-destination.ts';

const told = (destination: Destination) =>
  destination.ok ? destination.targets.map(showTarget) : destination.reason;

const NAME = 'only localhost and loopback addresses are reached, and no name is looked up';
const ELSEWHERE = 'only loopback is reached: everything else goes out by the policy';
const OWN = 'the port is castellan’s own';
const NO_PORT = 'there is no such port';

describe('destinations of forwards', () => {
  it.each<[string, number, string | string[]]>([
    ['127.0.0.1', 1, ['127.0.0.1:1']],
    ['127.255.255.254', 65_535, ['127.255.255.254:65535']],
    ['::1', 80, ['[::1]:80']],
    ['[::1]', 80, ['[::1]:80']],
    ['0:0:0:0:0:0:0:1', 80, ['[::1]:80']],
    ['0000::0001', 80, ['[::1]:80']],
    ['::ffff:127.0.0.1', 80, ['127.0.0.1:80']],
    ['::ffff:7f00:1', 80, ['127.0.0.1:80']],
    ['localhost', 80, ['[::1]:80', '127.0.0.1:80']],
    ['LocalHost', 80, ['[::1]:80', '127.0.0.1:80']],
    // Elsewhere, in whatever spelling.
    ['0.0.0.0', 80, ELSEWHERE],
    ['::', 80, ELSEWHERE],
    ['128.0.0.1', 80, ELSEWHERE],
    ['10.0.0.1', 80, ELSEWHERE],
    ['169.254.169.254', 80, ELSEWHERE],
    ['::ffff:10.0.0.1', 80, ELSEWHERE],
    ['::ffff:0.0.0.0', 80, ELSEWHERE],
    ['::127.0.0.1', 80, ELSEWHERE],
    ['64:ff9b::7f00:1', 80, ELSEWHERE],
    ['::2', 80, ELSEWHERE],
    ['fe80::1', 80, ELSEWHERE],
    // What resolvers take for addresses, and everything else that is a name.
    ['127.1', 80, NAME],
    ['0x7f.1', 80, NAME],
    ['0177.0.0.1', 80, NAME],
    ['2130706433', 80, NAME],
    ['127.0.0.1.', 80, NAME],
    ['127.000.000.001', 80, NAME],
    [' 127.0.0.1', 80, NAME],
    ['127.0.0.1\0', 80, NAME],
    ['[127.0.0.1]', 80, NAME],
    ['[[::1]]', 80, NAME],
    ['::1%lo', 80, NAME],
    ['localhost.', 80, NAME],
    ['localhost\0', 80, NAME],
    ['ip6-localhost', 80, NAME],
    ['example.org', 80, NAME],
    ['', 80, NAME],
    ['*', 80, NAME],
    // Ports.
    ['127.0.0.1', 0, NO_PORT],
    ['127.0.0.1', 65_536, NO_PORT],
    ['127.0.0.1', 2 ** 32 - 1, NO_PORT],
    ['127.0.0.1', 3128, OWN],
    ['localhost', 15_001, OWN],
    ['::1', 15_053, OWN],
    ['127.0.0.53', 53, OWN],
  ])('%j port %i', (host, port, wanted) => expect(told(tcpDestination(host, port))).toEqual(wanted));

  it.each<[string, string | string[]]>([
    ['/work/app.sock', ['/work/app.sock']],
    ['/', ['/']],
    [`/${'a'.repeat(106)}`, [`/${'a'.repeat(106)}`]],
    [`/${'a'.repeat(107)}`, 'no socket has such a path'],
    [`/${'ü'.repeat(54)}`, 'no socket has such a path'],
    ['/a\0b', 'no socket has such a path'],
    ['app.sock', 'only Unix sockets with an absolute path are reached'],
    ['\0abstract', 'only Unix sockets with an absolute path are reached'],
    ['@abstract', 'only Unix sockets with an absolute path are reached'],
    ['', 'only Unix sockets with an absolute path are reached'],
  ])('%j', (path, wanted) => expect(told(unixDestination(path))).toEqual(wanted));
});
