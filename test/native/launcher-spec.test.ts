/** What the launcher refuses to read. */
import { describe, expect, it } from 'vitest';
import { isRoot } from '../fakes/cell.ts';
import { answerTo, launch, launchRaw, spec, UID } from './launcher.ts';

const EINVAL = 22;

function record(tag: number, value: Buffer | string = '', { zero = 0, length = -1 } = {}): Buffer {
  const bytes = Buffer.from(value);
  const head = Buffer.alloc(8);
  head.writeUInt16LE(tag, 0);
  head.writeUInt16LE(zero, 2);
  head.writeUInt32LE(length < 0 ? bytes.length : length, 4);
  return Buffer.concat([head, bytes]);
}

function words(...values: number[]): Buffer {
  return Buffer.from(new Uint32Array(values).buffer);
}

const ARGUMENT = record(1, '/bin/true');
const DIRECTORY = record(3, '/');
const UID_RECORD = record(4, words(UID));
const GID_RECORD = record(5, words(UID));
const LEAST = [ARGUMENT, DIRECTORY, UID_RECORD, GID_RECORD];

const header = (...values: number[]) => words(...values);
const MAGIC = 0x4c545343;

describe.skipIf(!isRoot)('the launcher reads its spec strictly (needs root)', () => {
  it('takes the least there can be', async () => {
    expect(await launchRaw(Buffer.concat(LEAST))).toMatchObject({ failure: undefined, code: 0 });
  });

  const TO_TCP = record(26, Buffer.concat([words(80), Buffer.from([127, 0, 0, 1])]));
  const TO_UNIX = record(27, '/a');
  const CONNECTION = [DIRECTORY, UID_RECORD, GID_RECORD];
  const tcp = (port: number, ...address: number[]) =>
    record(26, Buffer.concat([words(port), Buffer.from(address)]));
  const ip6 = (...last: number[]) => [...Array<number>(16 - last.length).fill(0), ...last];

  it.each<[string, Buffer[], string]>([
    ['a command and a connection', [...LEAST, TO_TCP], 'argument'],
    ['two connections', [...CONNECTION, TO_TCP, TO_UNIX], 'connection'],
    ['a second connection', [...CONNECTION, TO_TCP, TO_TCP], 'repeated record'],
    ['a connection that is only looked at', [...CONNECTION, TO_TCP, record(20)], 'connection'],
    ['a connection to port 0', [...CONNECTION, tcp(0, 127, 0, 0, 1)], 'port'],
    ['a connection to port 65536', [...CONNECTION, tcp(65_536, 127, 0, 0, 1)], 'port'],
    ['a connection to another machine', [...CONNECTION, tcp(80, 10, 0, 0, 1)], 'address'],
    ['a connection to any address', [...CONNECTION, tcp(80, 0, 0, 0, 0)], 'address'],
    ['a connection to any address of IPv6', [...CONNECTION, tcp(80, ...ip6(0))], 'address'],
    ['a mapped address', [...CONNECTION, tcp(80, ...ip6(255, 255, 127, 0, 0, 1))], 'address'],
    ['an address cut short', [...CONNECTION, tcp(80, 127, 0, 0)], 'record length'],
    ['a connection without address', [...CONNECTION, record(26, words(80))], 'record length'],
    ['a relative socket', [...CONNECTION, record(27, 'a')], 'path'],
    ['an abstract socket', [...CONNECTION, record(27, '\0a')], 'text'],
    ['no socket', [...CONNECTION, record(27, '')], 'path'],
    ['a path with NUL', [...CONNECTION, record(27, '/a\0b')], 'text'],
    ['a path too long', [...CONNECTION, record(27, `/${'a'.repeat(107)}`)], 'path'],
    ['no argument', [DIRECTORY, UID_RECORD, GID_RECORD], 'argument'],
    ['an empty command', [record(1, ''), DIRECTORY, UID_RECORD, GID_RECORD], 'argument'],
    ['no directory', [ARGUMENT, UID_RECORD, GID_RECORD], 'directory'],
    ['a relative directory', [ARGUMENT, record(3, 'tmp'), UID_RECORD, GID_RECORD], 'path'],
    ['an argument with NUL', [...LEAST, record(1, 'a\0b')], 'text'],
    ['a variable without =', [...LEAST, record(2, 'PATH')], 'environment'],
    ['a variable without a name', [...LEAST, record(2, '=x')], 'environment'],
    ['root', [ARGUMENT, DIRECTORY, record(4, words(0)), GID_RECORD], 'id'],
    ['the root group', [ARGUMENT, DIRECTORY, UID_RECORD, record(5, words(0))], 'id'],
    ['the root group beside others', [...LEAST, record(6, words(0))], 'id'],
    ['uid -1', [ARGUMENT, DIRECTORY, record(4, words(0xffff_ffff)), GID_RECORD], 'id'],
    ['gid -1', [ARGUMENT, DIRECTORY, UID_RECORD, record(5, words(0xffff_ffff))], 'id'],
    ['a uid without a gid', [ARGUMENT, DIRECTORY, UID_RECORD], 'credentials'],
    ['a gid without a uid', [ARGUMENT, DIRECTORY, GID_RECORD], 'credentials'],
    ['groups without ids', [ARGUMENT, DIRECTORY, record(6, words(7))], 'credentials'],
    ['to stay root', [ARGUMENT, DIRECTORY], 'root'],
    ['a uid cut short', [ARGUMENT, DIRECTORY, record(4, 'ab'), GID_RECORD], 'record length'],
    ['a uid too long', [ARGUMENT, DIRECTORY, record(4, words(UID, 0)), GID_RECORD], 'record length'],
    ['a second uid', [...LEAST, UID_RECORD], 'repeated record'],
    ['a second directory', [...LEAST, DIRECTORY], 'repeated record'],
    ['a second umask', [...LEAST, record(9, words(0)), record(9, words(0))], 'repeated record'],
    ['a session with a value', [...LEAST, record(7, 'x')], 'record length'],
    ['a limit cut short', [...LEAST, record(8, words(7, 0, 1, 0, 1))], 'record length'],
    ['a limit with a filled gap', [...LEAST, record(8, words(7, 1, 1, 0, 1, 0))], 'reserved field'],
    [
      'too many limits',
      [...LEAST, ...Array<Buffer>(33).fill(record(8, words(4, 0, 0, 0, 0, 0)))],
      'too many records',
    ],
    ['a umask of more than permissions', [...LEAST, record(9, words(0o1000))], 'umask'],
    ['a namespace that was not sent', [...LEAST, record(10, words(0))], 'descriptor index'],
    ['a relative path to hide', [...LEAST, record(12, 'run')], 'path'],
    ['a bind without a path', [...LEAST, record(13, words(0))], 'descriptor index'],
    ['a ruleset cut short', [...LEAST, record(14, words(1, 0))], 'record length'],
    [
      'a rule without a ruleset’s descriptor',
      [...LEAST, record(14, words(1, 0, 0, 0, 0, 0)), record(15, words(0, 0, 1, 0))],
      'descriptor index',
    ],
    ['an unknown profile', [...LEAST, record(16, words(3))], 'profile'],
    ['a descriptor to keep that was not sent', [...LEAST, record(17, words(0, 3))], 'descriptor index'],
    ['tag 0', [...LEAST, record(0)], 'tag'],
    ['an unknown tag', [...LEAST, record(31)], 'tag'],
    ['a tag far above', [...LEAST, record(65_535)], 'tag'],
    ['a tag beyond a word of bits', [...LEAST, record(35, words(UID))], 'tag'],
    ['a filled gap in a head', [...LEAST, record(1, 'x', { zero: 1 })], 'record'],
    ['a head cut short', [...LEAST, record(1).subarray(0, 7)], 'record'],
    ['a record longer than the spec', [...LEAST, record(1, 'x', { length: 2 })], 'record'],
    ['a record of four gigabytes', [...LEAST, record(1, 'x', { length: 0xffff_ffff })], 'record'],
    ['nothing at all', [], 'argument'],
  ])('refuses %s', async (_, records, object) => {
    expect(await launchRaw(Buffer.concat(records))).toMatchObject({
      failure: { step: 'receive', errno: EINVAL, object },
      code: 125,
      stdout: '',
    });
  });

  it.each([
    ['a standard stream', [2]],
    ['a number out of reach', [256]],
    ['the same number twice', [5, 5]],
  ])('keeps nothing as %s', async (_, targets) => {
    const keep = targets.map((target) => record(17, words(0, target)));
    expect((await launchRaw(Buffer.concat([...LEAST, ...keep]), [0])).failure).toEqual({
      step: 'receive',
      errno: EINVAL,
      object: 'target',
    });
  });

  it('refuses a rule without a ruleset', async () => {
    const rule = record(15, words(0, 0, 1, 0));
    expect((await launchRaw(Buffer.concat([...LEAST, rule]), [0])).failure?.object).toBe('ruleset');
  });

  it.each<[string, Buffer, string]>([
    ['a wrong magic', header(0x4c545344, 1, 0, 0), 'header'],
    ['another version', header(MAGIC, 2, 0, 0), 'header'],
    ['a spec over 4 MiB', header(MAGIC, 1, 4 * 1024 * 1024 + 1, 0), 'size'],
    ['more than 1024 descriptors', header(MAGIC, 1, 0, 1025), 'size'],
    [
      'a payload byte without descriptors',
      Buffer.concat([header(MAGIC, 1, 0, 1), Buffer.alloc(1)]),
      'descriptors',
    ],
  ])('refuses %s', async (_, bytes, object) => {
    expect(await answerTo(bytes, false)).toEqual({
      failure: { step: 'receive', errno: EINVAL, object },
      code: 125,
    });
  });

  it.each([
    ['a header', header(MAGIC, 1, 0), 'end of file'],
    ['records', Buffer.concat([header(MAGIC, 1, 100, 0), ARGUMENT]), 'end of file'],
    ['descriptors', header(MAGIC, 1, 0, 1), 'descriptors'],
  ])('refuses %s that end early', async (_, bytes, object) => {
    expect(await answerTo(bytes, true)).toEqual({
      failure: { step: 'receive', errno: EINVAL, object },
      code: 125,
    });
  });

  it('takes a spec of many strings and says so when it is too large for the kernel', async () => {
    const many = Array.from({ length: 20_000 }, (_, index) => `argument number ${index}`);
    const echoed = await launch(spec(['/bin/echo', ...many]));
    expect(echoed.stdout).toBe(`${many.join(' ')}\n`);
    const E2BIG = 7;
    const refused = await launch(spec(['/bin/echo', 'x'.repeat(3_000_000)]));
    expect(refused.failure).toEqual({ step: 'execute', errno: E2BIG, object: '/bin/echo' });
  });
});
