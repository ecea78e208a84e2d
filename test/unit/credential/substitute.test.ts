import { describe, expect, it } from 'vitest';
import type { Place } from '../../../src/credential/credential.ts';
import type { Placeholder } from '../../../src/credential/placeholder.ts';
import {
  concealTarget,
  SubstitutionError,
  substituteFields,
  substituteForm,
  substituteTarget,
  substituteText,
} from '../../../src/credential/substitute.ts';

const SECRETS: Readonly<Record<string, string>> = {
  A: 'plain-token',
  BOT: '123:AA_b',
  ODD: 'p/w+d=é&%"\\',
  SLASH: 'a/b',
  UP: '..',
  DOT: '.',
  PERCENT: '%2e',
  PARAMETER: 'a;b',
  QUERY: 'a?b',
  WIDE: 'пароль',
  SPACE: 'a b',
};
const P = 'openshell:resolve:env:';
const places: Place[] = [];
const resolve = ({ name }: Placeholder, place: Place): string => {
  places.push(place);
  const secret = SECRETS[name];
  if (secret === undefined) throw new SubstitutionError('unavailable', `no ${name}`);
  return secret;
};
const base64 = (text: string | Buffer) => Buffer.from(text).toString('base64');

describe('header fields', () => {
  it.each([
    [['X', `${P}A`], ['X', 'plain-token']],
    [['Authorization', `Bearer ${P}v3_A`], ['Authorization', 'Bearer plain-token']],
    [['X', 'xoxb-OPENSHELL-RESOLVE-ENV-A'], ['X', 'plain-token']],
    [['X', `a=${P}A; b=${P}ODD`], ['X', `a=plain-token; b=${SECRETS['ODD']}`]],
    [['Authorization', `Basic ${base64(`u:${P}ODD`)}`], ['Authorization', `Basic ${base64(`u:${SECRETS['ODD']}`)}`]],
    [['authorization', `bASIC  ${base64(`${P}A:x`).replaceAll('=', '')}`], ['authorization', `bASIC  ${base64('plain-token:x')}`]],
    [['Authorization', `Basic ${base64(Buffer.concat([Buffer.from([0xe9, 0x3a]), Buffer.from(`${P}A`)]))}`], ['Authorization', `Basic ${base64(Buffer.concat([Buffer.from([0xe9, 0x3a]), Buffer.from('plain-token')]))}`]],
    [['A', '1', 'A', `${P}A`, 'B', '2'], ['A', '1', 'A', 'plain-token', 'B', '2']],
  ])('%j', (fields, expected) => {
    expect(substituteFields(fields, resolve)).toEqual(expected);
  }); // biome-ignore format: a table

  it('without placeholders are the same list', () => {
    const fields = ['Authorization', `Basic ${base64('u:p')}`, 'X', 'openshell', 'Y', '%zz'];
    expect(substituteFields(fields, resolve)).toBe(fields);
  });

  it('tell in which header a placeholder stands', () => {
    places.length = 0;
    substituteFields(['X-Api-Key', `${P}A`], resolve);
    expect(places).toEqual(['header:x-api-key']);
  });

  it.each([
    [['X', `${P}NOBODY`], 'no NOBODY'],
    [['X', `${P}1`], 'malformed'],
    [['X', 'OPENSHELL:RESOLVE:ENV:A'], 'malformed'],
    [['X', `${P}A openshell%3Aresolve%3Aenv%3AA`], 'malformed'],
    [['Authorization', `Basic ${base64('u:OpenShell:resolve:env:A')}`], 'malformed'],
    [['OPENSHELL-RESOLVE-ENV-A', '1'], 'the name of a header'],
    [['X', `${P}WIDE`], 'characters that no header may have'],
  ])('refuse %j', (fields, message) => {
    expect(() => substituteFields(fields, resolve)).toThrow(message);
  });
});

describe('targets', () => {
  it.each([
    [`/bot${P}BOT/send`, '/bot123:AA_b/send', '/bot[CREDENTIAL]/send'],
    ['/botopenshell%3Aresolve%3aenv:BOT', '/bot123:AA_b', '/bot[CREDENTIAL]'],
    [`/x/${P}SPACE/y`, '/x/a%20b/y', '/x/[CREDENTIAL]/y'],
    [`/a%2Fb${P}A`, undefined, undefined],
    [`/a%2Fb/${P}A;v=1?q`, '/a%2Fb/plain-token;v=1?q', '/a%2Fb/[CREDENTIAL];v=1?q'],
    [`/a%3B:${P}A`, '/a%3B:plain-token', '/a%3B:[CREDENTIAL]'],
    [`/?k=${P}ODD&l=1`, `/?k=${encodeURIComponent(SECRETS['ODD'] ?? '')}&l=1`, '/?k=[CREDENTIAL]&l=1'],
    ['/?k=a+openshell%3Aresolve%3Aenv%3AA&%zz', '/?k=a%20plain-token&%zz', '/?k=a%20[CREDENTIAL]&%zz'],
    ['/plain?a=%zz+b', '/plain?a=%zz+b', '/plain?a=%zz+b'],
  ])('%s', (target, sent = `/a%2Fbplain-token`, shown = '/a%2Fb[CREDENTIAL]') => {
    expect(substituteTarget(target, resolve)).toBe(sent);
    expect(concealTarget(target, '[CREDENTIAL]')).toBe(shown);
  }); // biome-ignore format: a table

  it.each(['SLASH', 'UP', 'DOT', 'PERCENT', 'PARAMETER', 'QUERY', 'ODD'])(
    'refuse a secret that would change the path: %s',
    (name) => {
      expect(() => substituteTarget(`/x/${P}${name}/y`, resolve)).toThrow('meaning of the path');
      if (name !== 'ODD') expect(substituteTarget(`/?x=${P}${name}`, resolve)).not.toContain('..%2f');
    },
  );

  it.each([
    [`/?${P}A=1`, 'the name of a query parameter'],
    [`/?${P}A`, 'the name of a query parameter'],
    ['/OPENSHELL%3AResolve:env:A', 'malformed'],
    ['/openshell%253Aresolve%253Aenv%253AA', 'malformed'],
    [`/?a=${P}`, 'malformed'],
    [`/?a=%ff${P}A`, 'not UTF-8'],
  ])('refuse %s', (target, message) => {
    expect(() => substituteTarget(target, resolve)).toThrow(message);
  });
});

describe('bodies', () => {
  it.each([
    [true, `{"a":"${P}ODD"}`, JSON.stringify({ a: SECRETS['ODD'] })],
    [true, `["x${P}A",1]`, '["xplain-token",1]'],
    [false, `a ${P}ODD b`, `a ${SECRETS['ODD']} b`],
    [false, 'OpenShell:resolve:env:A stays', 'OpenShell:resolve:env:A stays'],
    [false, `${P}A beside openshell%3Aresolve`, 'plain-token beside openshell%3Aresolve'],
  ])('JSON: %s, %s', (isJson, body, expected) => {
    expect(substituteText(body, isJson, 'body', resolve)).toBe(expected);
  });

  it('forms: values, and no names', () => {
    expect(substituteForm(`a=openshell%3Aresolve%3Aenv%3AODD&b=+&c=${P}A`, resolve)).toBe(
      `a=${encodeURIComponent(SECRETS['ODD'] ?? '')}&b=+&c=plain-token`,
    );
    expect(() => substituteForm(`${P}A=1`, resolve)).toThrow('the name of a form field');
  });
});
