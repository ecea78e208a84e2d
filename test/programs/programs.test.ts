/** Real programs under the agent's profile: what people do with them works, and what is refused is refused in words. */
import { dirname } from 'node:path';
import { describe, expect, it } from 'vitest';
import { ALLOW_CURL, finish, isRoot, MODES, prepare, run, useWorld, writePolicy } from '../e2e/sandbox.ts';
import { PROGRAMS } from './table.ts';

const world = useWorld();
/** A browser's first start, or a toolchain that compiles its library, on a machine with other work. */
const PROGRAM_DEADLINE_MS = 180_000;
/** Semaphores of Python's multiprocessing are files there. */
const SHARED_MEMORY = '/dev/shm';

describe.skipIf(!isRoot).each(MODES)('%s (needs root to make the test world)', (mode) => {
  it.each(PROGRAMS.map((program) => [program.name, program] as const))(
    '%s',
    async (_, { script, prints, exitCode = 0, policy = '' }) => {
      const setup = prepare(world(), mode);
      const path = writePolicy(
        setup,
        ALLOW_CURL,
        policy,
        [dirname(process.execPath), '/opt', world().directory],
        [SHARED_MEMORY],
      );
      const command = ['/bin/bash', '-c', script];
      const environment = ['HOME', 'TMPDIR'].flatMap((name) => ['--env', `${name}=${setup.work}`]);
      const options = [...environment, '--env', `WORLD=${world().directory}`];
      const { code, stdout, stderr } = await finish(run(setup, command, { policy: path, options }));
      expect(stdout, stderr).toMatch(prints);
      expect(code, stderr).toBe(exitCode);
    },
    PROGRAM_DEADLINE_MS,
  );
});
