import { randomUUID } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { hostname, release } from 'node:os';
import { type AuditCounts, openAudit } from '../audit/audit.ts';
import type { Report } from '../audit/event.ts';
import type { RunConfig } from '../config/config.ts';
import type { Surroundings } from '../config/surroundings.ts';
import { readVariable } from '../config/variables.ts';
import type { CastellanError } from '../errors.ts';
import type { ProcessEnd } from '../roles/control/process-end.ts';
import { VERSION } from '../version.ts';

export interface RunAudit extends AsyncDisposable {
  readonly report: Report;
  /** Undefined where the log is kept elsewhere. */
  readonly counts: AuditCounts | undefined;
  /** Settles when everything reported is on disk. */
  flush(): Promise<void>;
  /** The run has ended, and nothing more is reported. @throws CastellanError where the log could not take its end */
  conclude(exitCode: number, reason: string): Promise<void>;
  /** Set where the log is the sidecar's, at the other end of this wire. */
  readonly sidecar: ProcessEnd | undefined;
  /** Settles when the log can no longer be written: from then on nothing new may happen unseen. */
  readonly failed: Promise<CastellanError>;
}

/**
 * Opens the audit log of a run. Events also go to standard error in short form, unless that is asked not to be or
 * a full-screen program is going to own the terminal.
 * @throws CastellanError `audit_failed`
 */
export async function openRunAudit(
  config: RunConfig,
  surroundings: Surroundings,
  stderr: NodeJS.WriteStream,
  /** Told of each fact besides. */
  observe: Report,
): Promise<RunAudit> {
  const { promise: failed, resolve } = Promise.withResolvers<CastellanError>();
  const interactive =
    surroundings.stdinIsTerminal && surroundings.stdoutIsTerminal && surroundings.stderrIsTerminal;
  const audit = await openAudit({
    path: config.auditPath,
    context: {
      bootId: randomUUID(),
      version: VERSION,
      hostname: hostname(),
      kernelRelease: release(),
      osName: await operatingSystemName(),
      sandboxId: config.name,
      supervisorPid: surroundings.pid,
    },
    terminal: config.quiet || interactive ? undefined : stderr,
    colour: surroundings.stderrIsTerminal && readVariable(surroundings.environment, 'NO_COLOR') === undefined,
    onFailure: resolve,
  });
  return {
    report(fact) {
      observe(fact);
      audit.report(fact);
    },
    get counts() {
      return audit.counts;
    },
    failed,
    flush: audit.flush,
    async conclude() {},
    sidecar: undefined,
    [Symbol.asyncDispose]: () => audit[Symbol.asyncDispose](),
  };
}

/** PRETTY_NAME of os-release(5), or `Linux` where an image has none. */
async function operatingSystemName(): Promise<string> {
  const text = await readFile('/etc/os-release', 'utf8').catch(() => '');
  return text.match(/^PRETTY_NAME="?([^"\n]{1,100})"?$/m)?.[1] ?? 'Linux';
}
