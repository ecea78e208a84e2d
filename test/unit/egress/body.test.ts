import { PassThrough } from 'node:stream';
import { describe, expect, test } from 'vitest';
import { type BodyBudget, createBodyBudget, readWhole } from '../../../src/egress/accept/body.ts';

interface Reading {
  readonly stream: PassThrough;
  readonly body: Promise<Buffer | undefined>;
  /** The exchange is over. */
  release(): void;
}

function reading(
  budget: BodyBudget,
  options: { maxBytes?: number; ms?: number; roomMs?: number } = {},
): Reading {
  const stream = new PassThrough();
  let release = (): void => {};
  const body = readWhole(stream, {
    maxBytes: 100,
    ms: 5000,
    roomMs: 5000,
    ...options,
    budget,
    over: (given) => {
      release = given;
    },
  });
  return { stream, body, release: () => release() };
}

describe('bodies that share a budget', () => {
  test('wait for room, in the order of asking, and are then whole', async () => {
    const budget = createBodyBudget(10);
    const first = reading(budget);
    first.stream.end('12345678');
    expect(String(await first.body)).toBe('12345678');
    const [second, third] = [reading(budget), reading(budget)];
    const order: string[] = [];
    void second.body.then(() => order.push('second'));
    void third.body.then(() => order.push('third'));
    second.stream.end('abcdefgh');
    third.stream.end('ABCDEFGH');
    await expect.poll(() => [second.stream.isPaused(), third.stream.isPaused()]).toEqual([true, true]);
    first.release();
    expect(String(await second.body)).toBe('abcdefgh');
    expect(order).toEqual(['second']);
    second.release();
    expect(String(await third.body)).toBe('ABCDEFGH');
    third.release();
    expect(budget.take(10)).toBe(true);
  });

  test('give up when none comes', async () => {
    const budget = createBodyBudget(4);
    const first = reading(budget);
    first.stream.end('1234');
    await first.body;
    const second = reading(budget, { roomMs: 20 });
    second.stream.end('5');
    expect(await second.body).toBeUndefined();
    second.release();
    first.release();
    expect(budget.take(4)).toBe(true);
  });

  test('take nothing any more once their exchange is over', async () => {
    const budget = createBodyBudget(4);
    const first = reading(budget);
    first.stream.end('1234');
    await first.body;
    const second = reading(budget);
    second.stream.write('5');
    await expect.poll(() => second.stream.isPaused()).toBe(true);
    second.release();
    expect(await second.body).toBeUndefined();
    first.release();
    expect(budget.take(4)).toBe(true);
  });

  test.each([
    ['larger than it may be', { maxBytes: 3 }, (stream: PassThrough) => stream.write('1234')],
    ['not there in time', { ms: 20 }, (stream: PassThrough) => stream.write('1')],
    ['waiting for room when its time is up', { ms: 20 }, (stream: PassThrough) => stream.end('12345')],
    ['lost with its client', {}, (stream: PassThrough) => stream.destroy()],
  ])('are none when %s, and give back what they had', async (_, options, act) => {
    const budget = createBodyBudget(4);
    const { stream, body, release } = reading(budget, options);
    act(stream);
    expect(await body).toBeUndefined();
    release();
    expect(budget.take(4)).toBe(true);
  });
});
