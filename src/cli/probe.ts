import { request } from 'node:http';
import { runBase } from '../config/config.ts';
import { CastellanError } from '../errors.ts';
import { connectUnix } from '../kernel/unix-client.ts';
import { chooseRun } from '../start/known-run.ts';
import { PROBE_NAMES, type Probe } from '../start/readiness.ts';
import { healthSocketIn, knownRuns } from '../start/run-directory.ts';
import type { Verb } from './verb.ts';

/** Orchestrators give a probe one second by default, and say so themselves where it is longer. */
const ANSWER_MS = 5000;

/** `castellan probe live|startup|ready`: exit code 0 for yes and 1 for everything else, as container engines expect. */
export const verb: Verb = async ({ operands, options }, { surroundings, stdout }) => {
  const probe = PROBE_NAMES.find((name) => name === operands[0]);
  if (probe === undefined)
    throw new CastellanError('usage', `probe takes one of ${PROBE_NAMES.join(', ')}`, { step: 'arguments' });
  const { yes, word } = await ask(probe, runBase(surroundings), options.get('sandbox')?.[0]);
  stdout.write(`${word}\n`);
  return yes ? 0 : 1;
};

async function ask(
  probe: Probe,
  base: string,
  name: string | undefined,
): Promise<{ readonly yes: boolean; readonly word: string }> {
  try {
    const { path } = chooseRun(await knownRuns(base), name, 'any');
    return await answerOf(healthSocketIn(path), probe);
  } catch (error) {
    if (error instanceof CastellanError && error.code === 'no_sandbox')
      return { yes: false, word: error.message };
    throw error;
  }
}

async function answerOf(
  socketPath: string,
  probe: Probe,
): Promise<{ readonly yes: boolean; readonly word: string }> {
  const { promise, resolve } = Promise.withResolvers<{ yes: boolean; word: string }>();
  const no = (error: Error) => resolve({ yes: false, word: error.message });
  try {
    const socket = await connectUnix(socketPath, ANSWER_MS);
    const asked = request({ createConnection: () => socket, path: `/${probe}`, timeout: ANSWER_MS });
    asked.on('response', (response) => {
      response.resume();
      const yes = response.statusCode === 200;
      resolve({ yes, word: yes ? probe : `not ${probe}` });
    });
    asked.on('timeout', () => asked.destroy(new Error(`no answer within ${ANSWER_MS} ms`)));
    asked.on('error', no);
    asked.end();
  } catch (error) {
    no(error instanceof Error ? error : new Error(String(error)));
  }
  return promise;
}
