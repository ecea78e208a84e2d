/**
 * Whether a run would start here: every stage up to the launch is gone through for real, then the launcher does all its steps
 * as the final identity and stops where it would execute the command. Nothing is run, and nothing is left behind.
 */
import type { AuditFact } from '../audit/event.ts';
import { CastellanError, type ErrorCode } from '../errors.ts';
import { type CellCommand, confine } from '../launch/confine.ts';
import { operatorEnvironment } from '../launch/environment.ts';
import { credentialRemarks } from './credential-remarks.ts';
import { mainCommand } from './main-command.ts';
import type { Groundwork, PreparedSandbox } from './prepare.ts';
import { type PreviewRequest, preview } from './preview.ts';

export interface Check {
  readonly name: string;
  readonly ok: boolean;
  /** What was found. */
  readonly detail: string;
  readonly error?: {
    readonly code: ErrorCode;
    readonly exitCode: number;
    readonly step: string;
    readonly object?: string;
    readonly errno?: string;
    readonly remedy: string;
  };
}

export interface Validation {
  readonly ok: boolean;
  /** 0, or what a run would exit with. */
  readonly exitCode: number;
  readonly checks: readonly Check[];
  /** What holds less than asked for, and what is left out. */
  readonly warnings: readonly string[];
}

/** Never rejects for a refusal: it is a check that failed, and those after it were not reached. */
export async function validate(request: PreviewRequest): Promise<Validation> {
  const checks: Check[] = [];
  const warnings: string[] = [];
  const check = async <T>(name: string, work: () => Promise<T> | T): Promise<T> => {
    try {
      const result = await work();
      checks.push({ name, ok: true, detail: 'as it should be' });
      return result;
    } catch (error) {
      checks.push(failedCheck(name, error));
      throw error;
    }
  };
  try {
    await preview(request, {
      report: (fact) => warnings.push(...warning(fact)),
      stage: check,
      use: (sandbox, groundwork) => checkLaunch(request, { ...sandbox, ...groundwork }, check, warnings),
    });
  } catch (error) {
    if (checks.at(-1)?.ok !== false) checks.push(failedCheck('clean-up', error));
  }
  const failed = checks.find(({ ok }) => !ok);
  return {
    ok: failed === undefined,
    exitCode: failed?.error?.exitCode ?? 0,
    checks,
    warnings,
  };
}

type RunCheck = <T>(name: string, work: () => Promise<T> | T) => Promise<T>;

async function checkLaunch(
  { config }: PreviewRequest,
  { cell, launcher, policy }: PreparedSandbox & Groundwork,
  check: RunCheck,
  warnings: string[],
): Promise<void> {
  warnings.push(...credentialRemarks(config, policy));
  const environment = operatorEnvironment(config.environment);
  const argv = await mainCommand(config, cell.identity);
  const attempt = async (command: Partial<CellCommand>) => {
    const spec = confine(cell, { argv, environment, checkOnly: true, ...command });
    const process = await launcher.launch(spec, { kind: 'pipes' });
    if (process.io.kind === 'pipes') {
      process.io.stdout.resume();
      process.io.stderr.resume();
    }
    await process.exited;
  };
  await check('launch', () => attempt({}));
  if (policy.filesystem.includeWorkdir)
    await attempt({ directoryAccess: ['read', 'write'] }).catch((error: unknown) => {
      if (!(error instanceof CastellanError)) throw error;
      warnings.push(
        `${config.workingDirectory} is granted for writing, but ${cell.identity.user} cannot write there`,
      );
    });
}

function failedCheck(name: string, error: unknown): Check {
  const refusal =
    error instanceof CastellanError
      ? error
      : new CastellanError('internal', error instanceof Error ? error.message : String(error), {
          step: name,
        });
  const { code, exitCode, step, object, errno, remedy } = refusal;
  return {
    name,
    ok: false,
    detail: refusal.message,
    error: { code, exitCode, step, remedy, ...(object && { object }), ...(errno && { errno }) },
  };
}

function warning(fact: AuditFact): string[] {
  switch (fact.kind) {
    case 'path-skipped':
      return [`${fact.path} is not granted: ${fact.reason}`];
    case 'control-degraded':
      return [`${fact.control}: ${fact.reason}; ${fact.remedy}`];
    case 'policy-loaded':
      return fact.notices.map((notice) => `policy: ${notice}`);
    default:
      return [];
  }
}
