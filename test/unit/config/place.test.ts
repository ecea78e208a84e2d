import { describe, expect, it } from 'vitest';
import type { VerbArguments } from '../../../src/config/config.ts';
import { readPlace } from '../../../src/config/place.ts';

const read = (text: string | undefined, roles?: string) => {
  const options: VerbArguments['options'] = new Map([
    ...(text === undefined ? [] : [['metrics-listen', [text]] as const]),
    ...(roles === undefined ? [] : [['roles', [roles]] as const]),
  ]);
  return readPlace('metrics-listen', { options, operands: [] }, (path) => `/here/${path}`);
};

describe('a place to listen', () => {
  it.each([
    ['127.0.0.1:9000', { host: '127.0.0.1', port: 9000 }],
    ['[::1]:1', { host: '::1', port: 1 }],
    ['unix:a.sock', { path: '/here/a.sock' }],
    [undefined, undefined],
  ])('%s', (text, place) => expect(read(text)).toEqual(place));

  it.each([
    '',
    'localhost:1',
    '127.0.0.1',
    '127.0.0.1:0',
    '127.0.0.1:65536',
    '::1:80',
    'unix:',
    `unix:${'a'.repeat(102)}`,
  ])('not %s', (text) => expect(() => read(text)).toThrow('--metrics-listen'));

  it.each(['127.0.0.1:9000', 'unix:a.sock'])('not %s where the command shares everything', (text) =>
    expect(() => read(text, 'process')).toThrow('does not share'),
  );
});
