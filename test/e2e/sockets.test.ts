/** Sockets at places that an operator chooses: who reaches them, and which places are taken. */
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import {
  chmodSync,
  chownSync,
  existsSync,
  mkdirSync,
  readFileSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import {
  ALL_MODES,
  CALLER_UID,
  castellan,
  finish,
  isRoot,
  MODES,
  type Mode,
  prepare,
  run,
  type Setup,
  untilPrinted,
  useWorld,
  writePolicy,
} from './sandbox.ts';

const world = useWorld();
const NAME = `sockets-${process.pid}`;

const start = (setup: Setup, options: readonly string[], script = 'echo running; exec sleep 1000') =>
  run(setup, ['/bin/sh', '-c', script], {
    policy: writePolicy(setup),
    name: NAME,
    options: ['--grace', '0', ...options],
  });

/** A directory of whoever starts the run, in which nobody else can write. */
function ownDirectory(setup: Setup, name: string): string {
  const directory = join(setup.directory, name);
  mkdirSync(directory);
  if (setup.mode !== 'root') chownSync(directory, CALLER_UID, CALLER_UID);
  return directory;
}

async function end(child: ChildProcess): Promise<void> {
  child.kill('SIGTERM');
  await once(child, 'close');
}

/** Prints the first bytes that a server says at a path or, with @, an abstract name. */
const HEAR = `python3 -c "import socket,sys
s=socket.socket(socket.AF_UNIX); s.connect(sys.argv[1].replace('@',chr(0))); print('heard', s.recv(7))" `;

describe.skipIf(!isRoot).each(ALL_MODES)('--ssh-socket, %s (needs root to make the test world)', (mode) => {
  it.each(['a path', 'an abstract name'])('%s is answered outside, and not inside', async (what) => {
    const setup = prepare(world(), mode);
    const address = what === 'a path' ? join(setup.directory, 'log/new/ssh.sock') : `@${NAME}-${mode}`;
    const child = start(setup, ['--ssh-socket', address]);
    await untilPrinted(child, 'running');
    const asUid = mode === 'root' ? {} : { asUid: CALLER_UID };
    const outside = await finish(world().spawn(['sh', '-c', HEAR + address], { stdio: 'pipe', ...asUid }));
    expect(outside.stdout, outside.stderr).toBe("heard b'SSH-2.0'\n");
    const inside = await finish(
      castellan(setup, ['ssh', '--sandbox', NAME, '--', `echo came; ${HEAR}${address}`]),
    );
    expect(inside.stdout, inside.stderr).toMatch(/^came\n(heard b''\n)?$/);
    await end(child);
    expect(existsSync(address)).toBe(false);
  });
});

/** By mode: gives a directory that is not taken, and what is said of it. */
const SPOILED: readonly (readonly [string, readonly Mode[], (setup: Setup) => string, RegExp])[] = [
  ['the policy grants', ALL_MODES, ({ work }) => work, /would let the agent write|belongs to uid 20101/],
  [
    'a link leads to where the policy grants, and nobody has made yet',
    ALL_MODES,
    (setup) => {
      const directory = ownDirectory(setup, 'links');
      symlinkSync(setup.work, join(directory, 'link'));
      return join(directory, 'link/new');
    },
    /would let the agent write|cannot be opened/,
  ],
  [
    'others may write',
    ALL_MODES,
    (setup) => {
      const directory = ownDirectory(setup, 'open');
      chmodSync(directory, 0o777);
      return directory;
    },
    /can be written by others/,
  ],
  [
    'lies below one of somebody else',
    MODES,
    (setup) => {
      const directory = ownDirectory(setup, 'others');
      const below = join(directory, 'below');
      mkdirSync(below);
      if (setup.mode !== 'root') chownSync(below, CALLER_UID, CALLER_UID);
      chownSync(directory, 20_999, 20_999);
      return below;
    },
    /belongs to uid 20999/,
  ],
  ['every program reads', ['process-only'], () => '/etc', /lies where every program may read/],
];

describe.skipIf(!isRoot)('no place for a socket (needs root to make the test world)', () => {
  const cases = SPOILED.flatMap(([name, modes, spoil, said]) =>
    modes.flatMap((mode) =>
      (mode === 'process-only' ? ['ssh'] : ['ssh', 'health', 'metrics']).map(
        (kind) => [kind, name, mode, spoil, said] as const,
      ),
    ),
  );
  it.each(cases)('%s: a directory that %s (%s)', async (kind, _, mode, spoil, said) => {
    const setup = prepare(world(), mode);
    const path = join(spoil(setup), 'x.sock');
    const option = kind === 'ssh' ? ['--ssh-socket', path] : [`--${kind}-listen`, `unix:${path}`];
    const { code, stdout, stderr } = await finish(start(setup, option));
    expect(stderr).toMatch(said);
    expect({ code, stdout }).toEqual({ code: 104, stdout: '' });
    expect(existsSync(path)).toBe(false);
  });
});

describe.skipIf(!isRoot).each(MODES)('%s (needs root to make the test world)', (mode) => {
  it('the end removes the socket where it is, wherever a link leads by then', async () => {
    const setup = prepare(world(), mode);
    const [real, victim] = [ownDirectory(setup, 'real'), ownDirectory(setup, 'victim')];
    writeFileSync(join(victim, 'm.sock'), 'precious');
    const link = join(setup.work, 'link');
    symlinkSync(real, link);
    const child = start(
      setup,
      ['--metrics-listen', `unix:${link}/m.sock`],
      `rm ${link} && ln -s ${victim} ${link} && echo running; exec sleep 1000`,
    );
    await untilPrinted(child, 'running');
    expect(existsSync(join(real, 'm.sock'))).toBe(true);
    await end(child);
    expect(existsSync(join(real, 'm.sock'))).toBe(false);
    expect(readFileSync(join(victim, 'm.sock'), 'utf8')).toBe('precious');
  });
});
