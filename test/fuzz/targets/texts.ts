import assert from 'node:assert/strict';
import { isIP } from 'node:net';
import { parseArguments } from '../../../src/cli/parse.ts';
import { readDriverIdentity } from '../../../src/config/driver-identity.ts';
import { readLimits } from '../../../src/config/limits.ts';
import { parseMainProcessSpec } from '../../../src/config/main-process-spec.ts';
import { questionOf } from '../../../src/egress/question.ts';
import { CastellanError } from '../../../src/errors.ts';
import { parseAccounts, parseGroups } from '../../../src/kernel/accounts.ts';
import { ownCgroup } from '../../../src/kernel/cgroup.ts';
import { parseCapabilities, parseCgroups } from '../../../src/kernel/probe.ts';
import { isRequestable } from '../../../src/launch/environment.ts';
import { escapeText } from '../../../src/lib/escape.ts';
import { parseId } from '../../../src/lib/id.ts';
import { nearest } from '../../../src/lib/nearest.ts';
import { parsePath } from '../../../src/policy/path.ts';
import { parseAttachSubsystem } from '../../../src/session/attach.ts';
import { detachScanner } from '../../../src/session/detach-keys.ts';
import { sshArguments } from '../../../src/session/ssh/client-arguments.ts';
import { choiceTarget, returnsOr, type Target, textTarget } from '../target.ts';

function isRefusal(...codes: readonly string[]): (error: unknown) => boolean {
  return (error) => error instanceof CastellanError && codes.includes(error.code);
}

const mainProcessSpec = textTarget({
  name: 'main-process-spec',
  seeds: [
    '{"version":1,"command":["/bin/sh","-c","x"],"tty":true}',
    `base64url:${Buffer.from('{"version":1,"command":["a"]}').toString('base64url')}`,
  ],
  words: ['base64url:', '\\u0000', '""', '[]', '"__proto__":', '=', '-', '_', '\ufeff'],
  maxBytes: 140 * 1024,
  check(text) {
    const spec = returnsOr(() => parseMainProcessSpec('V', text), isRefusal('usage'));
    if (spec === undefined) return;
    assert.ok(spec.command.length > 0 && spec.command[0] !== '');
    assert.ok(spec.command.every((word) => !word.includes('\0')));
    for (const again of [
      JSON.stringify({ version: 1, ...spec }),
      `base64url:${Buffer.from(JSON.stringify({ version: 1, ...spec })).toString('base64url')}`,
    ])
      if (spec.command.every((word) => word.isWellFormed()) && again.length <= 128 * 1024)
        assert.deepEqual(parseMainProcessSpec('V', again), spec);
  },
});

const limits = textTarget({
  name: 'limits',
  seeds: ['memory=1G', 'cpu=1.5', 'nofile=1024\npids=10', 'stack=8M', 'memroy=1'],
  words: ['=', 'K', 'T', '9999999999999999', '.', '-1', '1e3', '__proto__', 'constructor'],
  maxBytes: 400,
  check(text) {
    const read = returnsOr(() => readLimits(text.split('\n')), isRefusal('usage'));
    if (read === undefined) return;
    for (const value of [...Object.values(read.together), ...read.each.map((each) => each.value)])
      assert.ok(value > 0 && value <= Number.MAX_SAFE_INTEGER);
    assert.equal(Object.keys(read.together).length + read.each.length, text.split('\n').length);
  },
});

const driverIdentity = choiceTarget({
  name: 'driver-identity',
  check(choices) {
    const names = [
      'OPENSHELL_SANDBOX_UID',
      'SANDBOX_UID',
      'OPENSHELL_SANDBOX_GID',
      'SANDBOX_GID',
      'OCI_IMAGE_USER',
    ];
    const value = () =>
      choices.pick([
        '1000',
        '999',
        '2000000000',
        '2000000001',
        '-1',
        '01000',
        '1e4',
        '',
        '4294967295',
        'sandbox',
      ]);
    const variables = Object.fromEntries(choices.list(5, () => [choices.pick(names), value()]));
    const identity = returnsOr(() => readDriverIdentity(variables), isRefusal('identity_invalid'));
    if (identity?.kind !== 'ids') return;
    for (const id of [identity.uid, identity.gid]) assert.ok(id >= 1 && id <= 4_294_967_294);
    assert.ok(Object.values(variables).includes(String(identity.uid)));
  },
});

