import { describe, expect, it } from 'vitest';
import { VERBS } from '../../../src/cli/definition.ts';
import { helpText } from '../../../src/cli/help.ts';
import { parseArguments } from '../../../src/cli/parse.ts';

describe('parseArguments', () => {
  it('reads options, and leaves the command’s own alone', () => {
    expect(
      parseArguments([
        'run',
        '--policy',
        'p.yaml',
        '--env',
        'A=1',
        '--env=B',
        '--quiet',
        '--',
        'ls',
        '--policy',
        '-l',
      ]),
    ).toEqual({
      kind: 'command',
      command: {
        verb: 'run',
        options: new Map([
          ['policy', ['p.yaml']],
          ['env', ['A=1', 'B']],
          ['quiet', ['']],
        ]),
        operands: ['ls', '--policy', '-l'],
      },
    });
  });

  it('takes one letter for an option that has one', () => {
    const words = ['ssh', '-N', '-L', '8080:localhost:80', '-L', 'a/b:/c', '-D', '1080'];
    expect(parseArguments(words)).toMatchObject({
      command: {
        options: new Map([
          ['no-command', ['']],
          ['local-forward', ['8080:localhost:80', 'a/b:/c']],
          ['dynamic-forward', ['1080']],
        ]),
        operands: [],
      },
    });
    expect(() => parseArguments(['ssh', '-R', '1:localhost:1'])).toThrow('unknown option "-R"');
  });

  it('takes the command without -- too', () => {
    expect(parseArguments(['run', 'ls', '-l'])).toMatchObject({ command: { operands: ['ls', '-l'] } });
  });

  it.each([
    [[], { kind: 'help', verb: undefined }],
    [['--help'], { kind: 'help', verb: undefined }],
    [['run', '--help'], { kind: 'help', verb: 'run' }],
    [['--version'], { kind: 'version' }],
  ])('%j', (argv, expected) => expect(parseArguments(argv)).toEqual(expected));

  it.each([
    [['rum', '--', 'ls'], /unknown command "rum"; did you mean "run"\?/],
    [['run', '--polcy', 'x', '--', 'ls'], /unknown option "--polcy" for run; did you mean "--policy"\?/],
    [['run', '--policy'], /--policy needs FILE/],
    [['run', '--policy', 'a', '--policy', 'b', '--', 'ls'], /given twice/],
    [['run', '--quiet=yes', '--', 'ls'], /takes no value/],
    [['run', '--timeout'], /--timeout needs SECONDS/],
    [['attach', 'x'], /takes no operand/],
    [['list', 'x'], /takes no operand/],
    [['policy'], /takes one operand/],
    [['run', '-x', '--', 'ls'], /unknown option "-x"/],
  ])('refuses %j', (argv, message) => {
    expect(() => parseArguments(argv)).toThrow(
      expect.objectContaining({ code: 'usage', message: expect.stringMatching(message) }),
    );
  });
});

describe('helpText', () => {
  it.each(VERBS.map((verb) => [verb.name, verb] as const))('%s tells each option', (name, verb) => {
    const text = helpText(name);
    for (const { name: option } of verb.options) expect(text).toContain(`--${option}`);
  });
});
