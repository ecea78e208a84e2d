import { CastellanError } from '../errors.ts';
import type { KnownRun } from './run-directory.ts';

/**
 * The one that is meant: by its name, or because there is no other. `which` leaves out those that are not ready, or takes any that runs.
 * @throws CastellanError `no_sandbox`
 */
export function chooseRun(
  runs: readonly KnownRun[],
  name: string | undefined,
  which: 'ready' | 'any',
): KnownRun {
  const found = runs.filter(
    ({ alive, state }) =>
      alive && (which === 'any' || state.ready) && (name === undefined || state.name === name),
  );
  const [only, ...others] = found;
  if (only === undefined)
    throw noSandbox(
      name === undefined ? 'no sandbox is running' : `no sandbox named ${name} is running`,
      name,
    );
  if (others.length > 0)
    throw noSandbox(
      `several sandboxes are running: ${found.map(({ state }) => state.name).join(', ')}`,
      undefined,
    );
  return only;
}

function noSandbox(message: string, object: string | undefined): CastellanError {
  return new CastellanError('no_sandbox', message, { step: 'sandbox', ...(object && { object }) });
}
