/** The order of the steps, told three times: native/README.md, launch.c and src/launch/spec.ts. */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { LAUNCH_STEPS } from '../../src/launch/spec.ts';

const NATIVE = join(import.meta.dirname, '../../native');
const read = (path: string) => readFileSync(join(NATIVE, path), 'utf8');

const source = readdirSync(join(NATIVE, 'launch'))
  .filter((name) => name.endsWith('.c') && !['netns.c', 'init.c'].includes(name))
  .map((name) => read(`launch/${name}`))
  .join('\n');

/** The text between the braces of a function. */
function body(name: string): string {
  const found = source.match(new RegExp(`^[\\w ]*\\b${name}\\([^;{]*\\) \\{\\n([\\s\\S]*?)\\n\\}`, 'm'));
  if (found?.[1] === undefined) throw new Error(`no function ${name}`);
  return found[1];
}

function bodyCalled(statement: string): string {
  return body(statement.trim().split('(')[0] ?? '');
}

/** The steps that the fail() calls in a text name. */
function stepsOf(text: string): string[] {
  const steps = [...text.matchAll(/\bfail\(STEP_(\w+)/g)].map(([, step = '']) => step.toLowerCase());
  return [...new Set(steps)];
}

describe('the steps of a launch', () => {
  it('are done by main() in the order of LAUNCH_STEPS, one call a step', () => {
    const statements = body('main').match(/^ {4}(if \(chdir.*|\w+\(.*\);)$/gm) ?? [];
    const steps = statements.map((each) => stepsOf(each.startsWith('    if') ? each : bodyCalled(each)));
    expect(steps).toEqual(LAUNCH_STEPS.map((step) => [step]));
  });

  it('have their numbers in the status record', () => {
    const names = read('launch/launch.h').match(/enum step \{([^}]*)\}/)?.[1] ?? '';
    expect([...names.matchAll(/STEP_(\w+)( = 1)?,/g)].map(([, name = '']) => name.toLowerCase())).toEqual([
      ...LAUNCH_STEPS,
    ]);
    expect(names).toMatch(/STEP_RECEIVE = 1,/);
  });

  it('are told in that order by native/README.md', () => {
    const told = [...read('README.md').matchAll(/^(\d+)\. (\w+)$/gm)];
    expect(told.map(([, number, name]) => [Number(number), name])).toEqual(
      LAUNCH_STEPS.map((step, index) => [index + 1, step]),
    );
  });
});
