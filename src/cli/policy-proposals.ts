import { type FileHandle, open } from 'node:fs/promises';
import { asksFrom, type OpenAsks } from '../audit/asks.ts';
import { runBase, type VerbArguments } from '../config/config.ts';
import type { Surroundings } from '../config/surroundings.ts';
import { CastellanError, errnoOf } from '../errors.ts';
import { escapeText } from '../lib/escape.ts';
import { type Suggestion, suggestRule } from '../policy/suggest.ts';
import { chooseRun } from '../start/known-run.ts';
import { knownRuns } from '../start/run-directory.ts';
import { printJson, type Verb } from './verb.ts';

/** A screen of what was refused most. */
const MAX_SUGGESTIONS = 20;

/** `castellan policy proposals`: what programs ask for and nobody has granted, and rules for what was refused, as YAML with remarks. */
export const verb: Verb = async (command, { surroundings, stdout }) => {
  await using log = await openLog(await auditFile(command, surroundings));
  const asks = await asksFrom(log.readLines());
  const suggestions = suggestionsFor(asks);
  if (command.options.has('json')) printJson(stdout, { proposals: asks.proposals, suggestions });
  else stdout.write(`${textOf(asks, suggestions).join('\n')}\n`);
  return 0;
};

async function auditFile({ options }: VerbArguments, surroundings: Surroundings): Promise<string> {
  const named = options.get('audit-file')?.[0];
  if (named !== undefined) return named;
  return chooseRun(await knownRuns(runBase(surroundings)), options.get('sandbox')?.[0], 'ready').state
    .auditPath;
}

async function openLog(path: string): Promise<FileHandle> {
  try {
    return await open(path);
  } catch (error) {
    const errno = errnoOf(error);
    throw new CastellanError('usage', `${path} cannot be read`, {
      step: 'audit-file',
      object: path,
      ...(errno && { errno }),
    });
  }
}

interface Suggested extends Suggestion {
  readonly about: string;
}

function suggestionsFor({ denials }: OpenAsks): Suggested[] {
  return denials
    .flatMap((denial) => {
      const suggestion = suggestRule(denial);
      const { host, port, binary, count } = denial;
      const about = `${binary} was refused ${host}:${port} ${count} times (${denial.reason})`;
      return suggestion === undefined ? [] : [{ ...suggestion, about }];
    })
    .toSorted((a, b) => b.confidence - a.confidence)
    .slice(0, MAX_SUGGESTIONS);
}

/** Remarks hold what programs of the sandbox said: one line each, escaped. The rules are as castellan wrote them. */
function textOf({ proposals }: OpenAsks, suggestions: readonly Suggested[]): string[] {
  const remark = (text: string): string => `# ${escapeText(text, 1000)}`;
  const rule = (yaml: string): string[] =>
    yaml
      .trimEnd()
      .split('\n')
      .map((line) => escapeText(line, 20_000));
  return [
    ...proposals.flatMap(({ rule: name, binary, summary, yaml, grants, notes }) => [
      remark(`${name}: asked for by ${binary}, which says: ${summary || '(nothing)'}`),
      ...grants.map((line) => remark(`grants ${line}`)),
      ...notes.map((line) => remark(`look twice: ${line}`)),
      ...(yaml === '' ? [remark('the rule is too long for the log: ask for it in parts')] : rule(yaml)),
      '',
    ]),
    ...suggestions.flatMap(({ about, confidence, yaml }) => [
      remark(`nobody asked, but ${about}; confidence ${confidence}`),
      ...rule(yaml),
      '',
    ]),
    remark(`${proposals.length} proposals, ${suggestions.length} suggestions`),
  ];
}
