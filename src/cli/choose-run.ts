import { CastellanError } from '../errors.ts';
import type { KnownRun } from '../start/run-directory.ts';

/** The running sandbox of the name, or the only one. @throws CastellanError `no_sandbox` */
export function chooseRun(runs: readonly KnownRun[], name: string | undefined): KnownRun {
  const ready = runs.filter(
    ({ alive, state }) => alive && state.ready && (name === undefined || state.name === name),
  );
  const [only, ...others] = ready;
  if (only === undefined)
    throw noSandbox(
      name === undefined ? 'no sandbox is running' : `no sandbox named ${name} is running`,
      name,
    );
  if (others.length > 0)
    throw noSandbox(
      `several sandboxes are running: ${ready.map(({ state }) => state.name).join(', ')}`,
      undefined,
    );
  return only;
}

function noSandbox(message: string, object: string | undefined): CastellanError {
  return new CastellanError('no_sandbox', message, { step: 'sandbox', ...(object && { object }) });
}
