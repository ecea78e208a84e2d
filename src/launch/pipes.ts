import { fchownSync } from 'node:fs';
import { Socket } from 'node:net';
import { posix } from '../kernel/posix.ts';
import { spawnLauncher } from './inherit.ts';
import type { StartedLauncher } from './process.ts';

/**
 * The process gets three pipes. Real ones, not the Unix sockets that Node makes for `pipe`: those cannot be opened again
 * as /dev/stderr, which shell scripts do, and would carry descriptors.
 *
 * @param owner uid that may open them again through /proc; undefined leaves them with the caller's.
 */
export async function startWithPipes(
  program: string,
  socketPath: string,
  owner: number | undefined,
  cgroup: number | undefined,
): Promise<StartedLauncher> {
  using theirs = new DisposableStack();
  using ours = new DisposableStack();
  const pipe = (direction: 'in' | 'out') => {
    const [readEnd, writeEnd] = posix().pipe();
    const [mine, other] = direction === 'in' ? [writeEnd, readEnd] : [readEnd, writeEnd];
    theirs.defer(() => posix().close(other));
    if (owner !== undefined) fchownSync(other, owner, -1);
    const socket = ours.adopt(
      new Socket({ fd: mine, readable: direction === 'out', writable: direction === 'in' }),
      (opened) => void opened.destroy(),
    );
    // A reader that closed its end is the process's right; writes to it fail one by one.
    socket.on('error', () => {});
    return { socket, other };
  };
  const [stdin, stdout, stderr] = [pipe('in'), pipe('out'), pipe('out')];
  const streams = [stdin.other, stdout.other, stderr.other] as const;
  const launcher = await spawnLauncher(program, socketPath, streams, cgroup);
  void launcher.exited.then(() => stdin.socket.destroy());
  const kept = ours.move();
  return {
    ...launcher,
    io: { kind: 'pipes', stdin: stdin.socket, stdout: stdout.socket, stderr: stderr.socket },
    discard: () => kept.dispose(),
  };
}
