import { METHODS } from 'node:http';
import { describe, expect, it } from 'vitest';
import { looksLikeHttp } from '../../../src/protocol/http-head.ts';
import { seededRandom } from '../random.ts';

const bytes = (text: string) => Buffer.from(text, 'latin1');

describe('looksLikeHttp', () => {
  it.each(METHODS)('knows %s, and does not decide before the target begins', (method) => {
    const line = `${method} /x HTTP/1.1\r\n`;
    expect(looksLikeHttp(bytes(line))).toBe(true);
    for (let length = 0; length <= method.length + 1; length++)
      expect(looksLikeHttp(bytes(line.slice(0, length)))).toBeUndefined();
  });

  it.each([
    ['GET http://a/ HTTP/1.1', true],
    ['OPTIONS * HTTP/1.1', true],
    ['CONNECT [::1]:443 HTTP/1.1', true],
    ['PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n', false],
    ['PRI * HTTP', undefined],
    ['PRI /x HTTP/1.1', true],
    ['SSH-2.0-OpenSSH_9.2\r\n', false],
    ['EHLO a\r\n', true], // an SMTP client that speaks first; llhttp will refuse it
    ['get / HTTP/1.1', false],
    ['GET  / HTTP/1.1', false],
    ['GET\t/ HTTP/1.1', false],
    [' GET / HTTP/1.1', false],
    ['\r\nGET / HTTP/1.1', false],
    ['AAAAAAAAAAAAAAAAAAAAA', false],
    ['*1\r\n$4\r\nPING\r\n', false],
    ['\x16\x03\x01', false],
    ['\0', false],
  ])('%j: %s', (text, expected) => {
    expect(looksLikeHttp(bytes(text))).toBe(expected);
  });

  it('always decides on random bytes beyond the longest method', () => {
    const random = seededRandom(3);
    for (let round = 0; round < 2000; round++)
      expect(looksLikeHttp(random.bytes(22 + random.below(40)))).toBeTypeOf('boolean');
  });
});