const argumentsTarget = textTarget({
  name: 'arguments',
  seeds: [
    'run\n--policy\np.yaml\n--\nls\n-l',
    'policy\ntest\n--file=x',
    'attach\nname\n--read-only',
    '--version',
    'ssh\nx\n--',
  ],
  words: ['--', '-', '=', '\n', '--policy', '--env', '--limit=memory=1', '-h', '__proto__', '--constructor'],
  maxBytes: 2000,
  microsecondsPerByte: 20,
  check(text) {
    returnsOr(() => parseArguments(text.split('\n')), isRefusal('usage'));
  },
});

const policyQuestion = textTarget({
  name: 'policy-question',
  seeds: [
    'https://a.example/x?y',
    'http://[::1]:8080/',
    'tcp://a.example:22',
    'HTTPS://A.Example',
    'http://a?b',
  ],
  words: ['@', '#', ':', '//', '\\', '%2f', '[', ']', 'tcp://', '65536', '\n'],
  maxBytes: 400,
  check(text) {
    const question = returnsOr(() => questionOf({ binaries: ['/b'], url: text }), isRefusal('usage'));
    if (question === undefined || /^tcp:/i.test(text)) return;
    // What is explained is what a client would ask for.
    const url = returnsOr(
      () => new URL(text),
      (error) => error instanceof TypeError,
    );
    if (url === undefined) return;
    assert.equal(Number(url.port || (url.protocol === 'http:' ? 80 : 443)), question.port);
    if (question.host.includes(':') || isIP(question.host) === 4) return;
    assert.equal(url.hostname, question.host);
  },
});

const HARMLESS =
  /^[^\p{Cc}\p{Cs}\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\ufff9-\ufffb\u{e0000}-\u{e007f}]*$/u;

const escaping: Target = {
  name: 'escape',
  seeds: ['\u001b[31mred\u0007', 'a\u202eb\u2066c\ud83d\ude00', '\u0085\u2028'],
  words: ['\u001b]0;', '\r', '\u200b', '\u{e0041}', '\u009b'],
  check(input) {
    // UTF-16 code units, so that half a pair comes too.
    for (const text of [Buffer.from(input).toString('utf8'), Buffer.from(input).toString('utf16le')]) {
      const escaped = escapeText(text, 100);
      assert.match(escaped, HARMLESS);
      assert.ok(escaped.length <= 100 + '\\u{10ffff}…'.length);
      if (HARMLESS.test(text) && text.length <= 100) assert.equal(escaped, text);
    }
  },
};

const words = textTarget({
  name: 'words',
  seeds: ['endpoints', '4294967294', '/a/./b//c', 'castellan-main read-only', 'LC_ALL', 'LD_PRELOAD'],
  words: ['..', '/', '\0', '4294967295', '0', ' ', 'BASH_FUNC_x%%'],
  maxBytes: 5000,
  check(text) {
    const candidates = ['endpoint', 'enforcement', 'ports', text.slice(1)];
    const near = nearest(text.slice(0, 100), candidates);
    if (near !== undefined) assert.ok(candidates.includes(near));
    const id = parseId(text);
    if (id !== undefined) assert.equal(String(id), text);
    const path = parsePath(text);
    if ('path' in path) {
      assert.deepEqual(parsePath(path.path), path);
      assert.doesNotMatch(path.path, /\/\/|\/\.{1,2}(?:\/|$)|\0/);
    }
    if (parseAttachSubsystem(text)?.readOnly === true) assert.match(text, /^\S+ read-only$/);
    if (isRequestable(text, 'x', [text]))
      assert.doesNotMatch(text, /^LD_|^BASH_(?:ENV$|FUNC_)|=|^NODE_OPTIONS$/);
  },
});

const detachKeys = choiceTarget({
  name: 'detach-keys',
  check(choices) {
    const input = Buffer.from(choices.list(30, () => choices.pick([0x10, 0x11, 0x61])));
    const scanner = detachScanner();
    const passed: Buffer[] = [];
    let detached = false;
    for (let at = 0; at < input.length && !detached; ) {
      const size = 1 + choices.below(4);
      const { pass, detach } = scanner.scan(input.subarray(at, at + size));
      passed.push(pass);
      detached = detach;
      at += size;
    }
    if (!detached) passed.push(scanner.rest());
    const end = naiveDetach(input);
    assert.equal(detached, end !== undefined);
    assert.deepEqual(Buffer.concat(passed), input.subarray(0, end));
  },
});

