import { describe, expect, it } from 'vitest';
import { layOutDescriptors, rowLength, takeUpDescriptors } from '../../../src/start/descriptor-layout.ts';

const HERE = {
  listeners: { proxy: [21, 22], transparent: [23], dnsUdp: [24, 25], dnsTcp: [26], nflog: 27 },
  secrets: { credentials: 9, inferenceRoutes: 8 },
};

describe('the row of descriptors', () => {
  it('is taken up under other numbers, each in its place', () => {
    const { row, places } = layOutDescriptors(HERE);
    expect(row).toEqual([21, 22, 23, 24, 25, 26, 27, 9, 8]);
    expect(rowLength(places)).toBe(row.length);
    expect(
      takeUpDescriptors(
        places,
        row.map((descriptor) => descriptor + 100),
      ),
    ).toEqual({
      listeners: { proxy: [121, 122], transparent: [123], dnsUdp: [124, 125], dnsTcp: [126], nflog: 127 },
      secrets: { credentials: 109, inferenceRoutes: 108 },
    });
  });

  it.each([
    ['a place beyond its end', { nflog: 9 }],
    ['a place that is told twice', { nflog: 0 }],
  ])('%s is a broken peer', (_, wrong) => {
    const { row, places } = layOutDescriptors(HERE);
    const told = { ...places, listeners: { ...places.listeners, ...wrong } };
    expect(() => takeUpDescriptors(told, row)).toThrow(expect.objectContaining({ code: 'role_lost' }));
  });
});
