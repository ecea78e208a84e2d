import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { createSystemResolver } from '../../../src/egress/decide/lookup.ts';

const LIMITS = {
  resolving: 4,
  resolvingPerDomain: 2,
  resolveQueue: 3,
  cachedNames: 100,
  nameCacheMs: 5000,
  nameFailureMs: 1000,
};

/** Look-ups that end when the test says so. */
function controlled(limits: Partial<typeof LIMITS> = {}) {
  const open = new Map<string, PromiseWithResolvers<readonly string[]>>();
  const asked: string[] = [];
  const resolver = createSystemResolver({ ...LIMITS, ...limits }, (host) => {
    asked.push(host);
    const answer = Promise.withResolvers<readonly string[]>();
    open.set(host, answer);
    return answer.promise;
  });
  return {
    resolver,
    asked,
    answer: (host: string) => open.get(host)?.resolve([`of ${host}`]),
    fail: (host: string) => open.get(host)?.reject(new Error(`no ${host}`)),
  };
}

beforeEach(() => void vi.useFakeTimers());
afterEach(() => void vi.useRealTimers());

describe('remembers', () => {
  test('one look-up for all that ask at once, and for a while after', async () => {
    const { resolver, asked, answer } = controlled();
    const first = [resolver('a.test'), resolver('a.test')];
    answer('a.test');
    expect(await Promise.all(first)).toEqual([['of a.test'], ['of a.test']]);
    await vi.advanceTimersByTimeAsync(4999);
    expect(await resolver('a.test')).toEqual(['of a.test']);
    expect(asked).toEqual(['a.test']);
    await vi.advanceTimersByTimeAsync(1);
    const again = resolver('a.test');
    expect(asked).toEqual(['a.test', 'a.test']);
    answer('a.test');
    await again;
  });

  test('a failure for a shorter while', async () => {
    const { resolver, asked, fail } = controlled();
    const first = resolver('a.test');
    fail('a.test');
    await expect(first).rejects.toThrow('no a.test');
    await vi.advanceTimersByTimeAsync(999);
    await expect(resolver('a.test')).rejects.toThrow('no a.test');
    expect(asked).toHaveLength(1);
    await vi.advanceTimersByTimeAsync(1);
    void resolver('a.test').catch(() => {});
    expect(asked).toHaveLength(2);
  });

  test('so many names and no more', async () => {
    const { resolver, asked, answer } = controlled({ cachedNames: 3 });
    for (const host of ['a.test', 'b.test', 'c.test', 'd.test']) {
      const found = resolver(host);
      answer(host);
      await found;
    }
    await resolver('d.test');
    expect(asked).toHaveLength(4);
    void resolver('a.test');
    expect(asked).toHaveLength(5);
  });
});

describe('looks up', () => {
  test('no more of one domain at once than its share: others go on', async () => {
    const { resolver, asked, answer } = controlled();
    const slow = ['1.slow.test', '2.slow.test', '3.slow.test'].map(resolver);
    const quick = resolver('a.quick.test');
    expect(asked).toEqual(['1.slow.test', '2.slow.test', 'a.quick.test']);
    answer('a.quick.test');
    expect(await quick).toEqual(['of a.quick.test']);
    answer('2.slow.test');
    await slow[1];
    await vi.advanceTimersByTimeAsync(0);
    expect(asked.at(-1)).toBe('3.slow.test');
  });

  test('no more at all than so many; those who wait go in turn, and too many are told', async () => {
    const { resolver, asked, answer } = controlled();
    const hosts = ['a', 'b', 'c', 'd', 'e', 'f', 'g'].map((name) => `${name}.${name}`);
    const found = hosts.map(resolver);
    expect(asked).toEqual(hosts.slice(0, 4));
    await expect(resolver('h.h')).rejects.toThrow('too many names');
    for (const host of hosts) {
      answer(host);
      await vi.advanceTimersByTimeAsync(0);
    }
    expect(await Promise.all(found)).toEqual(hosts.map((host) => [`of ${host}`]));
  });
});
