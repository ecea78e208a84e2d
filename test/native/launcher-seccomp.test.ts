/** The seccomp profiles: what they refuse, what they leave, and that real programs work under them. */
import { execFileSync } from 'node:child_process';
import {
  chmodSync,
  closeSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { LaunchSpec } from '../../src/launch/spec.ts';
import { SECCOMP_GROUP_NAMES, type SeccompGroup } from '../../src/policy/seccomp.ts';
import { isRoot } from '../fakes/cell.ts';
import { launch, PATH, spec } from './launcher.ts';
import {
  ABSENT,
  all,
  answersTo,
  callsHeader,
  ENOSYS,
  EPERM,
  LEFT,
  OPEN_TREE_ATTR,
  REFUSED,
  SIGCHLD,
  X64_ONLY,
  X64_REFUSED,
} from './system-calls.ts';

const isX64 = process.arch === 'x64';
const REFUSED_HERE = [...REFUSED, ...(isX64 ? X64_REFUSED : [])];

let directory: string;
beforeAll(() => {
  directory = mkdtempSync(join(tmpdir(), 'castellan-seccomp-'));
  chmodSync(directory, 0o755);
  const calls = [...REFUSED_HERE, ...LEFT, ...ABSENT, ...(isX64 ? ['fork', 'vfork'] : []), 'getpid'];
  writeFileSync(join(directory, 'calls.h'), callsHeader(calls));
  const source = join(import.meta.dirname, 'system-calls.c');
  execFileSync('cc', ['-Wall', '-Werror', `-I${directory}`, source, '-o', join(directory, 'system-calls')]);
});
afterAll(() => rmSync(directory, { recursive: true, force: true }));

/** What the filters of a profile say to each call: an errno, or `passed`. */
async function ask(
  seccomp: LaunchSpec['seccomp'],
  calls: readonly string[],
  seccompRelax: LaunchSpec['seccompRelax'] = [],
): Promise<Readonly<Record<string, string>>> {
  const { failure, stdout } = await launch(
    spec([join(directory, 'system-calls'), ...calls], { seccomp, seccompRelax }),
  );
  expect(failure).toBeUndefined();
  return answersTo(calls, stdout);
}

describe.skipIf(!isRoot)('seccomp (needs root)', () => {
  describe.each(['agent', 'network-role'] as const)('profile %s', (profile) => {
    it('refuses what the table says, whatever the high bits are', async () => {
      expect(await ask(profile, REFUSED_HERE)).toEqual(all(REFUSED_HERE, EPERM));
    });

    it('leaves what programs need', async () => {
      const left = LEFT.filter((call) => profile === 'agent' || call !== `clone,${SIGCHLD}`);
      expect(await ask(profile, left)).toEqual(all(left, 'passed'));
    });

    it('says that a call does not exist where there is a fall-back, and of calls to come', async () => {
      expect(await ask(profile, ABSENT)).toEqual(all(ABSENT, ENOSYS));
    });
  });

  /** By call name what each group gives back; the rest of REFUSED_HERE and ABSENT stays. */
  const GIVEN_BACK: Readonly<Record<SeccompGroup, RegExp>> = {
    trace: /^(ptrace|process_vm_readv|process_vm_writev|process_madvise|kcmp)$/,
    namespaces: /^(unshare|clone),/,
    'io-uring': /^!io_uring/,
    perf: /^perf_event_open$/,
    bpf: /^bpf$/,
    keys: /^(keyctl|add_key|request_key)$/,
    userfaultfd: /^userfaultfd$/,
    netlink: /^socket,16,/,
    personality: /^personality,/,
  };

  it.each(SECCOMP_GROUP_NAMES)('gives back what a policy relaxes, and nothing else: %s', async (group) => {
    const given = (call: string) => GIVEN_BACK[group].test(call);
    const refused = await ask('agent', REFUSED_HERE, [group]);
    expect(Object.keys(refused).filter((call) => refused[call] === 'passed')).toEqual(
      REFUSED_HERE.filter(given),
    );
    const absent = await ask('agent', ABSENT, [group]);
    expect(Object.keys(absent).filter((call) => absent[call] !== String(ENOSYS))).toEqual(
      ABSENT.filter(given),
    );
  });

  it('relaxes nothing of the network role', async () => {
    const { failure } = await launch(spec(['true'], { seccomp: 'network-role', seccompRelax: ['trace'] }));
    expect(failure).toMatchObject({ step: 'receive', object: 'seccomp group' });
  });

  it('has its groups told once: table, policy language and wire agree', () => {
    const awk = readFileSync(join(import.meta.dirname, '../../native/launch/seccomp-table.awk'), 'utf8');
    expect(/split\("([a-z -]+)"/.exec(awk)?.[1]?.split(' ')).toEqual(SECCOMP_GROUP_NAMES);
    const table = readFileSync(join(import.meta.dirname, '../../native/launch/seccomp.table'), 'utf8');
    for (const group of SECCOMP_GROUP_NAMES) expect(table).toMatch(new RegExp(`^\\w.*\\s${group}\\s+#`, 'm'));
  });

  it('says so of its own accord: without a profile the kernel does', async () => {
    const made = ABSENT.filter((call) => !/^!\d/.test(call));
    expect(Object.values(await ask('none', made))).not.toContain(String(ENOSYS));
    expect(await ask('none', REFUSED_HERE)).toEqual(all(REFUSED_HERE, 'passed'));
  });

  it('knows the newest call there is here, which is told by its errno', async () => {
    const FILE_SETATTR = '!469,-1,0,0,0';
    const [here, filtered] = [await ask('none', [FILE_SETATTR]), await ask('agent', [FILE_SETATTR])];
    expect(filtered).toEqual(here);
  });

  it('leaves no new process to the network role, but threads', async () => {
    const calls = [`clone,${SIGCHLD}`, ...(isX64 ? ['fork', 'vfork'] : [])];
    expect(await ask('network-role', calls)).toEqual(all(calls, EPERM));
    expect(await ask('agent', calls)).toEqual(all(calls, 'passed'));
  });

  it.runIf(isX64).each([
    ['x32', '!0x40000027'],
    ['x32, a call that the table refuses', '!0x40000065'],
  ])('ends a process that enters as %s', async (_, call) => {
    const outcome = await launch(spec([join(directory, 'system-calls'), call]));
    expect(outcome).toMatchObject({ failure: undefined, signal: 'SIGSYS' });
  });

  it.runIf(isX64)('ends a process that enters as i386', async () => {
    const source = join(directory, 'i386.c');
    // getpid of i386; where the kernel lacks that entry, the instruction itself is a fault.
    writeFileSync(
      source,
      'int main(void) { int r; __asm__("int $0x80" : "=a"(r) : "a"(20)); return r <= 0; }',
    );
    execFileSync('cc', [source, '-o', join(directory, 'i386')]);
    const { failure, signal } = await launch(spec([join(directory, 'i386')]));
    expect(failure).toBeUndefined();
    expect(['SIGSYS', 'SIGSEGV']).toContain(signal);
  });
});

describe('seccomp.table', () => {
  const rows = readFileSync(join(import.meta.dirname, '../../native/launch/seccomp.table'), 'utf8')
    .split('\n')
    .filter((line) => line !== '' && !line.startsWith('#'));

  it('gives every rule a reason and a group', () => {
    expect(rows.length).toBeGreaterThan(100);
    for (const row of rows)
      expect(row).toMatch(/^(x86:)?\w+ +E\w+ +\S+ +(both|network-role) +[a-z-]+ +# \S.+$/);
  });

  it('is tried above, call by call', () => {
    const tried = new Set(
      [...REFUSED_HERE, ...ABSENT, 'fork', 'vfork'].map((call) => call.replace('!', '').split(',')[0]),
    );
    const named = rows.map((row) => row.split(' ')[0]?.replace('x86:', '') ?? '');
    const untried = named.filter(
      (name) => !tried.has(name) && !(name === 'open_tree_attr' && tried.has(OPEN_TREE_ATTR)),
    );
    expect(isX64 ? untried : untried.filter((name) => !X64_ONLY.includes(name))).toEqual([]);
  });

  it.each([
    ['an unknown action', 'mount EACCES - both mount # x'],
    ['an unknown profile', 'mount EPERM - agent mount # x'],
    ['a bad condition', 'mount EPERM A7=1 both mount # x'],
    ['a condition with a trailer', 'mount EPERM A1=1x both mount # x'],
    ['no reason', 'mount EPERM - both mount #'],
    ['no group', 'mount EPERM - both # x'],
  ])('does not build with %s', (_, line) => {
    const awk = () =>
      execFileSync('awk', ['-f', join(import.meta.dirname, '../../native/launch/seccomp-table.awk')], {
        input: `${line}\n`,
        stdio: 'pipe',
      });
    expect(awk).toThrow(line);
  });
});

describe.skipIf(!isRoot)('real programs under the agent profile (needs root)', () => {
  let work: string;
  let nodeDirectory: number;
  beforeAll(() => {
    work = join(directory, 'work');
    mkdirSync(work);
    chmodSync(work, 0o777);
    // Other uids may not be able to enter the repository, so Node is attached where they can.
    mkdirSync(join(directory, 'node'));
    nodeDirectory = openSync(dirname(process.execPath), 'r');
  });
  afterAll(() => closeSync(nodeDirectory));

  it.each([
    ['bash', 'mkfifo p; (echo one >p &) ; read -r x <p; y=$(echo $x | tr o 0); echo "$y"', '0ne'],
    [
      'git',
      'git init -q r && cd r && git -c user.name=a -c user.email=b commit -q --allow-empty -m m && git clone -q . ../c && git -C ../c log --format=%s && git -C ../c gc -q',
      'm',
    ],
    [
      'node',
      `node -e 'const {Worker}=require("worker_threads");new Worker("require(\\"worker_threads\\").parentPort.postMessage(6*7)",{eval:true}).on("message",(m)=>{console.log(m,require("child_process").execSync("echo child").toString().trim(),require("os").networkInterfaces().lo?"lo":"")})'`,
      '42 child lo',
    ],
    [
      'python3',
      `/usr/bin/python3 -c 'import multiprocessing as m, subprocess, socket, asyncio, tempfile, pwd
with m.Pool(2) as pool: print(sum(pool.map(abs, range(-3, 0))), subprocess.check_output(["echo", "child"], text=True).strip(), socket.getaddrinfo("127.0.0.1", 80)[0][4][0], asyncio.run(asyncio.sleep(0, "slept")))'`,
      '6 child 127.0.0.1 slept',
    ],
    [
      'curl',
      'echo content > f; curl -sS "file://$PWD/f"; curl -sS http://127.0.0.1:1 2>/dev/null; echo $?',
      'content\n7',
    ],
    ['gcc', 'echo "int main(void){return 7;}" > x.c; gcc -O2 -o x x.c; ./x; echo $?', '7'],
    ['tar and xz', 'mkdir d; echo x > d/f; tar cJf d.txz d; rm -r d; tar xJf d.txz; cat d/f', 'x'],
    ['setsid, nice, timeout', 'setsid -w nice timeout 20 echo ran', 'ran'],
  ])('%s works', async (_, script, expected) => {
    const { stdout, stderr } = await launch(
      spec(['/bin/bash', '-c', script], {
        workingDirectory: work,
        environment: [`HOME=${work}`, `PATH=${directory}/node:${PATH}`, 'LC_ALL=C.UTF-8'],
        mounts: [{ kind: 'bind', descriptor: nodeDirectory, path: join(directory, 'node') }],
      }),
    );
    expect({ stdout: stdout.trim(), stderr }).toEqual({ stdout: expected, stderr: '' });
  });
});
