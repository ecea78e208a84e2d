import { describe, expect, it } from 'vitest';
import { checkPolicy } from '../../../src/policy/parse.ts';
import { POLICY_SCHEMA } from '../../../src/policy/schema.ts';

type Schema = { readonly [key: string]: unknown };

/** The maps of the schema by where they stand, and a policy text that puts a given key there. */
const PLACES: readonly (readonly [string, readonly string[], (key: string) => string])[] = [
  ['the policy', [], (key) => `version: 1\n${key}: x`],
  ['filesystem_policy', ['filesystem_policy'], (key) => `version: 1\nfilesystem_policy: {${key}: x}`],
  ['landlock', ['landlock'], (key) => `version: 1\nlandlock: {${key}: x}`],
  ['process', ['process'], (key) => `version: 1\nprocess: {${key}: x}`],
  ['seccomp', ['seccomp'], (key) => `version: 1\nseccomp: {${key}: x}`],
  ['a rule', ['network_policies', '*'], (key) => `version: 1\nnetwork_policies: {r: {${key}: x}}`],
  ['an endpoint', ['network_policies', '*', 'endpoints', '[]'], (key) => `version: 1\nnetwork_policies: {r: {endpoints: [{host: a.example, ${key}: x}]}}`],
  ['a binary', ['network_policies', '*', 'binaries', '[]'], (key) => `version: 1\nnetwork_policies: {r: {binaries: [{${key}: x}]}}`],
]; // biome-ignore format: a table

function schemaAt(steps: readonly string[]): Schema {
  return steps.reduce<Schema>((schema, step) => {
    if (step === '*') return schema['additionalProperties'] as Schema;
    if (step === '[]') return schema['items'] as Schema;
    return (schema['properties'] as Readonly<Record<string, Schema>>)[step] ?? {};
  }, POLICY_SCHEMA);
}

const isUnknown = (text: string) =>
  checkPolicy(text, 'p').problems.some(({ message }) => message.startsWith('unknown key'));
/** `did you mean` would name a key that the schema lacks. */
const suggestion = (text: string) =>
  checkPolicy(text, 'p')
    .problems.map(({ message }) => /did you mean "(\w+)"/.exec(message)?.[1])
    .find((word) => word !== undefined);

describe.each(PLACES)('%s', (_, steps, text) => {
  const keys = Object.keys(schemaAt(steps)['properties'] as object);

  it('has no key that the parser does not know', () => {
    expect(keys.length).toBeGreaterThan(0);
    for (const key of keys) expect(isUnknown(text(key)), key).toBe(false);
    expect(isUnknown(text('nonsense'))).toBe(true);
  });

  it('has the keys that the parser knows by nearly these names', () => {
    for (const key of keys) {
      const near = suggestion(text(`${key}x`));
      if (near !== undefined) expect(keys, key).toContain(near);
    }
  });
});

it('is strict everywhere', () => {
  const visit = (schema: unknown): void => {
    if (typeof schema !== 'object' || schema === null) return;
    if (Reflect.get(schema, 'properties') !== undefined)
      expect(schema).toMatchObject({ additionalProperties: false });
    for (const value of Object.values(schema)) visit(value);
  };
  visit(POLICY_SCHEMA);
});
