/** The book: every fact becomes OCSF events, chained, in the file; and, for a person, short lines on standard error. */
import type { Writable } from 'node:stream';
import type { CastellanError } from '../errors.ts';
import { createChain } from './chain.ts';
import type { AuditFact, Report } from './event.ts';
import { type AuditContext, HIGH, type OcsfEvent } from './ocsf/base.ts';
import type { LogFact } from './ocsf/event-log-activity.ts';
import { toOcsf } from './ocsf/to-ocsf.ts';
import { shortForm } from './short-form.ts';
import { openFileSink } from './sink/jsonl-file.ts';
import { createTerminalSink } from './sink/terminal.ts';

export interface AuditOptions {
  readonly path: string;
  readonly context: AuditContext;
  /** Where short lines go; undefined keeps quiet. */
  readonly terminal: Writable | undefined;
  readonly colour: boolean;
  /** Called once when the log cannot be written any more. */
  readonly onFailure: (error: CastellanError) => void;
  /** Milliseconds since the epoch. */
  readonly clock?: () => number;
}

export interface Audit extends AsyncDisposable {
  /** Never throws and never waits. */
  readonly report: Report;
  readonly path: string;
  /** Fingerprint of the newest record. */
  readonly head: string;
  flush(): Promise<void>;
}

/**
 * Opens the log and writes its first record.
 * @throws CastellanError `audit_failed`
 */
export async function openAudit({
  path,
  context,
  terminal,
  colour,
  onFailure,
  clock = Date.now,
}: AuditOptions): Promise<Audit> {
  const file = await openFileSink(path, onFailure);
  const lines = terminal === undefined ? undefined : createTerminalSink(terminal);
  const chain = createChain(context.bootId);
  let sequence = 0;
  let closed = false;
  const stamp = () => ({ time: clock(), sequence: sequence++ });

  const record = (event: OcsfEvent) => {
    file.write(JSON.stringify(chain.append(event)), event.severity_id >= HIGH);
    lines?.write(shortForm(event, { colour }));
  };
  const write = (fact: AuditFact | LogFact) => {
    for (const event of toOcsf(fact, stamp, context)) record(event);
  };
  const report: Report = (fact) => {
    if (closed) return;
    const dropped = file.takeDropped();
    if (dropped > 0) write({ kind: 'audit-dropped', count: dropped, reason: 'the disk did not keep up' });
    write(fact);
  };
  report({ kind: 'audit-opened', path });
  return {
    report,
    path,
    get head() {
      return chain.head;
    },
    flush: () => file.flush(),
    async [Symbol.asyncDispose]() {
      if (closed) return;
      report({ kind: 'audit-closed', path, records: sequence + 1 });
      closed = true;
      await file.close();
    },
  };
}
