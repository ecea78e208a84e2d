/** The table of controls against what starts record: nothing that a topology has not, and everything that it always has. */
import { describe, expect, it } from 'vitest';
import { CONTROL_TABLE, type Control, type ControlTopology } from '../../src/audit/controls.ts';
import { makePod } from './pod.ts';
import {
  ALL_MODES,
  ALLOW_CURL,
  type AuditEvent,
  auditEvents,
  finish,
  isRoot,
  prepare,
  run,
  useWorld,
  writePolicy,
} from './sandbox.ts';

const world = useWorld();

/** Only where an option or an account asks for them. */
const SOMETIMES: readonly Control[] = [
  ...(['account-view', 'trust-store', 'upstream-proxy', 'limits'] as const),
  ...(['binary-identity', 'bypass-watch'] as const),
];

function recorded(events: readonly AuditEvent[]): string[] {
  return [
    ...new Set(
      events.flatMap(({ unmapped }) =>
        typeof unmapped?.['control'] === 'string' ? [unmapped['control']] : [],
      ),
    ),
  ];
}

function expectRows(names: readonly string[], topologies: readonly ControlTopology[]): void {
  const has = (control: Control) =>
    topologies.some((topology) => CONTROL_TABLE[control][topology] !== undefined);
  const controls = Object.keys(CONTROL_TABLE) as Control[];
  expect(names.filter((name) => !controls.filter(has).includes(name as Control))).toEqual([]);
  const always = controls.filter((control) => has(control) && !SOMETIMES.includes(control));
  expect(names).toEqual(expect.arrayContaining(always));
}

describe.skipIf(!isRoot)('what a start records (needs root to make the test world)', () => {
  it.each(ALL_MODES)('%s', async (mode) => {
    const setup = prepare(world(), mode);
    const { code, stderr } = await finish(run(setup, ['true'], { policy: writePolicy(setup, ALLOW_CURL) }));
    expect(code, stderr).toBe(0);
    expectRows(recorded(auditEvents(setup)), [mode]);
  });

  it('the two containers of a pod', async () => {
    await using pod = await makePod(world(), ALLOW_CURL);
    const sidecar = finish(await pod.sidecar('plain', ['--binary-identity', 'none']));
    const { code, stderr } = await finish(pod.agent(['true'], { options: ['--limit', 'nofile=200'] }));
    expect(code, stderr).toBe(0);
    await sidecar;
    expectRows(recorded(pod.events()), ['sidecar', 'process-only']);
  });
});
