/** Look-ups of the network role by the C library and real name servers, in namespaces of their own. */
import { spawn } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { RESOLVER_THREADS } from '../../src/egress/limits.ts';
import { type Program, wrapProgram } from '../native/python.ts';

const isRoot = process.geteuid?.() === 0;
const SERVERS = join(import.meta.dirname, '../fakes/name-servers.ts');

interface Answer {
  /** Of each name: addresses, an error code, or null for one that nobody waits for. */
  readonly found: readonly (readonly string[] | string | null)[];
  readonly ms: number;
  /** What the server that answers was asked: transport, name, type. */
  readonly asked: readonly string[];
}

describe.skipIf(!isRoot)('look-ups (as root)', () => {
  let directory: string;
  let world: Program | undefined;

  beforeEach(() => {
    directory = mkdtempSync(join(tmpdir(), 'castellan-names-'));
  });
  afterEach(async () => {
    await world?.[Symbol.asyncDispose]();
    world = undefined;
    rmSync(directory, { recursive: true });
  });

  async function start(resolvConf: string): Promise<(names: string) => Promise<Answer>> {
    writeFileSync(join(directory, 'resolv.conf'), resolvConf);
    writeFileSync(
      join(directory, 'hosts'),
      '127.0.0.1 localhost\n192.0.2.80 alias-of-the-pod other.ok.test\n',
    );
    const files = ['resolv.conf', 'hosts'].map((name) => `mount --bind ${directory}/${name} /etc/${name}`);
    const script = ['set -e', 'ip link set lo up', ...files, `exec ${process.execPath} ${SERVERS}`].join(
      '\n',
    );
    const running = wrapProgram(
      spawn('unshare', ['--net', '--mount', '/bin/sh', '-c', script], {
        env: { PATH: '/usr/sbin:/usr/bin:/sbin:/bin', UV_THREADPOOL_SIZE: String(RESOLVER_THREADS) },
      }),
    );
    world = running;
    await running.line();
    return async (names) => {
      running.say(names);
      return JSON.parse(await running.line());
    };
  }

  test('both families, hosts before DNS, aliases, names that do not exist; once each', async () => {
    const look = await start('nameserver 127.0.0.12\n');
    const { found } = await look('both.test other.ok.test alias-of-the-pod alias.test none.test');
    expect(found).toEqual([
      expect.arrayContaining(['192.0.2.1', '2001:db8::1']),
      ['192.0.2.80'],
      ['192.0.2.80'],
      ['192.0.2.7'],
      'ENOTFOUND',
    ]);
    expect(await look('both.test none.test')).toMatchObject({ found: [found[0], 'ENOTFOUND'], asked: [] });
  });

  test.each([
    ['without EDNS', ''],
    ['with EDNS', 'options edns0\n'],
  ])('an answer that does not fit into a datagram comes by TCP, %s', async (_, options) => {
    const look = await start(`nameserver 127.0.0.12\n${options}`);
    const { found, asked } = await look('many.test');
    expect(new Set(found[0]).size).toBe(100);
    expect(asked).toEqual(expect.arrayContaining(['udp many.test 1', 'tcp many.test 1']));
  });

  test('the second name server is asked where the first is dead, as resolv.conf says', async () => {
    const look = await start('nameserver 127.0.0.11\nnameserver 127.0.0.12\noptions timeout:1\n');
    const { found, ms } = await look('both.test');
    expect(found[0]).toEqual(expect.arrayContaining(['192.0.2.1', '2001:db8::1']));
    expect(ms).toBeGreaterThan(900);
  });

  test('names whose servers hang do not keep other names waiting', async () => {
    const look = await start('nameserver 127.0.0.12\noptions timeout:30 attempts:1\n');
    const hanging = Array.from({ length: 40 }, (_, index) => `n${index}.hang.test`);
    await look(hanging.join(' '));
    const { found, ms } = await look('a.ok.test b.ok.test other.ok.test');
    expect(found).toEqual([['192.0.2.9'], ['192.0.2.9'], ['192.0.2.80']]);
    expect(ms).toBeLessThan(5000);
  });
});
