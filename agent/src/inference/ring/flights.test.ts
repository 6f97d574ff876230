import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { createFlights } from './flights.ts';

describe('flights', () => {
  it('behave as a map does, in a ring that starts anywhere and wraps around', () => {
    const lengths = fc.array(fc.integer({ min: 1, max: 8 }), { maxLength: 20 });
    fc.assert(
      fc.property(fc.integer({ min: -(2 ** 31), max: 2 ** 31 - 1 }), lengths, (first, bursts) => {
        const flights = createFlights<number>(8);
        const map = new Map<number, number>();
        let next = first | 0;
        for (const length of bursts) {
          for (let i = 0; i < length; i++, next = (next + 1) | 0) {
            flights.set(next, next * 2);
            map.set(next, next * 2);
          }
          expect(new Map(flights.entries())).toEqual(map);
          expect(flights.count()).toBe(map.size);
          expect(flights.get((next + 8) | 0)).toBeUndefined();
          for (const [sequence, entry] of map) expect(flights.take(sequence)).toBe(entry);
          for (const sequence of map.keys()) expect(flights.take(sequence)).toBeUndefined();
          map.clear();
        }
        expect(flights.count()).toBe(0);
      }),
    );
  });
});
