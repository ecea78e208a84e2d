/** The table that castellan-launch was built from, for people to read; native/launch/seccomp.table tells its format. */
export interface SeccompRow {
  readonly call: string;
  /** The errno that a caller gets. */
  readonly error: string;
  /** Of the arguments; absent means whatever they are. */
  readonly condition?: string;
  readonly profile: string;
  readonly group: string;
  readonly reason: string;
}

const ROW = /^(\S+)\s+(\S+)\s+(\S+)\s+(\S+)\s+(\S+)\s+# (.+)$/;

/** Pure. @throws RangeError for a line that is neither a row nor a comment nor empty */
export function parseSeccompTable(text: string): SeccompRow[] {
  return text
    .split('\n')
    .filter((line) => line.trim() !== '' && !line.startsWith('#'))
    .map((line) => {
      const [, call, error, condition, profile, group, reason] = ROW.exec(line) ?? [];
      if (!call || !error || !condition || !profile || !group || !reason)
        throw new RangeError(`not a row of the table: ${line}`);
      return { call, error, ...(condition !== '-' && { condition }), profile, group, reason };
    });
}
