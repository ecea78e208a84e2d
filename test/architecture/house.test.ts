import { describe, expect, it } from 'vitest';
import { controlTable } from '../../src/audit/controls.ts';
import { capabilityTable } from '../../src/config/capabilities.ts';
import { VARIABLES } from '../../src/config/variables.ts';
import { ERROR_CODES } from '../../src/errors.ts';
import { LAUNCH_STEPS } from '../../src/launch/spec.ts';
import { PROCESS_ROLE_STAGES } from '../../src/start/plan.ts';
import { VERSION } from '../../src/version.ts';
import { readSource, sourceFiles } from './sources.ts';

const MAX_LINES = 400;

/** Places that may run on without a control, each with its reason in the code. A new one has to be counted here on purpose. */
const FAIL_OPEN_PLACES = 1;

describe('sizes', () => {
  const files = [
    ...sourceFiles('src').map((file) => `src/${file}`),
    ...sourceFiles('native', /\.[ch]$/).map((file) => `native/${file}`),
    ...sourceFiles('scripts', /\.(ts|mjs)$/).map((file) => `scripts/${file}`),
    ...sourceFiles('test').map((file) => `test/${file}`),
  ];
  it.each(files)('%s is at most 400 lines', (file) => {
    expect(readSource(file).split('\n').length).toBeLessThanOrEqual(MAX_LINES + 1);
  });
});

describe('lists that are told twice agree', () => {
  const readme = readSource('README.md');

  it('start stages: README and start/plan.ts', () => {
    const section = readme.match(/<!-- start stages[^>]*-->([\s\S]*?)<!-- end -->/)?.[1] ?? '';
    const told = [...section.matchAll(/^\d+\. `([^`]+)`: (.+)$/gm)].map(([, name, what]) => [name, what]);
    expect(told).toEqual(PROCESS_ROLE_STAGES.map((stage) => [...stage]));
  });

  it('exit codes: README and errors.ts', () => {
    const section = readme.match(/<!-- exit codes[^>]*-->([\s\S]*?)<!-- end -->/)?.[1] ?? '';
    const told = [...section.matchAll(/^\| (\d+) \| (\w+) \|/gm)].map(([, exit, name]) => [
      name,
      Number(exit),
    ]);
    expect(told).toEqual(Object.entries(ERROR_CODES).map(([name, { exit }]) => [name, exit]));
  });

  it('controls: README and audit/controls.ts', () => {
    const section = readme.match(/<!-- controls[^>]*-->\n([\s\S]*?)\n<!-- end -->/)?.[1];
    expect(section).toBe(controlTable());
  });

  it('capabilities: README and config/capabilities.ts', () => {
    const section = readme.match(/<!-- capabilities[^>]*-->\n([\s\S]*?)\n<!-- end -->/)?.[1];
    expect(section).toBe(capabilityTable());
  });

  it('launch steps: native/README.md and launch/spec.ts', () => {
    const section =
      readSource('native/README.md').match(/Steps, in order[^\n]*\n\n([\s\S]*?)\n\n/)?.[1] ?? '';
    expect([...section.matchAll(/^\d+\. (\w+)$/gm)].map(([, name]) => name)).toEqual([...LAUNCH_STEPS]);
  });

  it('Debian packages: README and scripts/setup.mjs', () => {
    const told = readme.match(/Debian packages `([^`]+)`/)?.[1]?.split(' ');
    const table = readSource('scripts/setup.mjs').match(/const packages = \{([\s\S]*?)\n\};/)?.[1] ?? '';
    expect(told).toEqual([...table.matchAll(/^ {2}'?([a-z0-9-]+)'?: \[/gm)].map(([, name]) => name));
  });

  it('the version: package.json and version.ts', () => {
    expect(JSON.parse(readSource('package.json')).version).toBe(VERSION);
  });
});

describe('fail closed', () => {
  it('exceptions are counted', () => {
    const places = sourceFiles('src').flatMap(
      (file) => readSource(`src/${file}`).match(/FAIL-OPEN: /g) ?? [],
    );
    expect(places).toHaveLength(FAIL_OPEN_PLACES);
  });
});

describe('exit numbers', () => {
  it('are distinct', () => {
    const numbers = Object.values(ERROR_CODES).map(({ exit }) => exit);
    expect(new Set(numbers).size).toBe(numbers.length);
  });
});

describe('variables of the environment', () => {
  const files = sourceFiles('src').filter((file) => !/^config\/(openshell\/)?variables\.ts$/.test(file));
  /** Where names of variables are written for others, and none is read. */
  const WRITERS = ['launch/environment.ts', 'config/openshell/user-environment.ts'];

  it.each(files)('%s reads none by its name', (file) => {
    expect(readSource(`src/${file}`)).not.toMatch(
      /\b(?:environment|env)(?:\?\.)?(?:\.|\[')[A-Z][A-Z0-9_]+\b/,
    );
  });

  it.each(files.filter((file) => !WRITERS.includes(file)))('%s names none that the table has not', (file) => {
    const known = VARIABLES.flatMap(({ name, spellings = [] }) => [name, ...spellings]);
    const quoted = /(['"`])((?:CASTELLAN|OPENSHELL|XDG|NOTIFY|WATCHDOG|LISTEN)_[A-Z][A-Z_]*)\1/g;
    for (const [, , name = ''] of readSource(`src/${file}`).matchAll(quoted)) expect(known).toContain(name);
  });
});
