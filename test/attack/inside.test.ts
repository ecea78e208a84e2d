import { copyFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { describe, expect, it } from 'vitest';
import {
  ALL_MODES,
  auditEvents,
  finish,
  isRoot,
  type Mode,
  prepare,
  run,
  type Setup,
  useWorld,
  writePolicy,
} from '../e2e/sandbox.ts';

const sharedWorld = useWorld();

const REFUSED = /^E(PERM|ACCES)$/;
const PRETENDS_ABSENT = /^ENOSYS$/;

/** What each attempt of probe.py must come to; anything not listed must be refused. */
const OTHER_OUTCOMES: Readonly<Record<string, RegExp>> = {
  io_uring: PRETENDS_ABSENT,
  clone3: PRETENDS_ABSENT,
  'unknown call': PRETENDS_ABSENT,
  // Another instruction set to the filter: nothing of this one would be judged rightly there.
  'x32 call': /^SIGSYS$/,
  'netlink route': /^ok$/,
  'core dump': /^none$/,
  'the proxy’s own listener port': /^ECONNREFUSED$/,
  'take the DNS port': /^EADDRINUSE$/,
  // Rootless: the user namespace does not know uid 0.
  'setuid 0': /^E(PERM|INVAL)$/,
  'setresuid 0': /^E(PERM|INVAL)$/,
  'setgid 0': /^E(PERM|INVAL)$/,
  // Hidden, not merely closed.
  'connect to the ssh socket': /^E(NOENT|ACCES)$/,
  'hard link to a protected file': /^E(PERM|ACCES|XDEV)$/,
  disk: /^E(PERM|ACCES|NOENT)$/,
};

/** Without namespaces of its own: the socket is in sight, and answers nobody of the sandbox; no resolver is there. */
const OUTCOMES_ALONE: Readonly<Record<string, RegExp>> = {
  ...OTHER_OUTCOMES,
  'connect to the ssh socket': /^closed$/,
  'take the DNS port': /^ok$/,
};

async function attack(mode: Mode, setup: Setup): Promise<Map<string, string>> {
  const probe = join(setup.work, 'probe.py');
  copyFileSync(join(import.meta.dirname, 'probe.py'), probe);
  const secret = join(setup.directory, 'secret');
  writeFileSync(secret, 'secret', { mode: 0o644 });
  const name = `probe-${mode.slice(0, 5)}-${process.pid}`;
  const base = mode === 'root' ? '/run/castellan' : join(setup.directory, 'rt/castellan');
  // The supervisor is the parent of the main process, which the shell's PPID names.
  const script = `exec python3 ${probe} "$PPID" ${secret} ${base}/${name}/ssh.sock`;
  const { code, stdout, stderr } = await finish(
    run(setup, ['/bin/sh', '-c', script], { policy: writePolicy(setup), name }),
  );
  expect(code, stderr).toBe(0);
  return new Map(
    stdout
      .trimEnd()
      .split('\n')
      .map((line) => line.split('\t') as [string, string]),
  );
}

describe.skipIf(!isRoot).each(ALL_MODES)(
  'from inside a sandbox, %s (needs root to make the test world)',
  (mode) => {
    it('every attempt comes to what it should', async () => {
      const setup = prepare(sharedWorld(), mode);
      const outcomes = await attack(mode, setup);
      const expected = mode === 'process-only' ? OUTCOMES_ALONE : OTHER_OUTCOMES;
      expect(outcomes.size).toBeGreaterThan(65);
      const wrong = [...outcomes].filter(([name, outcome]) => !(expected[name] ?? REFUSED).test(outcome));
      expect(wrong).toEqual([]);
      for (const name of Object.keys(expected)) expect(outcomes.has(name), name).toBe(true);
      expect(auditEvents(setup).at(-1)?.type_uid).toBe(100807);
    });

    it.each([
      ['bash', 'bash -c "echo $((6*7))"', '42\n'],
      [
        'git',
        'git init -q r && cd r && git -c user.name=a -c user.email=a@b commit -q --allow-empty -m x && git log --format=%s',
        'x\n',
      ],
      [
        'python with threads and children',
        `python3 -c "import threading,subprocess as s; t=threading.Thread(target=lambda: print(s.run(['echo','hi'],capture_output=True,text=True).stdout,end='')); t.start(); t.join()"`,
        'hi\n',
      ],
      [
        'node with a worker',
        `${process.execPath} -e "new (require('worker_threads').Worker)('console.log(1+1)',{eval:true})"`,
        '2\n',
      ],
      ['gcc', 'printf "int main(void){return 7;}" > a.c && gcc a.c -o a && ./a; echo $?', '7\n'],
      [
        'a server of its own',
        `python3 -c "import socket,threading; s=socket.create_server(('127.0.0.1',8099)); threading.Thread(target=lambda: s.accept()[0].send(b'mine')).start(); print(socket.create_connection(('127.0.0.1',8099)).recv(9).decode())"`,
        'mine\n',
      ],
    ])('%s still works', async (_, command, expected) => {
      const setup = prepare(sharedWorld(), mode);
      // gcc and git want a temporary directory and a home that exist.
      const policy = writePolicy(setup, '', '', [dirname(process.execPath)]);
      const { stdout, stderr } = await finish(
        run(setup, ['/bin/sh', '-c', `export TMPDIR=$PWD HOME=$PWD; ${command}`], {
          policy,
          options: ['--quiet'],
        }),
      );
      expect(stdout, stderr).toBe(expected);
    });
  },
);
