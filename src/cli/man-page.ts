/** castellan(8), from the one table of the command line: man(7) macros. */

import { ERROR_CODES } from '../errors.ts';
import { GLOBAL_OPTIONS, VERBS } from './definition.ts';
import type { OptionDefinition, VerbDefinition } from './option.ts';

/** A command and its output are told apart from text by what they look like in roff, so that nothing of a text is taken for one. */
export function manPage(version: string, date: string): string {
  const verbs: readonly VerbDefinition[] = VERBS.filter((verb: VerbDefinition) => verb.hidden !== true);
  return `${[
    `.TH CASTELLAN 8 ${date} "castellan ${roff(version)}" "System Manager's Manual"`,
    '.SH NAME',
    'castellan \\- the supervisor inside an AI agent\\(cqs sandbox',
    '.SH SYNOPSIS',
    ...verbs.flatMap(({ synopsis }) => ['.br', `.B ${roff(synopsis)}`]).slice(1),
    '.SH DESCRIPTION',
    text(
      'castellan is the first process in the sandbox of an AI agent. It decides who the agent runs as, prepares its files, takes every privilege away, confines it with Landlock, seccomp and a network namespace that has no way out, judges all egress by a policy, lets people in by SSH, and writes every security-relevant fact down as OCSF.',
    ),
    '.SH COMMANDS',
    ...verbs.flatMap(describeVerb),
    '.SH OPTIONS OF EVERY COMMAND',
    ...GLOBAL_OPTIONS.flatMap(describeOption),
    '.SH EXIT STATUS',
    text(
      'The command’s own, 128+n when signal n ended it, or one of castellan’s. Each of these comes with one line that names the step, the object, the errno and the remedy.',
    ),
    ...Object.entries(ERROR_CODES).flatMap(([name, { exit }]) => ['.TP', `.B ${exit}`, text(name)]),
    '.SH FILES',
    ...['/etc/castellan/policy.yaml', '/run/castellan/NAME', '/var/log/castellan'].flatMap((path) => [
      '.TP',
      `.I ${roff(path)}`,
      text(FILES[path] ?? ''),
    ]),
    '.SH SEE ALSO',
    '.BR ssh (1),',
    '.BR landlock (7),',
    '.BR seccomp (2),',
    '.BR network_namespaces (7)',
  ].join('\n')}\n`;
}

const FILES: Readonly<Record<string, string>> = {
  '/etc/castellan/policy.yaml': 'the policy of a run that names none',
  '/run/castellan/NAME': 'sockets and state of a running sandbox; below XDG_RUNTIME_DIR without root',
  '/var/log/castellan': 'audit logs; below XDG_STATE_HOME without root',
};

function describeVerb({ name, synopsis, summary, options }: VerbDefinition): string[] {
  return [
    `.SS ${roff(name)}`,
    `.B ${roff(synopsis)}`,
    '.PP',
    text(`${summary[0]?.toUpperCase()}${summary.slice(1)}.`),
    ...options.flatMap(describeOption),
  ];
}

function describeOption({ name, short, value, help, repeatable }: OptionDefinition): string[] {
  const letter = short === undefined ? '' : `\\fB\\-${short}\\fR, `;
  const placeholder = value === undefined ? '' : ` \\fI${roff(value)}\\fR`;
  const often = repeatable === true ? ' May be repeated.' : '';
  return ['.TP', `${letter}\\fB\\-\\-${roff(name)}\\fR${placeholder}`, text(`${help}.${often}`)];
}

/** What mandoc(1) takes without a remark. */
const MAX_LINE = 78;

/** Text in lines that end at a space; one that begins like a macro is kept from being one. */
function text(plain: string): string {
  const lines = [''];
  for (const word of roff(plain).split(' ')) {
    const last = lines.length - 1;
    if (lines[last] === '') lines[last] = word;
    else if (`${lines[last]} ${word}`.length <= MAX_LINE) lines[last] += ` ${word}`;
    else lines.push(word);
  }
  return lines.map((line) => (/^[.']/.test(line) ? `\\&${line}` : line)).join('\n');
}

/** Characters that roff reads in its own way (groff_char(7)); the rest of UTF-8 it takes as it is. */
function roff(plain: string): string {
  return plain.replaceAll('\\', '\\e').replaceAll('-', '\\-').replaceAll('’', '\\(cq').replaceAll('…', '...');
}
