import { describe, expect, it } from 'vitest';
import {
  isCredentialName,
  mentionsPlaceholder,
  type Part,
  placeholderOf,
  splitPlaceholders,
} from '../../../src/credential/placeholder.ts';
import { seededRandom } from '../random.ts';

const HANDLE = '0123456789abcdef'.repeat(4);
const named = (name: string, handle?: string): Part => ({
  kind: 'placeholder',
  placeholder: { name, handle },
});
const text = (value: string): Part => ({ kind: 'text', text: value });
const malformed: Part = { kind: 'malformed' };

describe('a text is cut where placeholders are', () => {
  it.each<[string, readonly Part[]]>([
    ['', [text('')]],
    ['nothing', [text('nothing')]],
    ['openshell:resolve:env:A', [named('A')]],
    ['Bearer openshell:resolve:env:API_KEY', [text('Bearer '), named('API_KEY')]],
    ['openshell:resolve:env:A openshell:resolve:env:B', [named('A'), text(' '), named('B')]],
    ['openshell:resolve:env:Aopenshell:resolve:env:B', [named('Aopenshell'), text(':resolve:env:B')]],
    ['botopenshell:resolve:env:A/x', [text('bot'), named('A'), text('/x')]],
    ['openshell:resolve:env:v12_A', [named('A')]],
    ['openshell:resolve:env:v18446744073709551615_A', [named('A')]],
    ['openshell:resolve:env:v123456789012345678901_A', [named('v123456789012345678901_A')]],
    ['openshell:resolve:env:v12', [named('v12')]],
    ['openshell:resolve:env:v12_', [named('v12_')]],
    [`openshell:resolve:env:s${HANDLE}_A`, [named('A', HANDLE)]],
    [`openshell:resolve:env:s${HANDLE.slice(1)}_A`, [named(`s${HANDLE.slice(1)}_A`)]],
    ['openshell:resolve:env:A-b', [named('A'), text('-b')]],
    ['openshell:resolve:env:Ä', [malformed, text('Ä')]],
    ['openshell:resolve:env:', [malformed]],
    ['openshell:resolve:env:1A', [malformed]],
    [`openshell:resolve:env:${'A'.repeat(129)}`, [malformed]],
    ['openshell:resolve:env:openshell:resolve:env:A', [named('openshell'), text(':resolve:env:A')]],
    ['openshell:resolve:en', [text('openshell:resolve:en')]],
    ['Openshell:resolve:env:A', [text('Openshell:resolve:env:A')]],
    ['OPENSHELL-RESOLVE-ENV-A', [named('A')]],
    ['xoxb-OPENSHELL-RESOLVE-ENV-A', [named('A')]],
    ['"xoxb-1.2~OPENSHELL-RESOLVE-ENV-v3_A"', [text('"'), named('A'), text('"')]],
    ['xoxb-OPENSHELL-RESOLVE-ENV-A.b', [malformed]],
    ['xoxb-OPENSHELL-RESOLVE-ENV-', [malformed]],
    ['OPENSHELL-RESOLVE-ENV-OPENSHELL-RESOLVE-ENV-A', [malformed]],
    ['openshell:resolve:env:OPENSHELL-RESOLVE-ENV-A', [named('OPENSHELL'), text('-RESOLVE-ENV-A')]],
  ])('%s', (value, parts) => {
    expect(splitPlaceholders(value)).toEqual(parts);
  });

  it('whatever it is, no text is lost and nothing is found that is not there', () => {
    const random = seededRandom(11);
    const pieces = [
      'openshell:resolve:env:',
      'OPENSHELL-RESOLVE-ENV-',
      'A',
      'B_1',
      'v1_',
      ':',
      '-',
      ' ',
      '%3A',
      '/',
      'é',
    ];
    for (let round = 0; round < 3000; round++) {
      const value = Array.from({ length: random.below(8) }, () => random.pick(pieces)).join('');
      const parts = splitPlaceholders(value);
      const texts = parts.flatMap((part) => (part.kind === 'text' ? [part.text] : []));
      let rest = value;
      for (const each of texts) {
        const at = rest.indexOf(each);
        expect(at, value).toBeGreaterThanOrEqual(0);
        rest = rest.slice(at + each.length);
      }
      const hasMarker = /openshell:resolve:env:|OPENSHELL-RESOLVE-ENV-/.test(value);
      expect(
        parts.some(({ kind }) => kind !== 'text'),
        value,
      ).toBe(hasMarker);
    }
  });

  it('in time that grows with its length alone', () => {
    const began = performance.now();
    splitPlaceholders('a-'.repeat(200_000));
    splitPlaceholders(`${'a-'.repeat(100_000)}OPENSHELL-RESOLVE-ENV-`);
    splitPlaceholders(`${'a-'.repeat(8000)} OPENSHELL-RESOLVE-ENV-A`);
    expect(performance.now() - began).toBeLessThan(1000);
  });
});

it.each([
  ['openshell:resolve:env:A', true],
  ['OPENSHELL:Resolve:ENV:', true],
  ['openshell%3aresolve%3Aenv%3a', true],
  ['openshell%253Aresolve:env:', true],
  ['openshell%25253Aresolve:env:', true],
  ['%6fpenshell:resolve:env:', true],
  ['xoxb-openshell-resolve-env-', true],
  ['openshell resolve env', false],
  ['100%', false],
  ['', false],
])('%s mentions one: %s', (value, expected) => {
  expect(mentionsPlaceholder(value)).toBe(expected);
});

it.each([
  ['GITHUB_TOKEN', true],
  ['_a1', true],
  ['1A', false],
  ['A-B', false],
  ['', false],
  ['v1_A', false],
  ['v1A', true],
  [`s${HANDLE}_A`, false],
  ['s1_A', true],
  ['A'.repeat(129), false],
])('a credential may be called %s: %s', (name, expected) => {
  expect(isCredentialName(name)).toBe(expected);
  if (expected)
    for (const prefix of [undefined, 'xoxb-', 'a.b~'])
      expect(splitPlaceholders(placeholderOf(name, prefix))).toEqual([named(name)]);
});
