/** What may come over the control wire of a pod, and when. */
import { describe, expect, test } from 'vitest';
import type { AuditFact } from '../../../src/audit/event.ts';
import { fittedFact, isProcessFact } from '../../../src/roles/control/fact.ts';
import {
  CONTROL_VERSION,
  type FromProcessRole,
  type FromSidecar,
  type ProcessFact,
} from '../../../src/roles/control/message.ts';
import { parseFromProcessRole, parseFromSidecar } from '../../../src/roles/control/parse.ts';
import { FROM_PROCESS_ROLE, FROM_SIDECAR } from '../../../src/roles/control/phase.ts';
import { keepPhase, type Phase } from '../../../src/roles/phase.ts';
import { ALL_FACTS, SAMPLES } from '../audit/facts.ts';
import { CONTAINER_POLICY, FLOW, INTENT, KNOWN, PROCESS_HELLO, SETUP } from './wire-parts.ts';

const json = (value: unknown): unknown => JSON.parse(JSON.stringify(value));

describe('phases', () => {
  test.each<[Phase, FromProcessRole['type'], Phase | undefined]>([
    ['hello', 'hello', 'starting'],
    ['hello', 'fact', undefined],
    ['hello', 'ended', undefined],
    ['starting', 'hello', undefined],
    ['starting', 'fact', 'starting'],
    ['starting', 'answer', 'starting'],
    ['starting', 'ready', undefined],
    ['waiting', 'ready', 'running'],
    ['waiting', 'fact', 'waiting'],
    ['waiting', 'hello', undefined],
    ['waiting', 'ended', 'ended'],
    ['starting', 'ended', 'ended'],
    ['running', 'ready', undefined],
    ['running', 'policy-applied', 'running'],
    ['running', 'ended', 'ended'],
    ['ended', 'fact', undefined],
    ['ended', 'ended', undefined],
    ['ended', 'answer', undefined],
  ])('the sidecar in %s: %s', (from, type, to) => {
    const phases = keepPhase(FROM_PROCESS_ROLE);
    phases.enter(from);
    if (to === undefined) return expect(() => phases.receive(type)).toThrow('the other role sent');
    phases.receive(type);
    expect(phases.phase).toBe(to);
  });

  test.each<[Phase, FromSidecar['type'], Phase | undefined]>([
    ['hello', 'hello', 'starting'],
    ['hello', 'setup', undefined],
    ['starting', 'setup', 'waiting'],
    ['starting', 'begin', undefined],
    ['waiting', 'begin', 'running'],
    ['waiting', 'policy', 'waiting'],
    ['running', 'begin', undefined],
    ['starting', 'policy', undefined],
    ['starting', 'identify', undefined],
    ['starting', 'stop', 'starting'],
    ['running', 'setup', undefined],
    ['running', 'policy', 'running'],
    ['running', 'identify', 'running'],
    ['running', 'recorded', undefined],
    ['stopping', 'identify', 'stopping'],
    ['stopping', 'recorded', 'ended'],
    ['ended', 'recorded', undefined],
  ])('the process role in %s: %s', (from, type, to) => {
    const phases = keepPhase(FROM_SIDECAR);
    phases.enter(from);
    if (to === undefined) return expect(() => phases.receive(type)).toThrow('the other role sent');
    phases.receive(type);
    expect(phases.phase).toBe(to);
  });
});

describe('from the sidecar', () => {
  const hello = { type: 'hello', role: 'network', version: CONTROL_VERSION, pid: 4, uid: 1337 };
  test.each<[string, unknown]>([
    ['hello', hello],
    ['a setup', { type: 'setup', ...SETUP }],
    ['one with an authority', { type: 'setup', ...SETUP, authority: 'PEM' }],
    ['a policy', { type: 'policy', ...CONTAINER_POLICY }],
    ['a question', { type: 'identify', id: 1, flow: FLOW }],
    ['a beginning', { type: 'begin' }],
    ['a stop', { type: 'stop' }],
    ['the end of a record', { type: 'recorded' }],
  ])('%s', (_, message) => {
    expect(json(parseFromSidecar(json(message)))).toEqual(json(message));
  });

  const parts = CONTAINER_POLICY.parts;
  test.each<[string, unknown]>([
    ['the process role’s own hello', PROCESS_HELLO],
    ['pid 0', { ...hello, pid: 0 }],
    ['no version', { ...hello, version: undefined }],
    ['another key', { type: 'stop', now: true }],
    ['generation 0', { type: 'policy', ...CONTAINER_POLICY, generation: 0 }],
    ['a binary that is no text', { type: 'policy', ...CONTAINER_POLICY, binaries: [1] }],
    [
      'a path that is no text',
      {
        type: 'policy',
        ...CONTAINER_POLICY,
        parts: { ...parts, filesystem: { ...parts.filesystem, readOnly: [1] } },
      },
    ],
    [
      'more paths than a policy may list',
      {
        type: 'policy',
        ...CONTAINER_POLICY,
        parts: { ...parts, filesystem: { ...parts.filesystem, readOnly: Array(257).fill('/a') } },
      },
    ],
    [
      'a group that no filter has',
      { type: 'policy', ...CONTAINER_POLICY, parts: { ...parts, seccomp: { relax: ['everything'] } } },
    ],
    ['network rules', { type: 'policy', ...CONTAINER_POLICY, rules: [] }],
    ['a secret in the place of a placeholder', { type: 'setup', ...SETUP, placeholders: { A: 'two words' } }],
    ['a port that is none', { type: 'setup', ...SETUP, proxyPort: 0 }],
  ])('not %s', (_, message) => {
    expect(() => parseFromSidecar(message)).toThrow();
  });
});

