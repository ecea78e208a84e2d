/** The manual page and the completions, as mandoc and the three shells themselves read what a bundle carries. */

import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { VERBS } from '../../src/cli/definition.ts';
import type { VerbDefinition } from '../../src/cli/option.ts';
import { BUNDLE } from './container.ts';

const SHARE = join(BUNDLE, 'share');
const MAN_PAGE = join(SHARE, 'man/man8/castellan.8');
const BASH = join(SHARE, 'bash-completion/completions/castellan');
const ZSH = join(SHARE, 'zsh/site-functions/_castellan');
const FISH = join(SHARE, 'fish/vendor_completions.d/castellan.fish');

/** How a terminal of paper makes letters bold. */
const OVERSTRIKE = new RegExp(`.${String.fromCharCode(8)}`, 'g');

const verbs: readonly VerbDefinition[] = VERBS.filter((verb: VerbDefinition) => verb.hidden !== true);

function say(program: string, ...args: string[]): string {
  const { stdout, stderr, status } = spawnSync(program, args, { encoding: 'utf8' });
  expect(`${stderr}${status === 0 ? '' : status}`).toBe('');
  return stdout;
}

describe('the manual page', () => {
  it('is without a flaw', () => {
    expect(say('mandoc', '-Tlint', MAN_PAGE)).toBe('');
  });

  it('tells every command and option', () => {
    const text = say('mandoc', '-Tutf8', '-Owidth=400', MAN_PAGE).replaceAll(OVERSTRIKE, '');
    for (const { synopsis, options } of verbs) {
      expect(text).toContain(synopsis.replaceAll('…', '...'));
      for (const { name } of options) expect(text).toContain(`--${name}`);
    }
  });
});

describe('completions', () => {
  /** The last word is completed. */
  const bash = (...line: string[]) =>
    say(
      'bash',
      '-c',
      `source "$0"; compopt() { :; }; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _castellan; printf '%s\\n' "\${COMPREPLY[@]}"`,
      BASH,
      'castellan',
      ...line,
    )
      .trim()
      .split('\n');
  const fish = (line: string) =>
    say('fish', '--no-config', '-c', `source $argv[1]; complete -C $argv[2]`, FISH, `castellan ${line}`)
      .trim()
      .split('\n')
      .map((row) => row.split('\t')[0]);

  it('are read by each shell', () => {
    expect(say('bash', '-n', BASH)).toBe('');
    expect(say('zsh', '-f', '-n', ZSH)).toBe('');
    expect(say('fish', '--no-config', '--no-execute', FISH)).toBe('');
  });

  const first = [...new Set(verbs.map(({ name }) => name.split(' ')[0]))];
  it('bash: commands, those of two words, and options of each', () => {
    expect(bash('')).toEqual(first);
    expect(bash('policy', 'l')).toContain('lint');
    for (const { name, options } of verbs)
      expect(bash(...name.split(' '), '--')).toEqual([
        ...options.map((option) => `--${option.name}`),
        '--help',
        '--version',
      ]);
    expect(bash('run', '--', '--po')).toEqual(['']);
  });

  it('fish: the same', () => {
    expect(fish('').sort()).toEqual([...first].sort());
    expect(fish('policy l')).toContain('lint');
    for (const { name, options } of verbs)
      if (options.length > 0)
        expect(fish(`${name} --`)).toEqual(
          expect.arrayContaining(options.map((option) => `--${option.name}`)),
        );
  });

  it('zsh: commands and options, by its own completion system', () => {
    const zsh = (line: string) =>
      say('zsh', '-f', '-c', ZSH_PROBE, 'zsh', join(SHARE, 'zsh/site-functions'), `castellan ${line}`);
    expect(zsh('val')).toContain('castellan validate');
    expect(zsh('policy expl')).toContain('castellan policy explain');
    expect(zsh('run --on-inv')).toContain('--on-invalid-policy');
  });
});

/** A shell on a terminal of its own, given the line and a tab; a key of its own then tells what the line has become. */
const ZSH_PROBE = `
zmodload zsh/zpty
exec 9<<<'' 8>&1
zpty shell zsh -f -i
zpty -w shell "fpath=($1 \\$fpath); autoload -U compinit; compinit -u -D"
zpty -w shell 'tell() { print -r -u 8 -- "$BUFFER"; exit }; zle -N tell; bindkey "^G" tell; print READY'
zpty -r -m shell ignored '*READY*READY*'
zpty -n -w shell "$2"$'\\t\\C-G'
while zpty -r shell ignored; do :; done
zpty -d shell
`;
