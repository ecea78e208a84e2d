import { describe, expect, it } from 'vitest';
import { importsOf, readSource, sourceFiles } from './sources.ts';

/**
 * The rooms from top to bottom. A file may import from its own room and from rooms below; types of a flow's stages
 * (`import type`) may be used by whoever the flow reports to.
 */
const LAYERS: readonly (readonly string[])[] = [
  ['main.ts'],
  ['cli'],
  ['start'],
  ['egress', 'session', 'webhook'],
  ['credential', 'roles', 'launch', 'kernel', 'audit'],
  ['kubernetes'],
  ['policy', 'protocol', 'config'],
  ['errors.ts', 'version.ts'],
  ['lib'],
];

const layerOf = (room: string) => LAYERS.findIndex((rooms) => rooms.includes(room));

/** One owner a dependency: the room that may import it. */
const OWNERS: Readonly<Record<string, readonly string[]>> = {
  ssh2: ['session/ssh'],
  'node-pty': ['launch'],
  yaml: ['policy'],
  '@smithy/signature-v4': ['credential'],
  '@kubernetes/client-node': ['kubernetes'],
  valibot: ['roles', 'start', 'policy', 'config', 'kubernetes'],
  'node:child_process': ['launch', 'kernel', 'cli/ssh.ts'],
  'node:http': ['egress', 'start/door.ts', 'cli/probe.ts', 'webhook'],
  'node:https': ['webhook'],
};

const files = sourceFiles('src');

describe('imports point downward', () => {
  it.each(files)('%s', (file) => {
    const room = file.split('/')[0] ?? '';
    expect(layerOf(room), `${room} is not in the plan`).toBeGreaterThanOrEqual(0);
    for (const { target, typeOnly } of importsOf(`src/${file}`)) {
      const targetRoom = target.split('/')[0] ?? '';
      if (target === '' || targetRoom === room || typeOnly) continue;
      expect(layerOf(targetRoom), `${file} imports ${target}`).toBeGreaterThan(
        layerOf(room) - (sameLayerIsFine(room, targetRoom) ? 1 : 0),
      );
    }
  });
});

/** Rooms of the lowest flows use each other (launch needs the kernel, roles the audit's types); egress, session and webhook never. */
function sameLayerIsFine(room: string, target: string): boolean {
  return layerOf(room) === layerOf(target) && !['egress', 'session', 'webhook'].includes(room);
}

describe('every outside dependency has one owner', () => {
  it.each(Object.entries(OWNERS))('%s', (dependency, owners) => {
    const users = files.filter((file) =>
      importsOf(`src/${file}`).some(({ external }) => external === dependency),
    );
    for (const user of users)
      expect(
        owners.some((owner) => user.startsWith(owner)),
        `${user} imports ${dependency}`,
      ).toBe(true);
  });
});

describe('kubernetes is pure', () => {
  it.each(files.filter((file) => file.startsWith('kubernetes/')))('%s', (file) => {
    for (const { external, typeOnly } of importsOf(`src/${file}`)) {
      // The client's types describe pods; its code, which would talk to a cluster, never gets into the bundle.
      if (external === '@kubernetes/client-node') expect(typeOnly).toBe(true);
      if (external.startsWith('node:')) expect(['node:util', 'node:path/posix']).toContain(external);
    }
  });
});

describe('process-wide state stays at the edge', () => {
  it.each(files.filter((file) => file !== 'main.ts'))('%s', (file) => {
    expect(readSource(`src/${file}`)).not.toMatch(/process\.(env|argv|exit\b|exitCode)/);
  });
});
