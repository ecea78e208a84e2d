/** The first half of a start, made for real and taken down again, with nothing left behind and nothing run. */
import type { Report } from '../audit/event.ts';
import type { RunConfig } from '../config/config.ts';
import type { InstallPaths } from '../config/install.ts';
import type { Surroundings } from '../config/surroundings.ts';
import type { RunStage } from './plan.ts';
import { type Groundwork, layGroundwork, type PreparedSandbox, prepareSandbox } from './prepare.ts';
import { claimRunDirectory } from './run-directory.ts';

export interface PreviewRequest {
  readonly config: RunConfig;
  readonly surroundings: Surroundings;
  readonly install: InstallPaths;
}

export interface PreviewUse<T> {
  readonly report: Report;
  readonly stage: RunStage;
  use(sandbox: PreparedSandbox, groundwork: Groundwork): Promise<T>;
}

/** @throws CastellanError as a run would */
export async function preview<T>(
  { config, surroundings, install }: PreviewRequest,
  { report, stage, use }: PreviewUse<T>,
): Promise<T> {
  await using runDirectory = await stage('run-directory', () => claimRunDirectory(config, surroundings));
  await using held = new AsyncDisposableStack();
  const parts = { config, surroundings, install, runDirectory, stage, report, held };
  const groundwork = await layGroundwork(parts);
  const sandbox = await prepareSandbox({ ...parts, groundwork, create: false });
  return await use(sandbox, groundwork);
}
