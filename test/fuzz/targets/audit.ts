import assert from 'node:assert/strict';
import { canonicalJson } from '../../../src/audit/canonical.ts';
import { createChain } from '../../../src/audit/chain.ts';
import { recordLine } from '../../../src/audit/line.ts';
import type { OcsfEvent } from '../../../src/audit/ocsf/base.ts';
import { commandLine } from '../../../src/audit/ocsf/command-line.ts';
import { fitted, MAX_EVENT_BYTES } from '../../../src/audit/ocsf/fit.ts';
import { shortForm } from '../../../src/audit/short-form.ts';
import { verifyChain } from '../../../src/audit/verify.ts';
import { choiceTarget, returnsOr, type Target, textTarget } from '../target.ts';

async function* linesOf(text: string): AsyncGenerator<string> {
  yield* text.split('\n');
}

function log(records: number): string {
  const chain = createChain('run-1');
  const lines = Array.from({ length: records }, (_, index) => {
    const event = {
      class_uid: 6008,
      type_uid: index === records - 1 ? 100_807 : 1,
      message: `é\u2028${index}`,
      metadata: { uid: `run-1:${index}` },
      unmapped: { x: index },
    };
    return recordLine(chain.append(event as unknown as OcsfEvent));
  });
  return lines.join('\n');
}

const LOG = log(3);

/** A log that was changed in any way is not the log that was written. */
const verify: Target = {
  name: 'audit-verify',
  seeds: [LOG, log(1), LOG.split('\n').toReversed().join('\n')],
  words: [
    '"prev":"',
    '"fingerprint":',
    '\n',
    '{}',
    '"metadata":{"uid":"run-1:0"}',
    '"unmapped":null',
    '0',
    ' ',
    '\\u00e9',
    '"message":"","message":',
  ],
  maxBytes: 16 * 1024,
  microsecondsPerByte: 10,
  async check(input) {
    const text = Buffer.from(input).toString('utf8');
    const report = await verifyChain(linesOf(text));
    assert.equal(report.ok, report.problems.length === 0);
    const records = text.split('\n').filter((line) => line !== '');
    if (report.ok && records.length > 0)
      for (const line of records)
        assert.ok(LOG.includes(line) || log(1) === line, 'a forged record verifies');
  },
};

const canonical = textTarget({
  name: 'canonical-json',
  seeds: ['{"b":1,"a":[1.50,-0,1e21,"\\u2028"],"é":{"":null}}', '[]', '"\\ud800"'],
  words: ['"__proto__":', '1e999', '\\ud83d', '0.1', '{}'],
  maxBytes: 32 * 1024,
  check(text) {
    const value: unknown = returnsOr(
      () => JSON.parse(text),
      (error) => error instanceof SyntaxError,
    );
    if (value === undefined) return;
    const once = canonicalJson(value);
    assert.equal(canonicalJson(JSON.parse(once)), once);
    assert.equal(canonicalJson(reversed(value)), once, 'the order of keys makes another text');
    assert.equal(
      canonicalJson(JSON.parse(recordLine(value))),
      once,
      'the escapes of the log change the value',
    );
    assert.doesNotMatch(recordLine(value), /[\p{Cc}\u2028-\u202e\ufeff]/u);
  },
});

function reversed(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(reversed);
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(
    Object.entries(value)
      .map(([key, each]) => [key, reversed(each)] as const)
      .toReversed(),
  );
}

const command = textTarget({
  name: 'command-line',
  seeds: [
    'curl\n-u\nme:secret\nhttps://u:p@a.example/x?token=1',
    'a\n--api-token\nabc',
    "it's\n$(x)",
    'x\nAuthorization: Bearer abc',
  ],
  words: ['password=', '://', '@', ':', "'", '"', 'secret', 'token', '?', '--', '\n', 'cookie: '],
  maxBytes: 64 * 1024,
  microsecondsPerByte: 10,
  check(text) {
    assert.ok(commandLine(text.split('\n')).length <= 64 * 1024 + text.length * 4);
    const secret = `z${Buffer.from(text).toString('hex').slice(0, 40)}`;
    if (secret.length < 12) return;
    for (const line of [
      commandLine(['curl', '-u', `me:${secret}`]),
      commandLine(['x', '--api-token', secret]),
      commandLine(['x', `--password=${secret}`]),
      commandLine([`https://me:${secret}@a.example/`]),
      commandLine(['sh', '-c', `x --secret ${secret}`]),
    ])
      assert.ok(!line.includes(secret), `a secret is told: ${line}`);
  },
});

const SAFE_LINE = /^[^\p{Cc}\u2028-\u202e\u2066-\u2069]*$/u;

const recorded = choiceTarget({
  name: 'recorded-event',
  microsecondsPerByte: 400,
  check(choices) {
    const text = () =>
      choices.text(['a', ' ', '"', '\n', '\u001b', '\u202e', '\ud800', 'é', 'x'.repeat(3000)], 12);
    const event = {
      time: choices.below(60_000),
      class_uid: choices.pick([4001, 4002, 1, 6008]),
      severity_id: choices.below(7),
      action: 'Denied',
      message: text(),
      status_detail: text(),
      metadata: { uid: 'run:1' },
      firewall_rule: { name: text() },
      actor: { process: { path: text(), pid: 5, cmd_line: text() } },
      unmapped: { list: choices.list(40, text), none: undefined },
    };
    const fit = fitted(event);
    assert.ok(Buffer.byteLength(recordLine(fit)) <= MAX_EVENT_BYTES * 2);
    assert.ok(Buffer.byteLength(JSON.stringify(fit)) <= MAX_EVENT_BYTES);
    // JSON.stringify escapes what is not.
    JSON.stringify(fit, (_, value) => assert.ok(typeof value !== 'string' || value.isWellFormed()) ?? value);
    assert.match(shortForm(fit, { colour: false }), SAFE_LINE);
  },
});

export const AUDIT_TARGETS: readonly Target[] = [verify, canonical, command, recorded];
