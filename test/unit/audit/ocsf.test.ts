import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { type AuditContext, CLASSES, type OcsfEvent } from '../../../src/audit/ocsf/base.ts';
import { commandLine } from '../../../src/audit/ocsf/command-line.ts';
import { toOcsf } from '../../../src/audit/ocsf/to-ocsf.ts';
import { shortForm } from '../../../src/audit/short-form.ts';
import { SAMPLES } from './samples.ts';

const KIT = join(import.meta.dirname, '../../../../shared/ocsf');
const MAX_LINE_BYTES = 16 * 1024;

const context: AuditContext = {
  bootId: '0b7f1c5e-6b2d-4c8a-9f31-2d5b8e0a1c74',
  version: '0.1.0',
  hostname: 'host',
  kernelRelease: '6.18.0',
  osName: 'Debian GNU/Linux 12',
  sandboxId: 'sandbox-1',
  supervisorPid: 7,
};

function eventsOf(fact: Parameters<typeof toOcsf>[0]): OcsfEvent[] {
  let sequence = 0;
  return toOcsf(fact, () => ({ time: 1_795_460_536_928, sequence: sequence++ }), context);
}

const facts = Object.values(SAMPLES).flat();
const cases = facts.map((fact, index) => [`${fact.kind} (${index})`, fact] as const);

interface Validator {
  validate(event: unknown): { readonly errors: unknown[]; readonly warnings: unknown[] };
}

async function officialValidator(): Promise<Validator | undefined> {
  if (!existsSync(KIT)) return undefined;
  const { OcsfValidator } = await import(/* @vite-ignore */ join(KIT, 'tools/ocsf-validate.mjs'));
  return new OcsfValidator(JSON.parse(readFileSync(join(KIT, 'slim/ocsf-1.8.0.slim.json'), 'utf8')));
}
const validator = await officialValidator();

describe('every fact becomes valid OCSF', () => {
  it.each(cases)('%s', (_, fact) => {
    for (const event of eventsOf(fact)) {
      expect(event.type_uid).toBe(event.class_uid * 100 + event.activity_id);
      expect(Object.values(CLASSES).map(({ uid }) => uid)).toContain(event.class_uid);
      for (const required of [
        'activity_id',
        'category_uid',
        'class_uid',
        'metadata',
        'severity_id',
        'time',
        'type_uid',
        'message',
        'device',
      ])
        expect(event[required], required).toBeDefined();
      expect(Buffer.byteLength(JSON.stringify(event))).toBeLessThan(MAX_LINE_BYTES);
      expect(JSON.stringify(event).isWellFormed()).toBe(true);
      // The official schema, wherever it is at hand.
      const verdict = validator?.validate(event) ?? { errors: [], warnings: [] };
      expect(verdict).toEqual({ errors: [], warnings: [] });
    }
  });

  it('two events of one fact have uids of their own, and the finding names the other', () => {
    const [first, finding] = eventsOf(SAMPLES['bypass-refused'][0] as never);
    expect(finding?.class_uid).toBe(2004);
    expect(JSON.stringify(finding?.['finding_info'])).toContain(String(first?.metadata.uid));
    expect(first?.metadata.uid).not.toBe(finding?.metadata.uid);
  });
});

describe('the short form is one line, whatever the names', () => {
  it.each(cases)('%s', (_, fact) => {
    for (const event of eventsOf(fact)) {
      const line = shortForm(event, { colour: false });
      expect(line).not.toMatch(/[\p{Cc}\u2028\u2029\u202a-\u202e\u2066-\u2069]/u);
      expect(line.length).toBeLessThan(1500);
      expect(shortForm(event, { colour: true })).toContain(line);
    }
  });
});

describe('command lines', () => {
  it.each([
    [['ls', '-l', '/tmp/a b'], "ls -l '/tmp/a b'"],
    [['curl', 'https://user:pass@host/path?token=1'], 'curl https://[redacted]@host/path?…'],
    [['tool', '--password', 'hunter2', 'x'], 'tool --password [redacted] x'],
    [['tool', '--api-key=abc'], 'tool --api-key=[redacted]'],
    [['env', 'GITHUB_TOKEN=abc', 'ls'], 'env GITHUB_TOKEN=[redacted] ls'],
    [['curl', '-H', 'Authorization: Bearer abc'], "curl -H 'Authorization: [redacted]'"],
    [["it's"], "'it'\\''s'"],
    [[], ''],
  ])('%j', (argv, expected) => expect(commandLine(argv)).toBe(expected));
});
