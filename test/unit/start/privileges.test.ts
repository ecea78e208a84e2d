import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import {
  CAPABILITY_TABLE,
  type CapabilityHolder,
  missingCapabilities,
  renderedCapabilities,
} from '../../../src/config/capabilities.ts';
import { CastellanError } from '../../../src/errors.ts';
import { reportLacks, requireCapabilities } from '../../../src/start/privileges.ts';

const held = (...names: string[]) => names.map((name) => `CAP_${name}`);

function refusalOf(holder: CapabilityHolder, names: readonly string[]): CastellanError | undefined {
  try {
    requireCapabilities(holder, held(...names));
    return undefined;
  } catch (error) {
    if (error instanceof CastellanError) return error;
    throw error;
  }
}

describe('the table of capabilities', () => {
  it('has each need of a holder once', () => {
    const needs = CAPABILITY_TABLE.map(({ holder, capability }) => `${holder} ${capability}`);
    expect(new Set(needs).size).toBe(needs.length);
  });

  it.each([
    [['fence'], ['NET_ADMIN', 'CHOWN']],
    [
      ['identifying', 'sidecar'],
      ['SYS_PTRACE', 'DAC_OVERRIDE', 'SETUID', 'SETGID', 'SETPCAP'],
    ],
  ] as const)('gives pods what %j need, each once', (holders, capabilities) =>
    expect(renderedCapabilities(...holders)).toEqual(capabilities),
  );

  it.each([
    ['combined', []],
    ['fence', []],
    ['sidecar', ['NET_ADMIN']],
    ['identifying', []],
  ] as const)('leaves %s with what is rendered nothing to miss but %j', (holder, rest) => {
    const given = held(...renderedCapabilities('identifying', holder));
    expect(missingCapabilities(holder, given).map(({ capability }) => capability)).toEqual(rest);
  });
});

describe('the unit for systemd', () => {
  it('bounds the service by the same table; its launches make their views themselves', () => {
    const unit = readFileSync('systemd/castellan@.service', 'utf8');
    const given = /^CapabilityBoundingSet=(.*)$/m.exec(unit)?.[1]?.split(' ') ?? [];
    const known = renderedCapabilities('combined').map((name) => `CAP_${name}`);
    expect(given.filter((name) => !known.includes(name))).toEqual([]);
    expect(missingCapabilities('combined', given).map(({ capability }) => capability)).toEqual([
      'SYS_CHROOT',
    ]);
  });
});

describe('a start', () => {
  const ALL = renderedCapabilities('combined');
  const refusing = ['SYS_ADMIN', 'NET_ADMIN', 'SETUID', 'SETGID', 'SETPCAP'];
  it.each(ALL)('of one container without %s', (name) => {
    const refusal = refusalOf(
      'combined',
      ALL.filter((one) => one !== name),
    );
    expect(refusal?.code).toBe(refusing.includes(name) ? 'privilege_missing' : undefined);
  });

  it('names all that is missing, what it is for, and what would do', () => {
    const { message, remedy, object } = refusalOf('combined', ['KILL', 'SETPCAP', 'SETGID']) ?? {};
    expect(message).toBe(
      'CAP_SYS_ADMIN is missing: namespaces, and mounts in them; CAP_NET_ADMIN is missing: links, routes and rules of the sealed network; CAP_SETUID is missing: the uids of the agent and of the network role',
    );
    expect(object).toBe('CAP_SYS_ADMIN CAP_NET_ADMIN CAP_SETUID');
    expect(remedy).toContain(`uid 0 with ${ALL.join(', ')} `);
    expect(remedy).toContain('run castellan without root');
  });

  it('has a finding for what it goes on without, under the control that it is about', () => {
    const facts: unknown[] = [];
    const lacking = held(...ALL.filter((one) => !['KILL', 'SYS_PTRACE'].includes(one)));
    reportLacks('teardown', (fact) => facts.push(fact), lacking);
    expect(facts).toMatchObject([
      {
        kind: 'control-degraded',
        control: 'teardown',
        reason: expect.stringContaining('CAP_KILL is missing'),
      },
    ]);
  });

  it.each([
    [['SYS_PTRACE', 'DAC_READ_SEARCH'], undefined],
    [['SYS_PTRACE', 'DAC_OVERRIDE'], undefined],
    [['SYS_PTRACE'], 'CAP_DAC_OVERRIDE'],
    [['DAC_OVERRIDE'], 'CAP_SYS_PTRACE'],
    [[], 'CAP_SYS_PTRACE CAP_DAC_OVERRIDE'],
  ])('of a sidecar that looks itself, with %j', (names, object) =>
    expect(refusalOf('identifying', names)?.object).toBe(object),
  );
});
