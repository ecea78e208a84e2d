/**
 * The bundle for arm64 under an emulator of its processor: what it says is what the bundle for this machine says, and its native parts do
 * their work. The kernel is this machine's and starts no program of another architecture, so the loader is named here and libexec/ and bin/
 * are not reached; test/vm boots a kernel that starts them.
 */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, realpathSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { BUNDLE, BUNDLE_ARM64 } from './container.ts';

/** Of a hundred megabytes, with their digests emulated, on a loaded machine. */
const COPY_DEADLINE_MS = 180_000;

const directory = mkdtempSync(join(tmpdir(), 'castellan-emulated-'));
afterAll(() => rmSync(directory, { recursive: true, force: true }));

interface Said {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

function say(program: string, ...args: string[]): Said {
  const { status, stdout, stderr } = spawnSync(program, args, {
    encoding: 'utf8',
    env: { OPENSSL_CONF: '/dev/null', PATH: '/usr/bin:/bin' },
  });
  return { code: status, stdout, stderr };
}

const LIB = join(BUNDLE_ARM64, 'lib');
/** One of lib/programs, by the bundle's own loader. */
const emulated = (program: string, ...args: string[]): Said =>
  say(
    ...(['qemu-aarch64', join(LIB, 'ld.so'), '--inhibit-cache', '--library-path', LIB] as const),
    join(LIB, 'programs', program),
    ...args,
  );
const castellan = (...args: string[]): Said =>
  emulated('node', join(BUNDLE_ARM64, 'app/castellan.cjs'), ...args);
const native = (...args: string[]): Said => say(join(BUNDLE, 'bin/castellan'), ...args);

function file(name: string, text: string): string {
  const path = join(directory, name);
  writeFileSync(path, text);
  return path;
}

const POLICY = file(
  'policy.yaml',
  `version: 1
network_policies:
  tickets:
    endpoints: [{ host: tickets.example.org, port: 443, protocol: rest, access: read-only }]
    binaries: [{ path: /usr/bin/curl }]
`,
);
const BROKEN = file('broken.yaml', 'version: 1\nlandlok: {}\n');
const LOG = file('log.jsonl', '{"no": "record"}\n');
const EXPLAIN = ['policy', 'explain', POLICY, '--binary', '/usr/bin/curl', '--json'];

describe('what castellan says', () => {
  it.each([
    [['--version']],
    [['--help']],
    [['man']],
    [['completion', 'bash']],
    [['policy', 'schema']],
    [['policy', 'lint', POLICY]],
    [['policy', 'lint', BROKEN]],
    [[...EXPLAIN, '--url', 'https://tickets.example.org/x']],
    [[...EXPLAIN, '--url', 'https://tickets.example.org/x', '--method', 'DELETE']],
    [[...EXPLAIN, '--url', 'https://other.example.org/']],
    [['audit', LOG]],
    [['no-such-verb']],
  ])('%s', (argv) => {
    const said = castellan(...argv);
    expect(said).toEqual(native(...argv));
    expect(said.stdout + said.stderr).not.toBe('');
  });

  it(
    'copy-self: the whole bundle, measured against its manifest',
    () => {
      const target = join(directory, 'copy');
      const { code, stdout, stderr } = castellan('copy-self', target);
      expect([code, stderr]).toEqual([0, '']);
      expect(stdout).toContain('copied');
      const copy = join(realpathSync(join(target, 'bin')), '..');
      expect(say('diff', '-r', BUNDLE_ARM64, copy)).toEqual({ code: 0, stdout: '', stderr: '' });
    },
    COPY_DEADLINE_MS,
  );
});

describe('programs that come along', () => {
  it('ip', () => {
    expect(emulated('ip', '-V')).toMatchObject({ code: 0, stdout: expect.stringContaining('iproute2') });
  });

  it('nft, as far as its first call for a socket that the emulator lacks', () => {
    expect(emulated('nft', '--version').stderr).toContain('Unable to initialize Netlink socket');
  });

  it('what V8 compiled under emulation is taken by every model of the processor', () => {
    const script = file(
      'cache.cjs',
      `const { Script } = require('node:vm');
       const { readFileSync } = require('node:fs');
       for (const role of ['process', 'network']) {
         const filename = process.argv[2] + '/app/' + role + '.cjs';
         const cachedData = readFileSync(filename.replace(/cjs$/, 'cache'));
         console.log(role, new Script(readFileSync(filename, 'utf8'), { filename, cachedData }).cachedDataRejected);
       }`,
    );
    const node = [join(LIB, 'ld.so'), '--library-path', LIB, join(LIB, 'programs/node')];
    for (const model of ['cortex-a53', 'cortex-a57', 'cortex-a72', 'max'])
      expect(say('qemu-aarch64', '-cpu', model, ...node, script, BUNDLE_ARM64).stdout).toBe(
        'process false\nnetwork false\n',
      );
  });
});

/** What `body` prints, which has the addon as `addon`. */
function withAddon(name: string, body: string): string {
  const script = file(
    `${name}.cjs`,
    `const module_ = { exports: {} };
     process.dlopen(module_, ${JSON.stringify(join(BUNDLE_ARM64, 'native', name))});
     const addon = module_.exports;
     (async () => { ${body} })();`,
  );
  const { code, stdout, stderr } = emulated('node', script);
  expect([code, stderr]).toEqual([0, '']);
  return stdout;
}

describe('addons', () => {
  it('posix.node: sockets that know who made them', () => {
    const said = withAddon(
      'posix.node',
      `const [one, other] = addon.socketPair();
       require('node:fs').writeSync(one, 'through');
       const bytes = Buffer.alloc(16);
       const text = bytes.toString('latin1', 0, require('node:fs').readSync(other, bytes));
       const { pid, uid } = addon.peerCredentials(other);
       console.log(text, pid === process.pid, uid === process.getuid());`,
    );
    expect(said).toBe('through true true\n');
  });

  it('pty.node: a terminal with its line discipline', () => {
    const said = withAddon(
      'pty.node',
      `const { master, slave, pty } = addon.open(80, 24);
       require('node:fs').writeSync(slave, 'line\\n');
       const bytes = Buffer.alloc(16);
       const text = bytes.toString('latin1', 0, require('node:fs').readSync(master, bytes));
       console.log(JSON.stringify(text), pty);`,
    );
    expect(said).toMatch(/^"line\\r\\n" \/dev\/pts\/\d+\n$/);
  });

  it('sshcrypto.node: packets as OpenSSL itself would seal them', () => {
    const said = withAddon(
      'sshcrypto.node',
      `const { createCipheriv, randomBytes } = require('node:crypto');
       const [key, iv, payload] = [randomBytes(16), randomBytes(12), randomBytes(32)];
       const length = Buffer.from([0, 0, 0, 32]);
       const packet = Buffer.concat([length, payload, Buffer.alloc(16)]);
       new addon.AESGCMCipher('aes-128-gcm', key, iv).encrypt(packet);
       const cipher = createCipheriv('aes-128-gcm', key, iv).setAAD(length);
       const sealed = Buffer.concat([length, cipher.update(payload), cipher.final(), cipher.getAuthTag()]);
       console.log(packet.equals(sealed));`,
    );
    expect(said).toBe('true\n');
  });
});
