/** What V8 has made of the code of both roles when the bundle was made. */
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { REPOSITORY } from '../fakes/world.ts';
import { BUNDLE } from './container.ts';

const node = join(BUNDLE, 'libexec/node');

describe.each(['process', 'network'])('the compiled code of the %s role', (role) => {
  const file = join(BUNDLE, 'app', role);

  it('is taken by the bundle’s Node', () => {
    const script = `const { readFileSync } = require('node:fs');
      const cachedData = readFileSync('${file}.cache');
      const script = new (require('node:vm').Script)(readFileSync('${file}.cjs', 'utf8'), { cachedData });
      process.stdout.write(String(script.cachedDataRejected));`;
    expect(execFileSync(node, ['-e', script], { encoding: 'utf8' })).toBe('false');
  });

  it('has the functions that a start calls, and is the same when it is made again', () => {
    const directory = mkdtempSync(join(tmpdir(), 'castellan-compile-'));
    try {
      const compile = (called: string): Buffer => {
        const target = join(directory, 'cache');
        const program = join(REPOSITORY, 'scripts/bundle/compile.cjs');
        execFileSync(node, ['--predictable', program, `${file}.cjs`, target], { input: called });
        return readFileSync(target);
      };
      const [bare, again] = [compile('[]'), compile('[]')];
      expect(again.equals(bare)).toBe(true);
      expect(statSync(`${file}.cache`).size).toBeGreaterThan(1.5 * bare.length);
    } finally {
      rmSync(directory, { recursive: true });
    }
  });
});
