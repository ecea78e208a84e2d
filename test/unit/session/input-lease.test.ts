import { expect, it } from 'vitest';
import { createLeaseOffice } from '../../../src/session/input-lease.ts';

it('has one holder at a time, and only its own release ends it', () => {
  const office = createLeaseOffice();
  const first = office.take();
  expect(first?.held()).toBe(true);
  expect(office.take()).toBeUndefined();
  first?.release();
  expect(first?.held()).toBe(false);
  const second = office.take();
  expect(second?.held()).toBe(true);
  // The first one's late release is not the second one's.
  first?.release();
  expect(second?.held()).toBe(true);
  expect(office.take()).toBeUndefined();
  second?.release();
  second?.release();
  expect(office.take()?.held()).toBe(true);
});
