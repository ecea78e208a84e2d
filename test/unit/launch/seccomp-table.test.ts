import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { parseSeccompTable } from '../../../src/launch/seccomp-table.ts';

const table = readFileSync(join(import.meta.dirname, '../../../native/launch/seccomp.table'), 'utf8');

describe('parseSeccompTable', () => {
  it('reads the table that the launcher is built from', () => {
    const rows = parseSeccompTable(table);
    expect(rows.length).toBeGreaterThan(100);
    expect(rows.find(({ call }) => call === 'ptrace')).toMatchObject({
      error: 'EPERM',
      profile: 'both',
      group: 'trace',
    });
    expect(rows.find(({ call }) => call === 'seccomp')).toMatchObject({ condition: 'A0=1,A1&0x8=0x8' });
  });

  it('refuses what it cannot read', () => {
    expect(() => parseSeccompTable('mount EPERM - both mount')).toThrow(RangeError);
  });
});