describe('from the process role', () => {
  test.each<[string, unknown]>([
    ['hello', PROCESS_HELLO],
    ['ready', { type: 'ready' }],
    ['a policy in force', { type: 'policy-applied', generation: 2, targets: { '/bin/sh': '/usr/bin/dash' } }],
    ['an answer', { type: 'answer', id: 3, result: KNOWN }],
    ['the end', { type: 'ended', exitCode: 255, reason: 'the command ended with 255' }],
  ])('%s', (_, message) => {
    expect(parseFromProcessRole(json(message))).toEqual(message);
  });

  test.each<[string, unknown]>([
    ['the sidecar’s own hello', { ...PROCESS_HELLO, role: 'network' }],
    ['a uid that nobody has', { ...PROCESS_HELLO, uid: 2 ** 32 }],
    ['a token without end', { ...PROCESS_HELLO, token: 'x'.repeat(129) }],
    ['a question', { type: 'identify', id: 1, flow: FLOW }],
    ['an exit code that is none', { type: 'ended', exitCode: 256, reason: '' }],
    ['a reason without end', { type: 'ended', exitCode: 0, reason: 'x'.repeat(20_000) }],
    ['a target that is no path', { type: 'policy-applied', generation: 1, targets: { '/a': 'b' } }],
    ['another end', { type: 'ended', exitCode: -1, reason: '' }],
  ])('not %s', (_, message) => {
    expect(() => parseFromProcessRole(message)).toThrow();
  });
});

const overWire = (fact: AuditFact) => parseFromProcessRole(json({ type: 'fact', fact }));

/** What the process role reports of itself; everything else is the sidecar's own. */
const OWN: readonly ProcessFact['kind'][] = [
  'supervisor-started',
  'supervisor-ready',
  'supervisor-stopped',
  'supervisor-failed',
  'identity-resolved',
  'path-prepared',
  'path-skipped',
  'control-applied',
  'control-degraded',
  'process-launched',
  'process-exited',
  'launch-refused',
  'ssh-listening',
  'ssh-opened',
  'ssh-closed',
  'ssh-attached',
  'ssh-detached',
  'ssh-forward-opened',
  'ssh-forward-closed',
  'ssh-forward-refused',
  'ssh-refused',
  'internal-error',
];
const isOwn = (fact: AuditFact): boolean =>
  OWN.some((kind) => kind === fact.kind) &&
  (fact.kind !== 'supervisor-started' || fact.mode === 'process-only');

describe('facts', () => {
  test.each(ALL_FACTS.filter(isOwn))('$kind comes over as it is', (fact) => {
    expect(overWire(fact)).toEqual({ type: 'fact', fact });
    expect(isProcessFact(fact)).toBe(true);
  });

  test.each(ALL_FACTS.filter((fact) => !isOwn(fact)))('$kind is the sidecar’s', (fact) => {
    expect(() => overWire(fact)).toThrow();
  });

  const [launched] = SAMPLES['process-launched'];
  test.each<[string, object]>([
    ['a control of the network', { kind: 'control-applied', control: 'network-role', detail: '' }],
    ['a control of nobody', { kind: 'control-applied', control: 'x', detail: '' }],
    ['another mode', { kind: 'supervisor-started', mode: 'root', pid: 1 }],
    ['a uid that nobody has', { ...launched, process: { ...launched.process, uid: 2 ** 32 } }],
    ['a signal that is none', { ...SAMPLES['process-exited'][0], signal: 'x' }],
    ['arguments without end', { ...launched, process: { ...launched.process, argv: Array(257).fill('a') } }],
    ['an intent', { kind: 'internal-error', where: '', message: '', intent: INTENT }],
  ])('not %s', (_, fact) => {
    expect(() => parseFromProcessRole({ type: 'fact', fact })).toThrow();
  });

  test('what a person typed is cut until it fits', () => {
    const argv = Array(5000).fill('\u0001'.repeat(20_000));
    const fact = fittedFact({ ...launched, process: { ...launched.process, argv } });
    expect(() => overWire(fact)).not.toThrow();
    expect(Buffer.byteLength(JSON.stringify(fact))).toBeLessThan(8 * 1024 * 1024);
  });
});
