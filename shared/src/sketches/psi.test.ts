import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { psi } from './psi.ts';

describe('psi', () => {
  it('is 0 for equal shares, positive otherwise, and finite for bins that are empty on one side', () => {
    const histogram = fc.array(fc.integer({ min: 0, max: 1000 }), { minLength: 4, maxLength: 4 });
    fc.assert(
      fc.property(histogram, histogram, (a, b) => {
        expect(psi(a, b)).toBeGreaterThanOrEqual(0);
        expect(Number.isFinite(psi(a, b))).toBe(true);
        expect(psi(a, b)).toBeCloseTo(psi(b, a), 10);
        expect(psi(a, a)).toBe(0);
      }),
    );
  });

  it('agrees with the textbook formula where counts are large', () => {
    const expected = (0.6 - 0.5) * Math.log(0.6 / 0.5) + (0.4 - 0.5) * Math.log(0.4 / 0.5);
    expect(psi([500_000, 500_000], [600_000, 400_000])).toBeCloseTo(expected, 5);
  });

  it('does not change when a bin that is empty on both sides is added', () => {
    expect(psi([10, 20, 0], [20, 10, 0])).toBe(psi([10, 20], [20, 10]));
  });

  it('refuses histograms of different bins', () => {
    expect(() => psi([1], [1, 2])).toThrow(RangeError);
  });
});
