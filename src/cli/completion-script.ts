/** Completions for three shells, from the one table of the command line. */

import { GLOBAL_OPTIONS, VERBS } from './definition.ts';
import type { OptionDefinition, VerbDefinition } from './option.ts';

export const SHELLS = ['bash', 'zsh', 'fish'] as const;
export type Shell = (typeof SHELLS)[number];

/** The text that a shell reads, as `castellan completion SHELL` prints it. */
export function completionScript(shell: Shell): string {
  return { bash, zsh, fish }[shell]();
}

const verbs = (): readonly VerbDefinition[] => VERBS.filter((verb: VerbDefinition) => verb.hidden !== true);

/** First words, and second words of those that have any. */
function words(): ReadonlyMap<string, readonly VerbDefinition[]> {
  const found = new Map<string, VerbDefinition[]>();
  for (const verb of verbs()) {
    const first = verb.name.split(' ')[0] ?? '';
    found.set(first, [...(found.get(first) ?? []), verb]);
  }
  return found;
}

const secondWord = ({ name }: VerbDefinition): string => name.split(' ')[1] ?? '';
const spelled = (options: readonly OptionDefinition[]): string =>
  options.map(({ name }) => `--${name}`).join(' ');

/** Single quotes for any POSIX shell. */
const quoted = (text: string): string => `'${text.replaceAll("'", `'\\''`)}'`;

function bash(): string {
  const cases = verbs().map(
    ({ name, options }) =>
      `    ${quoted(name)}) options=${quoted(spelled([...options, ...GLOBAL_OPTIONS]))} ;;`,
  );
  const seconds = [...words()].flatMap(([first, several]) => {
    const names = several.map(secondWord).filter((word) => word !== '');
    return names.length === 0 ? [] : [`    ${quoted(first)}) seconds=${quoted(names.join(' '))} ;;`];
  });
  return `# bash completion for castellan
_castellan() {
  local current=\${COMP_WORDS[COMP_CWORD]} verb=\${COMP_WORDS[1]-} options= seconds= word
  for word in "\${COMP_WORDS[@]:1:COMP_CWORD-1}"; do [[ $word == -- ]] && { compopt -o default; return; }; done
  if ((COMP_CWORD == 1)); then
    COMPREPLY=($(compgen -W ${quoted([...words().keys()].join(' '))} -- "$current"))
    return
  fi
  case $verb in
${seconds.join('\n')}
  esac
  if [[ -n $seconds && " $seconds " == *" \${COMP_WORDS[2]-} "* && COMP_CWORD -gt 2 ]]; then verb+=" \${COMP_WORDS[2]}"; fi
  case $verb in
${cases.join('\n')}
  esac
  if [[ $current == -* ]]; then COMPREPLY=($(compgen -W "$options" -- "$current"))
  else
    COMPREPLY=($( ((COMP_CWORD == 2)) && compgen -W "$seconds" -- "$current"))
    compopt -o default
  fi
}
complete -F _castellan castellan
`;
}

function zsh(): string {
  const describe = (name: string, summary: string): string =>
    quoted(`${name.replaceAll(':', '\\:')}:${summary}`);
  const firsts = [...words()].map(([first, several]) => describe(first, several[0]?.summary ?? ''));
  const cases = verbs().map(({ name, options }) => {
    const specs = [...options, ...GLOBAL_OPTIONS].map(({ name: option, value, help, repeatable }) => {
      const what = help.replaceAll(/[[\]:\\]/g, '\\$&');
      const many = repeatable === true ? '*' : '';
      return quoted(`${many}--${option}[${what}]${value === undefined ? '' : `:${value}:_files`}`);
    });
    return `    ${quoted(name)}) _arguments ${specs.join(' ')} '*:: :_default' ;;`;
  });
  const seconds = [...words()].flatMap(([first, several]) => {
    const listed = several.filter((verb) => secondWord(verb) !== '');
    if (listed.length === 0) return [];
    const described = listed.map((verb) => describe(secondWord(verb), verb.summary));
    return [`    ${quoted(first)}) seconds=(${described.join(' ')}) ;;`];
  });
  return `#compdef castellan
_castellan() {
  local -a firsts seconds
  firsts=(${firsts.join(' ')})
  if ((CURRENT == 2)); then _describe command firsts; return; fi
  local verb=$words[2]
  case $verb in
${seconds.join('\n')}
  esac
  if ((CURRENT == 3 && $#seconds)) && [[ $words[3] != -* ]]; then _describe command seconds; _files; return; fi
  if (($#seconds)) && ((\${seconds[(I)$words[3]:*]})); then verb="$verb $words[3]"; shift words; ((CURRENT--)); fi
  shift words; ((CURRENT--))
  case $verb in
${cases.join('\n')}
  esac
}
_castellan "$@"
`;
}

function fish(): string {
  const lines = ['complete -c castellan -f'];
  for (const [first, several] of words())
    lines.push(
      `complete -c castellan -n __fish_use_subcommand -a ${quoted(first)} -d ${quoted(several[0]?.summary ?? '')}`,
    );
  for (const { name, summary, options } of verbs()) {
    const [first = '', second] = name.split(' ');
    const seen = `__fish_seen_subcommand_from ${first}`;
    if (second !== undefined)
      lines.push(`complete -c castellan -n ${quoted(seen)} -a ${quoted(second)} -d ${quoted(summary)}`);
    const when = second === undefined ? seen : `${seen}; and __fish_seen_subcommand_from ${second}`;
    for (const { name: option, value, help } of options) {
      const takes = value === undefined ? '' : ' -r -F';
      lines.push(`complete -c castellan -n ${quoted(when)} -l ${option}${takes} -d ${quoted(help)}`);
    }
  }
  return `# fish completion for castellan\n${lines.join('\n')}\n`;
}
