import { readFile } from 'node:fs/promises';
import { questionOf } from '../egress/question.ts';
import { type Answer, simulate } from '../egress/simulate.ts';
import { escapeText } from '../lib/escape.ts';
import { type Assertion, parseAssertions } from '../policy/assertions.ts';
import { compilePolicy } from '../policy/compile.ts';
import { loadPolicy } from '../start/policy.ts';
import { printJson, type Verb } from './verb.ts';

interface Result {
  readonly name: string;
  readonly ok: boolean;
  readonly line: number;
  readonly answer: Answer;
}

/** `castellan policy test FILE ASSERTIONS`: whether the policy allows and refuses what it should. 1 where it does not. */
export const verb: Verb = async ({ options, operands: [file = '', assertionFile = ''] }, { stdout }) => {
  const assertions = parseAssertions(await readFile(assertionFile, 'utf8'), assertionFile);
  const { network } = await loadPolicy(file);
  const decider = compilePolicy(network, Date.now());
  const results: Result[] = [];
  for (const assertion of assertions) {
    const answer = await simulate(decider, questionOf(assertion));
    results.push({
      name: assertion.name,
      ok: holds(assertion, answer),
      line: assertion.position.line,
      answer,
    });
  }
  const failed = results.filter(({ ok }) => !ok).length;
  if (options.has('json')) printJson(stdout, { passed: results.length - failed, failed, results });
  else {
    for (const { name, ok, line, answer } of results) {
      stdout.write(`${ok ? 'ok  ' : 'FAIL'}  ${escapeText(name, 200)}\n`);
      if (!ok)
        stdout.write(
          `      ${assertionFile}:${line}: ${answer.verdict} by ${answer.rule ?? 'no rule'}: ${escapeText(answer.detail, 500)}\n`,
        );
    }
    stdout.write(`${results.length - failed} passed, ${failed} failed\n`);
  }
  return failed === 0 ? 0 : 1;
};

function holds({ expect, rule, reason }: Assertion, answer: Answer): boolean {
  return (
    answer.verdict === expect &&
    (rule === undefined || rule === answer.rule) &&
    (reason === undefined || reason === answer.reason)
  );
}