function naiveDetach(input: Uint8Array): number | undefined {
  const end = Buffer.from(input).indexOf(Buffer.of(0x10, 0x11));
  return end < 0 ? undefined : end;
}

const sshClient = textTarget({
  name: 'ssh-client-arguments',
  seeds: ['/run/castellan/x/ssh.sock', "/tmp/it's here/%h $x", '/a"b\\c'],
  words: ['%', '%%', "'", '"', '\\', '${', '$(', '`', '\n', ' ', ';'],
  maxBytes: 400,
  check(path) {
    const request = {
      name: 'n',
      user: 'u',
      socketPath: path,
      knownHosts: path,
      castellan: path,
      tty: undefined,
      command: [],
    };
    const made = returnsOr(() => sshArguments(request), isRefusal('usage'));
    if (made === undefined) return;
    const [proxy = '', hosts = ''] = ['ProxyCommand=', 'UserKnownHostsFile='].map((key) =>
      made.find((each) => each.startsWith(key))?.slice(key.length),
    );
    assert.deepEqual(shellWords(proxy.replaceAll('%%', '%')), [path, 'ssh-proxy', path]);
    assert.match(hosts, /^"(?:[^"\\]|\\["\\])*"$/);
    assert.equal(
      hosts
        .slice(1, -1)
        .replaceAll(/\\(["\\])/g, '$1')
        .replaceAll('%%', '%'),
      path,
    );
  },
});

/** sh(1): plain words, and parts in single quotes, or single characters behind a backslash. */
function shellWords(line: string): string[] {
  const parts = [...line.matchAll(/(?:[A-Za-z0-9_./%:@+,-]|'[^']*'|\\')+| /g)].map(([part]) => part);
  assert.equal(parts.join(''), line, 'the shell would see more than words');
  return parts
    .filter((part) => part !== ' ')
    .map((part) =>
      part.replaceAll(/'([^']*)'|\\(')/g, (_, inside?: string, escaped?: string) => inside ?? escaped ?? ''),
    );
}

const accounts = textTarget({
  name: 'accounts',
  seeds: ['root:x:0:0:root:/root:/bin/sh\nsandbox:x:1000:1000::/home/s:/bin/bash\n', 'a:x:10:b,c\n#d:x:1:\n'],
  words: [':', '\n', '+::::::', '-1', '4294967295', '0x10', '\r', '#'],
  maxBytes: 64 * 1024,
  check(text) {
    for (const { name, uid, gid, home, shell } of parseAccounts(text)) {
      assert.ok(name !== '' && uid < 4_294_967_295 && gid < 4_294_967_295);
      assert.doesNotMatch(name + home + shell, /[:\n]/);
    }
    for (const { name, gid, members } of parseGroups(text)) {
      assert.ok(name !== '' && gid < 4_294_967_295 && !members.includes(''));
      assert.doesNotMatch(name, /[:\n]/);
    }
  },
});

const MOUNTINFO =
  '25 30 0:23 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw\n31 1 8:1 / / rw - ext4 /dev/x rw\n';

const proc = textTarget({
  name: 'proc-files',
  seeds: [
    '12 (a) b) S 1 12 12 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 5551 1 1',
    `${MOUNTINFO}\u00000::/user.slice/x\n`,
    `${MOUNTINFO.replace(' / /sys', ' /user.slice /my\\040cg')}\u00000::/user.slice/a\n`,
    'CapEff:\t00000000a80425fb\n',
  ],
  words: [') S 1 ', ' - cgroup2 ', '0::/', '/..', '\\040', '\\777', '\n', ' '],
  maxBytes: 64 * 1024,
  check(text) {
    const [first = '', second = ''] = text.split('\0');
    const cgroup = ownCgroup(first, second);
    if (cgroup !== undefined) assert.doesNotMatch(cgroup, /(?:^|\/)\.\.(?:\/|$)/);
    const isAbsence = (error: unknown): boolean => error instanceof Error && error.name === 'Error';
    returnsOr(() => parseCapabilities(first), isAbsence);
    returnsOr(() => parseCgroups(first), isAbsence);
  },
});

export const TEXT_TARGETS: readonly Target[] = [
  mainProcessSpec,
  limits,
  driverIdentity,
  argumentsTarget,
  policyQuestion,
  escaping,
  words,
  detachKeys,
  sshClient,
  accounts,
  proc,
];
