import { spawnSync } from 'node:child_process';
import { createReadStream, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { AuditFact } from '../../src/audit/event.ts';
import { watchBypass } from '../../src/kernel/bypass-watch.ts';
import { posix } from '../../src/kernel/posix.ts';
import { createSealedNamespace } from '../../src/kernel/sealed-namespace.ts';
import {
  isRoot,
  type Mode,
  NETNS_HELPER,
  openTestNamespace,
  type TestNamespace,
} from './namespace-client.ts';

const TOOLS = { helper: NETNS_HELPER, ip: '/usr/sbin/ip', nft: '/usr/sbin/nft', userNamespace: !isRoot };

/** Prints the line that the other side sends, or the symbolic errno. */
const TCP_CLIENT = `
import errno, socket, sys
try:
    client = socket.create_connection((sys.argv[1], int(sys.argv[2])), 10)
    print(client.makefile().readline().strip())
except OSError as error:
    print(errno.errorcode.get(error.errno, error))
`;

/** Prints the answer and where it came from, or the symbolic errno and the seconds it took. */
const UDP_CLIENT = `
import errno, json, socket, sys, time
family = socket.AF_INET6 if ':' in sys.argv[1] else socket.AF_INET
client = socket.socket(family, socket.SOCK_DGRAM)
client.settimeout(10)
start = time.monotonic()
try:
    client.sendto(b'question', (sys.argv[1], int(sys.argv[2])))
    answer, sender = client.recvfrom(1000)
    print(json.dumps([answer.decode(), sender[0], sender[1]]))
except OSError as error:
    print(json.dumps([errno.errorcode.get(error.errno, str(error)), time.monotonic() - start]))
`;

const RAW_PING = `
import errno, socket, struct
try:
    ping = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
    ping.sendto(struct.pack('!BBHHH', 8, 0, 0xf7fe, 1, 0), ('1.2.3.4', 0))
    print('sent')
except OSError as error:
    print(errno.errorcode[error.errno])
`;

const OWN_SERVER = `
import socket, sys, threading
family = socket.AF_INET6 if ':' in sys.argv[1] else socket.AF_INET
server = socket.socket(family)
server.bind((sys.argv[1], 0))
server.listen()
client = socket.create_connection((sys.argv[1], server.getsockname()[1]), 10)
server.accept()[0].sendall(b'own server')
print(client.recv(100).decode())
`;

const MODES: readonly Mode[] = ['as root', 'in a user namespace'];

describe.each(MODES)('the sealed namespace %s', (mode) => {
  const skip = mode === 'as root' && !isRoot;
  let inside: TestNamespace;
  const facts: AuditFact[] = [];
  const arrivals = new Set<() => void>();
  const watch = new AbortController();

  beforeAll(async () => {
    if (skip) return;
    inside = await openTestNamespace(mode);
    const report = (fact: AuditFact): void => {
      facts.push(fact);
      for (const wake of arrivals) wake();
    };
    watchBypass(inside.namespace.listeners.nflog ?? -1, report, watch);
  });
  afterAll(async () => {
    watch.abort();
    await inside?.[Symbol.asyncDispose]();
  });

  /** The first fact that matches, now or later; the test's own time-out is its deadline. */
  const factWhere = async (matches: (fact: AuditFact) => boolean): Promise<AuditFact> => {
    for (;;) {
      const found = facts.find(matches);
      if (found !== undefined) return found;
      const { promise, resolve } = Promise.withResolvers<void>();
      arrivals.add(resolve);
      await promise.finally(() => arrivals.delete(resolve));
    }
  };

  test.skipIf(skip).each([
    ['1.2.3.4', 443, '198.19.255.253'],
    ['10.0.0.1', 22, '198.19.255.253'],
    ['169.254.169.254', 80, '198.19.255.253'],
    ['2001:db8::1', 443, 'fd6c:97a2:5e1b::1'],
  ])(
    'TCP to %s port %i reaches the transparent listener, which learns where it was going',
    async (address, port, from) => {
      const said = JSON.parse(await inside.python(TCP_CLIENT, address, String(port)));
      expect(said).toMatchObject({ address, port, remoteAddress: from });
    },
  );

  test.skipIf(skip).each(['127.0.0.1', '::1'])('the proxy answers at %s', async (address) => {
    expect(await inside.python(TCP_CLIENT, address, '3128')).toBe('{"use":"proxy"}');
  });

  test.skipIf(skip).each(['8.8.8.8', '127.0.0.53', '127.0.0.1', '2001:4860:4860::8888', '::1'])(
    'a DNS query to %s is answered as from there',
    async (address) => {
      const said = JSON.parse(await inside.python(UDP_CLIENT, address, '53'));
      expect(said).toEqual(['answer to question', address, 53]);
    },
  );

  test.skipIf(skip).each(['9.9.9.9', '127.0.0.53', '2620:fe::fe'])(
    'DNS over TCP to %s reaches the resolver',
    async (address) => {
      expect(await inside.python(TCP_CLIENT, address, '53')).toBe('{"use":"dnsTcp"}');
    },
  );

  test.skipIf(skip).each([
    ['1.2.3.4', 443, '198.19.255.253'],
    ['2001:db8::1', 443, 'fd6c:97a2:5e1b::1'],
    ['198.19.255.254', 5353, '198.19.255.253'],
  ])('UDP to %s port %i is refused at once and recorded', async (address, port, from) => {
    const [refusal, seconds] = JSON.parse(await inside.python(UDP_CLIENT, address, String(port)));
    expect(refusal).toBe('EPERM');
    expect(seconds).toBeLessThan(5);
    const fact = await factWhere(
      (fact) => fact.kind === 'bypass-refused' && fact.destination.address === address,
    );
    expect(fact).toEqual({
      kind: 'bypass-refused',
      protocol: 17,
      source: { address: from, port: expect.any(Number) },
      destination: { address, port },
      uid: inside.uid,
    });
  });

  test.skipIf(skip)('a ping is refused', async () => {
    expect(await inside.python(RAW_PING)).toBe('EPERM');
    // Without CAP_NET_RAW there is not even a socket to send from, hence nothing to record.
    if (mode === 'as root')
      expect(await factWhere((fact) => fact.kind === 'bypass-refused' && fact.protocol === 1)).toMatchObject({
        destination: { address: '1.2.3.4', port: 0 },
      });
  });

  test.skipIf(skip).each(['127.0.0.1', '127.9.9.9', '::1', '198.19.255.253'])(
    "the agent's own server at %s stays reachable",
    async (address) => {
      expect(await inside.python(OWN_SERVER, address)).toBe('own server');
    },
  );

  test.skipIf(skip).each(['127.0.0.1', '::1'])(
    'the transparent listener cannot be dialled directly at %s',
    async (address) => {
      expect(await inside.python(TCP_CLIENT, address, '15001')).toBe('ECONNREFUSED');
    },
  );

  test.skipIf(skip).each([
    ['SOCK_DGRAM', '127.0.0.1', 15053],
    ['SOCK_DGRAM', '0.0.0.0', 15053],
    ['SOCK_STREAM', '127.0.0.1', 15001],
    ['SOCK_STREAM', '0.0.0.0', 3128],
  ])('an agent cannot take over %s %s %i', async (type, address, port) => {
    const script = `
import errno, socket
server = socket.socket(socket.AF_INET, socket.${type})
try:
    server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    server.bind(('${address}', ${port}))
    ${type === 'SOCK_STREAM' ? 'server.listen()' : 'pass'}
    print('bound')
except OSError as error:
    print(errno.errorcode[error.errno])`;
    expect(await inside.python(script)).toBe('EADDRINUSE');
  });
});

test('a flood is refused packet by packet but recorded only at the limited rate', async () => {
  await using inside = await openTestNamespace(isRoot ? 'as root' : 'in a user namespace');
  const script = `
import socket
client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
refused = 0
for port in range(1000, 3000):
    try: client.sendto(b'x', ('1.2.3.4', port))
    except PermissionError: refused += 1
print(refused)`;
  const start = performance.now();
  expect(await inside.python(script)).toBe('2000');
  const facts: AuditFact[] = [];
  const { promise, resolve } = Promise.withResolvers<void>();
  using _ = watching(inside.namespace.listeners.nflog ?? -1, (fact) => {
    facts.push(fact);
    if (facts.length === 20) resolve();
  });
  await promise;
  const seconds = (performance.now() - start) / 1000;
  expect(facts.length).toBeLessThanOrEqual(20 + 10 * Math.ceil(seconds + 1));
});

function watching(descriptor: number, report: (fact: AuditFact) => void): Disposable {
  const controller = new AbortController();
  watchBypass(descriptor, report, controller);
  return { [Symbol.dispose]: () => controller.abort() };
}

describe('making and taking down', () => {
  const open = (): string[] => readdirSync('/proc/self/fd');

  test('disposal closes every descriptor, also after the listeners went first, and twice does no harm', async () => {
    const namespace = await createSealedNamespace(TOOLS);
    const { networkDescriptor, userDescriptor, diag, listeners } = namespace;
    const { nflog = -1, ...others } = listeners;
    const shared = [nflog, ...Object.values(others).flat()];
    const all = [
      networkDescriptor,
      diag,
      ...shared,
      ...(userDescriptor === undefined ? [] : [userDescriptor]),
    ];
    expect(open()).toEqual(expect.arrayContaining(all.map(String)));
    namespace.closeListeners();
    for (const descriptor of shared) expect(() => posix().peerCredentials(descriptor)).toThrow('EBADF');
    expect(open()).toEqual(expect.arrayContaining([networkDescriptor, diag].map(String)));
    namespace[Symbol.dispose]();
    namespace[Symbol.dispose]();
    for (const descriptor of all) expect(() => posix().peerCredentials(descriptor)).toThrow('EBADF');
  });

  test.each([
    ['no helper', { helper: '/nonexistent' }, 'namespace/helper', 'ENOENT'],
    ['no ip', { ip: '/nonexistent' }, 'namespace/links', undefined],
    ['an ip that fails', { ip: '/bin/false' }, 'namespace/links', undefined],
    ['an nft that fails', { nft: '/bin/false' }, 'namespace/ruleset', undefined],
    ['a relative path', { nft: 'nft' }, 'namespace/request', 'EINVAL'],
    ['a helper that says nothing', { helper: '/bin/true' }, 'namespace/answer', 'ECONNRESET'],
  ])('%s is a typed failure', async (_, wrong, step, errno) => {
    await expect(createSealedNamespace({ ...TOOLS, ...wrong })).rejects.toMatchObject({
      code: 'namespace_failed',
      step,
      errno,
    });
  });

  test('an abort before the start makes nothing', async () => {
    const signal = AbortSignal.abort(new Error('enough'));
    await expect(createSealedNamespace({ ...TOOLS, signal })).rejects.toThrow('enough');
  });

  test('an abort ends the helper and the tool that it waits for', async () => {
    const directory = mkdtempSync(join(tmpdir(), 'castellan-namespace-'));
    try {
      const [alive, ip] = [join(directory, 'alive'), join(directory, 'ip')];
      expect(spawnSync('/usr/bin/mkfifo', [alive]).status).toBe(0);
      writeFileSync(ip, `#!/bin/sh\nexec 3>${alive}\necho started >&3\nexec /bin/sleep 1000\n`, {
        mode: 0o755,
      });
      const abort = new AbortController();
      // Expected from the start: the refusal may come before the stream has ended.
      const refused = expect(createSealedNamespace({ ...TOOLS, ip, signal: abort.signal })).rejects.toThrow(
        'enough',
      );
      let said = '';
      // The tool holds the only writing end: the stream ends with it.
      for await (const text of createReadStream(alive, 'utf8')) {
        said += text;
        abort.abort(new Error('enough'));
      }
      expect(said).toBe('started\n');
      await refused;
    } finally {
      rmSync(directory, { recursive: true });
    }
  });
});
