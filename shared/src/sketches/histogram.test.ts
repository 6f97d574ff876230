import fc from 'fast-check';
import { expect, test } from 'vitest';
import { addValue, binOf, emptyHistogram, Histogram, mergeHistogram } from './histogram.ts';

const edgesOf = fc
  .uniqueArray(fc.double({ min: -1e6, max: 1e6, noNaN: true, noDefaultInfinity: true }), {
    minLength: 1,
    maxLength: 40,
    // 0 and -0 are the same edge.
    comparator: (a, b) => a === b,
  })
  .map((edges) => edges.sort((a, b) => a - b));
const values = fc.array(fc.double({ min: -2e6, max: 2e6 }), { maxLength: 200 });

function histogramOf(edges: readonly number[], of: readonly number[]): Histogram {
  const histogram = emptyHistogram(edges);
  for (const value of of) addValue(histogram, edges, value);
  return histogram;
}

/** The bins as the profile defines them, one after the other. */
function binBySearch(edges: readonly number[], value: number): number {
  const first = edges[0] ?? 0;
  const last = edges.at(-1) ?? 0;
  if (!Number.isFinite(value)) return edges.length + 1;
  if (value < first) return 0;
  if (value > last) return edges.length;
  if (edges.length === 1) return 1;
  if (value === last) return edges.length - 1;
  return edges.findIndex((edge, i) => edge <= value && value < (edges[i + 1] ?? Number.POSITIVE_INFINITY)) + 1;
}

test('a value falls into the bin that holds it, edges themselves included', () => {
  fc.assert(
    fc.property(edgesOf, values, (edges, others) => {
      for (const value of [...others, ...edges]) expect(binOf(edges, value)).toBe(binBySearch(edges, value));
    }),
  );
});

test('bins are half open, the last one is closed, and what lies outside or is missing has its own count', () => {
  const edges = [0, 1, 2];
  expect([-0.1, 0, 0.99, 1, 2, 2.01].map((value) => binOf(edges, value))).toEqual([0, 1, 1, 2, 2, 3]);
  expect([Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY].map((v) => binOf(edges, v))).toEqual([
    4, 4, 4,
  ]);
});

test('a single edge parts under from the rest', () => {
  expect([4.9, 5, 5.1, Number.NaN].map((value) => binOf([5], value))).toEqual([0, 1, 1, 2]);
});

test('merging histograms gives the histogram of all values', () => {
  fc.assert(
    fc.property(edgesOf, values, values, (edges, first, second) => {
      const target = histogramOf(edges, first);
      mergeHistogram(target, histogramOf(edges, second));
      const whole = histogramOf(edges, [...first, ...second]);
      expect(target.counts).toEqual(whole.counts);
      expect([target.min, target.max]).toEqual([whole.min, whole.max]);
      expect(target.sum).toBeCloseTo(whole.sum, 0);
      expect(target.sumOfSquares / 1e12).toBeCloseTo(whole.sumOfSquares / 1e12, 6);
    }),
  );
});

test('every value is counted once', () => {
  fc.assert(
    fc.property(edgesOf, values, (edges, of) => {
      expect(histogramOf(edges, of).counts.reduce((sum, count) => sum + count, 0)).toBe(of.length);
    }),
  );
});

test('histograms of different bins are not merged', () => {
  expect(() => mergeHistogram(emptyHistogram([1, 2]), emptyHistogram([1]))).toThrow(RangeError);
});

test('values of any size leave a histogram that JSON can carry', () => {
  const histogram = histogramOf([0, 1], [1e308, -1e308, 1e200, 0.5]);
  expect(Histogram.parse(JSON.parse(JSON.stringify(histogram)))).toEqual(histogram);
  expect(histogram).toMatchObject({ counts: [1, 1, 2, 0], sum: 0.5, min: 0.5, max: 0.5 });
});
