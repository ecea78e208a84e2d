import { type VerifyReport, verifyChain } from '../audit/verify.ts';
import { logLines } from './log-lines.ts';
import { printJson, type Verb } from './verb.ts';

/** `castellan audit FILE`: is the log whole and unaltered? Exit code 1 when it is not. */
export const verb: Verb = async (command, { stdout }) => {
  const verdict = await verifyChain(logLines(command.operands[0] ?? ''));
  if (command.options.has('json')) printJson(stdout, verdict);
  else stdout.write(describe(verdict));
  return verdict.ok ? 0 : 1;
};

function describe({ ok, records, chains, open, head, problems }: VerifyReport): string {
  const summary = `${ok ? 'verified' : 'NOT VERIFIED'}: ${records} records, ${chains} runs, ${open} without a closing record; head ${head ?? 'none'}`;
  return `${[summary, ...problems.map(({ line, kind, detail }) => `  line ${line}: ${kind}: ${detail}`)].join('\n')}\n`;
}
