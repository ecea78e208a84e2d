import { describe, expect, it } from 'vitest';
import { type ProxyException, readUpstreamProxy } from '../../../src/config/upstream-proxy.ts';
import { CastellanError } from '../../../src/errors.ts';

const read = (options: Readonly<Record<string, string>>) =>
  readUpstreamProxy(new Map(Object.entries(options).map(([name, value]) => [name, [value]])));
const URL = 'http://proxy.example:3128';

describe('--upstream-proxy', () => {
  it.each([
    ['http://proxy.example:3128', 'http', 'proxy.example', 3128],
    ['https://Proxy.Example:8443/', 'https', 'proxy.example', 8443],
    ['http://proxy.example', 'http', 'proxy.example', 80],
    ['https://proxy.example', 'https', 'proxy.example', 443],
    ['http://10.0.0.1:3128', 'http', '10.0.0.1', 3128],
    ['http://[fd00::0001]:3128', 'http', 'fd00::1', 3128],
  ] as const)('%s', (text, scheme, host, port) => {
    expect(read({ 'upstream-proxy': text })).toEqual({
      scheme,
      host,
      port,
      exceptions: [],
      byHostName: false,
    });
  });

  it.each([
    ['', 'takes http://HOST:PORT'],
    ['proxy.example:3128', 'takes http://HOST:PORT'],
    ['socks5://proxy.example:1080', 'takes http://HOST:PORT'],
    ['http://', 'takes http://HOST:PORT'],
    ['http://proxy.example:0', 'a port from 1'],
    ['http://proxy.example:65536', 'takes http://HOST:PORT'],
    ['http://proxy.example:3128/path', 'takes no path'],
    ['http://proxy.example:3128?x', 'takes no path'],
    ['http://proxy.example:3128#x', 'takes no path'],
    ['http://user:SECRET@proxy.example:3128', 'use --upstream-proxy-auth-file'],
    ['http://SECRET@proxy.example:3128', 'use --upstream-proxy-auth-file'],
    ['http://SECRET proxy:3128', 'takes http://HOST:PORT'],
    ['http://pröxy.example:3128', undefined],
  ])('%s is refused, and not repeated', (text, message) => {
    if (message === undefined) return expect(read({ 'upstream-proxy': text })?.host).toMatch(/^xn--/);
    const run = () => read({ 'upstream-proxy': text });
    expect(run).toThrow(message);
    expect(run).toThrow(CastellanError);
    expect(run).not.toThrow('SECRET');
  });

  it('is needed by what says more about it', () => {
    expect(read({})).toBeUndefined();
    for (const name of [
      'upstream-no-proxy',
      'upstream-proxy-auth-file',
      'upstream-proxy-connect-by-hostname',
    ])
      expect(() => read({ [name]: 'x' })).toThrow(`--${name} takes --upstream-proxy`);
  });

  it('sends no password unencrypted unless it is told to', () => {
    const file = { 'upstream-proxy-auth-file': '/f' };
    expect(() => read({ 'upstream-proxy': URL, ...file })).toThrow('--upstream-proxy-auth-allow-insecure');
    const insecure = { 'upstream-proxy-auth-allow-insecure': '' };
    expect(read({ 'upstream-proxy': URL, ...file, ...insecure })).toBeDefined();
    expect(read({ 'upstream-proxy': 'https://proxy.example', ...file })).toBeDefined();
  });

  it('is told names where the operator says so', () => {
    expect(read({ 'upstream-proxy': URL, 'upstream-proxy-connect-by-hostname': '' })?.byHostName).toBe(true);
  });
});

describe('--upstream-no-proxy', () => {
  const exceptions = (list: string) => read({ 'upstream-proxy': URL, 'upstream-no-proxy': list })?.exceptions;

  it.each<[string, ProxyException['kind'], string, number | undefined]>([
    ['*', 'any', '', undefined],
    ['*:8080', 'any', '', 8080],
    ['A.Example', 'domain', 'a.example', undefined],
    ['a.example:443', 'domain', 'a.example', 443],
    ['.a.example', 'subdomains', 'a.example', undefined],
    ['*.a.example:443', 'subdomains', 'a.example', 443],
    ['10.1.2.3', 'block', '10.1.2.3/32', undefined],
    ['10.1.2.3:80', 'block', '10.1.2.3/32', 80],
    ['10.1.2.3/8', 'block', '10.0.0.0/8', undefined],
    ['10.0.0.0/8:443', 'block', '10.0.0.0/8', 443],
    ['fd00::/8', 'block', 'fd00::/8', undefined],
    ['[fd00::1]:443', 'block', 'fd00::1/128', 443],
    ['::ffff:10.0.0.1', 'block', '10.0.0.1/32', undefined],
  ])('%s', (entry, kind, value, port) => {
    expect(exceptions(entry)).toEqual([{ kind, value, port }]);
  });

  it.each(['a_b!', '*.', '.', 'a.*.example', '10.0.0.0/33', 'a.example:0', 'a.example:65536', 'http://a.example', '10.0.1', 'a.example:'])(
    '%s is refused',
    (entry) => expect(() => exceptions(entry)).toThrow(`--upstream-no-proxy ${entry}: `),
  ); // biome-ignore format: a table

  it('takes lists, with commas or blanks, and not without end', () => {
    expect(exceptions(' a.example, .b.example,,c.example ')).toHaveLength(3);
    expect(exceptions(' , ')).toEqual([]);
    expect(() => exceptions(Array(257).fill('a.example').join())).toThrow('more than 256');
  });
});
