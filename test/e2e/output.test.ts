import { spawnSync } from 'node:child_process';
import { expect, it } from 'vitest';
import { CASTELLAN } from '../fakes/world.ts';

/** Starts a command on a pipe of one page, reads nothing until that is full, and then all. */
const SLOW_READER = `
import fcntl, os, struct, subprocess, sys, termios
reader, writer = os.pipe()
fcntl.fcntl(writer, 1031, 4096)
child = subprocess.Popen(sys.argv[1:], stdout=writer)
os.close(writer)
while struct.unpack('i', fcntl.ioctl(reader, termios.FIONREAD, b'0000'))[0] < 4096: pass
size = 0
while chunk := os.read(reader, 1000): size += len(chunk)
print(size, child.wait())
`;

it('leaves when a slow reader has taken everything', () => {
  const whole = spawnSync(CASTELLAN, ['policy', 'schema'], { encoding: 'utf8' }).stdout;
  expect(whole.length).toBeGreaterThan(4 * 4096);
  const { stdout } = spawnSync('python3', ['-c', SLOW_READER, CASTELLAN, 'policy', 'schema'], {
    encoding: 'utf8',
  });
  expect(stdout).toBe(`${Buffer.byteLength(whole)} 0\n`);
});
