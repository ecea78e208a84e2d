import { describe, expect, it } from 'vitest';
import { canonicalHost, HostIndex, parseHostPattern } from '../../../src/policy/match/host.ts';

describe('parseHostPattern', () => {
  it.each([
    ['', { kind: 'any' }],
    ['Example.ORG', { kind: 'exact', host: 'example.org', isAddress: false }],
    ['localhost', { kind: 'exact', host: 'localhost', isAddress: false }],
    ['_dmarc.example.org', { kind: 'exact', host: '_dmarc.example.org', isAddress: false }],
    ['xn--bcher-kva.example', { kind: 'exact', host: 'xn--bcher-kva.example', isAddress: false }],
    ['10.0.0.1', { kind: 'exact', host: '10.0.0.1', isAddress: true }],
    ['2001:DB8::0:1', { kind: 'exact', host: '2001:db8::1', isAddress: true }],
    ['::ffff:10.0.0.1', { kind: 'exact', host: '10.0.0.1', isAddress: true }],
    ['*.Example.org', { kind: 'wildcard', host: '*.example.org' }],
    ['**.example.org', { kind: 'wildcard', host: '**.example.org' }],
    ['*-east.example.org', { kind: 'wildcard', host: '*-east.example.org' }],
    ['a*b*c.example.org', { kind: 'wildcard', host: 'a*b*c.example.org' }],
    ['api.*.example.org', { kind: 'wildcard', host: 'api.*.example.org' }],
    ['**.*.example.org', { kind: 'wildcard', host: '**.*.example.org' }],
    ['*.co.uk', { kind: 'wildcard', host: '*.co.uk' }],
  ])('%j', (text, pattern) => {
    expect(parseHostPattern(text)).toEqual(pattern);
  });

  it.each([
    ['*', 'top-level'],
    ['**', 'top-level'],
    ['*.com', 'top-level'],
    ['**.com', 'top-level'],
    ['*.*.com', 'top-level'],
    ['*-x.*.com', 'top-level'],
    ['api.example.*', 'top-level'],
    ['a**.example.org', 'whole first label'],
    ['***.example.org', 'whole first label'],
    ['api.**.example.org', 'only in its first label'],
    ['api.x*.example.org', 'only in its first label'],
    ['*.example.org.', 'end in a dot'],
    ['example.org.', 'end in a dot'],
    ['*..example.org', 'not a DNS name'],
    ['?.example.org', 'neither'],
    ['*.{a,b}.org', 'not a DNS name'],
    ['*.0.0.1', 'not a DNS name'],
    ['*.example.0x1', 'not a DNS name'],
    ['bücher.example', 'xn--'],
    ['\u212aernel.org', 'xn--'],
    ['exam ple.org', 'neither'],
    ['example.org\n', 'ASCII'],
    ['http://example.org', 'neither'],
    ['example.org:443', 'neither'],
    ['[::1]', 'neither'],
    ['127.1', 'neither'],
    ['0x7f000001', 'neither'],
    ['2130706433', 'neither'],
    ['1.2.3.4.5', 'neither'],
    ['fe80::1%eth0', 'neither'],
    ['10.0.0.0/8', 'neither'],
    ['a..b', 'neither'],
    [`${'a'.repeat(64)}.org`, 'neither'],
    [`${'a.'.repeat(130)}org`, 'neither'],
  ])('refuses %j', (text, problem) => {
    expect(parseHostPattern(text)).toEqual({ problem: expect.stringContaining(problem) });
  });
});

describe('canonicalHost', () => {
  it.each([
    ['EXAMPLE.org', 'example.org'],
    ['2001:DB8:0::1', '2001:db8::1'],
    ['::ffff:1.2.3.4', '1.2.3.4'],
    ['example.org.', undefined],
    ['a\0.example.org', undefined],
    ['evil.net/.example.org', undefined],
    ['evil.net@example.org', undefined],
    ['.example.org', undefined],
    ['a..example.org', undefined],
    ['0177.0.0.1', undefined],
    ['', undefined],
  ])('%j is %j', (text, host) => {
    expect(canonicalHost(text)).toBe(host);
  });
});

describe('HostIndex', () => {
  const index = new HostIndex<string>();
  const patterns = [
    'example.org',
    '*.example.org',
    '**.example.org',
    'a*.example.org',
    'api.*.example.org',
    '10.0.0.1',
    '',
  ];
  for (const text of patterns) {
    const pattern = parseHostPattern(text);
    if ('problem' in pattern) throw new Error(pattern.problem);
    index.entry(pattern, () => text);
    index.entry(pattern, () => 'made twice');
  }

  it.each([
    ['example.org', ['example.org'], []],
    ['x.example.org', [], ['*.example.org', '**.example.org']],
    ['ab.example.org', [], ['*.example.org', '**.example.org', 'a*.example.org']],
    ['x.y.example.org', [], ['**.example.org']],
    ['ab.y.example.org', [], ['**.example.org']],
    ['api.y.example.org', [], ['**.example.org', 'api.*.example.org']],
    ['xexample.org', [], []],
    ['org', [], []],
    ['10.0.0.1', ['10.0.0.1'], []],
    ['10.0.0.2', [], []],
    ['fd00::1', [], []],
  ])('%s', (host, exact, wildcards) => {
    const found = index.find(host);
    expect([found[0], [...found[1]].sort(), found[2]]).toEqual([exact, [...wildcards].sort(), ['']]);
  });
});
