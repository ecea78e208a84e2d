import { createReadStream } from 'node:fs';
import { createInterface } from 'node:readline';
import { type VerifyReport, verifyChain } from '../audit/verify.ts';
import { printJson, type Verb } from './verb.ts';

/** `castellan audit FILE`: is the log whole and unaltered? Exit code 1 when it is not. */
export const verb: Verb = async (command, { stdout }) => {
  const lines = createInterface({
    input: createReadStream(command.operands[0] ?? ''),
    crlfDelay: Number.POSITIVE_INFINITY,
  });
  const verdict = await verifyChain(lines);
  if (command.options.has('json')) printJson(stdout, verdict);
  else stdout.write(describe(verdict));
  return verdict.ok ? 0 : 1;
};

function describe({ ok, records, chains, open, head, problems }: VerifyReport): string {
  const summary = `${ok ? 'verified' : 'NOT VERIFIED'}: ${records} records, ${chains} runs, ${open} without a closing record; head ${head ?? 'none'}`;
  return `${[summary, ...problems.map(({ line, kind, detail }) => `  line ${line}: ${kind}: ${detail}`)].join('\n')}\n`;
}
