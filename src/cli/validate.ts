import { existsSync } from 'node:fs';
import { INSTALLED_POLICY, readRunConfig } from '../config/config.ts';
import { installPaths } from '../config/install.ts';
import { CastellanError } from '../errors.ts';
import { escapeText } from '../lib/escape.ts';
import { type Check, type Validation, validate } from '../start/validate.ts';
import { printJson, type Verb } from './verb.ts';

/** What is looked for where no command is given: any shell would do, and every image that is entered has this one. */
const DEFAULT_COMMAND = '/bin/sh';

/** `castellan validate`: would a run start here? The exit code is the one the run would have. */
export const verb: Verb = async (command, { surroundings, stdout }) => {
  if (command.options.get('roles')?.[0] === 'network')
    throw new CastellanError(
      'usage',
      'validate looks at what confines a command, and --roles network has none',
      {
        step: 'arguments',
        remedy: 'start the sidecar: it refuses by itself, before it serves anybody',
      },
    );
  const operands = command.operands.length === 0 ? [DEFAULT_COMMAND] : command.operands;
  const config = readRunConfig(
    { ...command, operands },
    surroundings,
    existsSync(INSTALLED_POLICY),
    new Date(),
  );
  const validation = await validate({ config, surroundings, install: installPaths(surroundings) });
  if (command.options.has('json')) printJson(stdout, validation);
  else stdout.write(describe(validation));
  return validation.exitCode;
};

function describe({ checks, warnings, ok }: Validation): string {
  const width = Math.max(...checks.map(({ name }) => name.length));
  const lines = [
    ...checks.flatMap((check) => line(check, width)),
    ...warnings.map((text) => `warning: ${escapeText(text)}`),
    ok ? 'A run would start.' : 'A run would be refused.',
  ];
  return `${lines.join('\n')}\n`;
}

function line({ name, ok, detail, error }: Check, width: number): string[] {
  const first = `${ok ? 'ok    ' : 'FAILED'}  ${name.padEnd(width)}${ok ? '' : `  ${escapeText(detail)}`}`;
  if (error === undefined) return [first];
  const where = error.errno === undefined ? error.step : `${error.step}: ${error.errno}`;
  return [first, `        [${error.code}, ${where}]; ${error.remedy}`];
}
