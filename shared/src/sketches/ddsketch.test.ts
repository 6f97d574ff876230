import fc from 'fast-check';
import { expect, test } from 'vitest';
import { QuantileSketch, QuantileSketchBuilder, quantile } from './ddsketch.ts';

const latency = fc.double({ min: 1e-6, max: 1e7, noNaN: true });
const latencies = fc.array(latency, { minLength: 1, maxLength: 300 });

function sketchOf(values: readonly number[]): QuantileSketch {
  const builder = new QuantileSketchBuilder();
  for (const value of values) builder.add(value);
  return builder.toJSON();
}

function merged(...sketches: QuantileSketch[]): QuantileSketch {
  const builder = new QuantileSketchBuilder();
  for (const sketch of sketches) builder.merge(sketch);
  return builder.toJSON();
}

test('every quantile is within 1 % of the exact one', () => {
  fc.assert(
    fc.property(latencies, fc.double({ min: 0, max: 1, noNaN: true }), (values, q) => {
      const sorted = [...values].sort((a, b) => a - b);
      const exact = sorted[Math.floor(q * (sorted.length - 1))] ?? Number.NaN;
      const estimate = quantile(sketchOf(values), q) ?? Number.NaN;
      // A value on a bucket's edge may fall on either side by rounding.
      expect(Math.abs(estimate - exact) / exact).toBeLessThanOrEqual(0.01 + 1e-9);
    }),
    { numRuns: 500 },
  );
});

test('merging sketches gives the sketch of all values, in any order', () => {
  fc.assert(
    fc.property(fc.array(latencies, { minLength: 1, maxLength: 5 }), (groups) => {
      const { sum, ...whole } = sketchOf(groups.flat());
      const { sum: mergedSum, ...rest } = merged(...groups.map(sketchOf));
      const { sum: reversedSum, ...reversed } = merged(...groups.map(sketchOf).reverse());
      expect(rest).toEqual(whole);
      expect(reversed).toEqual(whole);
      expect(mergedSum).toBeCloseTo(sum, -2);
      expect(reversedSum).toBeCloseTo(sum, -2);
    }),
  );
});

test('no count is lost and the form that travels is valid', () => {
  const anything = fc.array(fc.double(), { maxLength: 100 });
  fc.assert(
    fc.property(anything, (values) => {
      const sketch = sketchOf(values.filter((value) => !(value > 1e300)));
      const inBins = sketch.bins.reduce((total, [, count]) => total + count, 0);
      expect(inBins + sketch.zeros).toBe(sketch.count);
      expect(sketch.count).toBe(values.filter((value) => !(value > 1e300)).length);
      expect(QuantileSketch.parse(JSON.parse(JSON.stringify(sketch)))).toEqual(sketch);
    }),
  );
});

test('an empty sketch has no quantile, zeros and negatives count as zero, and the maximum is exact', () => {
  expect(quantile(sketchOf([]), 0.5)).toBeUndefined();
  expect(quantile(sketchOf([0, -3, Number.NaN]), 1)).toBe(0);
  expect(quantile(sketchOf([1, 2, 1000.5]), 1)).toBeLessThanOrEqual(1000.5);
  expect(sketchOf([1, 2, 1000.5]).max).toBe(1000.5);
});

test('adding a value several times is adding it so often', () => {
  const builder = new QuantileSketchBuilder();
  builder.add(12.5, 7);
  expect(builder.toJSON()).toEqual(sketchOf(new Array<number>(7).fill(12.5)));
});
