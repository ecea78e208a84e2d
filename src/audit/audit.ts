/** The book: every fact becomes OCSF events, chained, in the file; and, for a person, short lines on standard error. */
import type { Writable } from 'node:stream';
import type { CastellanError } from '../errors.ts';
import { createChain } from './chain.ts';
import type { AuditFact, Report } from './event.ts';
import { recordLine } from './line.ts';
import { type AuditContext, HIGH } from './ocsf/base.ts';
import type { LogFact } from './ocsf/event-log-activity.ts';
import { learn, toOcsf } from './ocsf/to-ocsf.ts';
import { shortForm } from './short-form.ts';
import { type LineWriter, openLog, startWriter } from './sink/jsonl-file.ts';
import { createTerminalSink, type TerminalSink } from './sink/terminal.ts';

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
  readonly counts: AuditCounts;
  /** Resolves when everything reported is on disk, or cannot be. */
  flush(): Promise<void>;
}

export interface AuditCounts {
  /** Records made; those that a failed disk lost are among them. */
  readonly records: number;
  /** Events that are not in the file: the queue was full, the disk failed, or the log was closed. */
  readonly dropped: number;
  /** Lines that standard error did not take. */
  readonly hidden: number;
}

/**
 * Opens the log and writes its first record.
 * @throws CastellanError `audit_failed`
 */
export async function openAudit(options: AuditOptions): Promise<Audit> {
  const { path, terminal } = options;
  let failure: CastellanError | undefined;
  let tellFailure = (error: CastellanError) => {
    failure = error;
  };
  const file = startWriter(await openLog(path), path, (error) => tellFailure(error));
  const lines = terminal && createTerminalSink(terminal);
  const book = openBook(options, file, lines);
  book.report({ kind: 'audit-opened', path });
  await file.flush();
  if (failure !== undefined) {
    await file.close();
    throw failure;
  }
  tellFailure = options.onFailure;
  return {
    path,
    report: book.report,
    flush: file.flush,
    get head() {
      return book.head;
    },
    get counts() {
      return { records: book.records, dropped: book.dropped + file.lost, hidden: lines?.hidden ?? 0 };
    },
    async [Symbol.asyncDispose]() {
      if (!book.close()) return;
      await file.close();
      lines?.[Symbol.dispose]();
    },
  };
}

interface Book {
  readonly report: Report;
  readonly head: string;
  readonly records: number;
  readonly dropped: number;
  /** Writes the last record; later facts only count as dropped. False when that was done before. */
  close(): boolean;
}

function openBook(
  { path, context: ofRun, colour, clock = Date.now }: AuditOptions,
  file: LineWriter,
  lines: TerminalSink | undefined,
): Book {
  const chain = createChain(ofRun.bootId);
  let context = ofRun;
  let sequence = 0;
  let dropped = 0;
  let untold = 0;
  let closed = false;

  const record = (fact: AuditFact | LogFact) => {
    let number = sequence;
    const events = toOcsf(fact, () => ({ time: clock(), sequence: number++ }), context);
    const important = events.some(({ severity_id }) => severity_id >= HIGH);
    // Before it gets a number: what is dropped must leave no hole in the chain.
    if (closed || !file.hasRoom(important)) return drop(events.length);
    for (const event of events) {
      file.write(recordLine(chain.append(event)), important);
      lines?.write(shortForm(event, { colour }));
    }
    sequence = number;
    context = learn(context, fact);
  };
  const drop = (count: number) => {
    dropped += count;
    if (closed) return;
    if (untold === 0) void file.flush().then(tellDropped);
    untold += count;
  };
  const tellDropped = () => {
    const count = untold;
    untold = 0;
    if (count > 0) record({ kind: 'audit-dropped', count, reason: 'the disk did not keep up' });
  };
  const report: Report = (fact) => {
    try {
      record(fact);
    } catch (error) {
      const message = error instanceof Error ? error.message : 'unknown';
      record({ kind: 'internal-error', where: `audit/${fact.kind}`, message });
    }
  };
  return {
    report,
    get head() {
      return chain.head;
    },
    get records() {
      return sequence;
    },
    get dropped() {
      return dropped;
    },
    close() {
      if (closed) return false;
      tellDropped();
      report({ kind: 'audit-closed', path, records: sequence + 1 });
      closed = true;
      return true;
    },
  };
}
