import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  binsWithEdges,
  pairedCounts,
  ValueSketch,
  ValueSketchBuilder,
  valueSketchOf,
  valuesIn,
} from './value-sketch.ts';

const around = (mean: number, spread: number) =>
  fc.double({ min: mean - spread, max: mean + spread, noNaN: true, noDefaultInfinity: true });
const value = fc.oneof(around(0, 4), around(1013, 10), around(0, 1e-6), around(0, 1e30), fc.integer(), fc.double());
const values = fc.array(value, { maxLength: 300 });

function merged(...sketches: ValueSketch[]): ValueSketch {
  const builder = new ValueSketchBuilder();
  for (const sketch of sketches) builder.merge(sketch);
  return builder.toJSON();
}

/** What is added up as floating point depends on the order in its last digits. */
function exact({ sum: _, sumOfSquares: _squares, ...rest }: ValueSketch) {
  return rest;
}

/** Normal values, the same each time. */
function normals(count: number, mean: number, deviation: number): number[] {
  let state = 42;
  // mulberry32
  const uniform = () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return (((mixed ^ (mixed >>> 14)) >>> 0) + 0.5) / 2 ** 32;
  };
  return Array.from(
    { length: count },
    () => mean + deviation * Math.sqrt(-2 * Math.log(uniform())) * Math.cos(2 * Math.PI * uniform()),
  );
}

describe('a sketch of values of an unknown range', () => {
  it('depends on the values alone, however they were split, ordered and merged', () => {
    fc.assert(
      fc.property(fc.array(values, { minLength: 1, maxLength: 6 }), (groups) => {
        const whole = exact(valueSketchOf(groups.flat()));
        const sketches = groups.map(valueSketchOf);
        const [first = valueSketchOf([]), ...rest] = sketches;
        expect(exact(merged(...sketches))).toEqual(whole);
        expect(exact(merged(...sketches.toReversed()))).toEqual(whole);
        expect(exact(merged(first, merged(...rest)))).toEqual(whole);
        expect(exact(valueSketchOf(groups.flat().toReversed()))).toEqual(whole);
      }),
      { numRuns: 300 },
    );
  });

  it('takes -0 as 0, which is what JSON makes of it', () => {
    const sketch = valueSketchOf([-0]);
    expect(Object.is(sketch.min, 0) && Object.is(sketch.max, 0) && Object.is(sketch.sum, 0)).toBe(true);
  });

  it('loses no value, travels as JSON, and holds each value between the edges of a bin', () => {
    fc.assert(
      fc.property(values, (all) => {
        const sketch = valueSketchOf(all);
        expect(valuesIn(sketch) + sketch.missing).toBe(all.length);
        expect(sketch.missing).toBe(all.filter((each) => !Number.isFinite(each)).length);
        expect(ValueSketch.parse(JSON.parse(JSON.stringify(sketch)))).toEqual(sketch);
        const bins = binsWithEdges(sketch);
        expect(bins.length).toBeLessThanOrEqual(48);
        for (const { from, to, count } of bins) {
          const within = all.filter((each) => (from < 0 ? each > from && each <= to : each >= from && each < to));
          // Zero stands with the positive ones.
          expect(within.filter((each) => from >= 0 || each < 0).length).toBe(count);
        }
      }),
      { numRuns: 300 },
    );
  });

  it('tells values apart that lie close together far from zero, and values over many magnitudes', () => {
    const bins = (all: number[]) => binsWithEdges(valueSketchOf(all));
    const pressures = bins(normals(3000, 1013, 5));
    expect(pressures.length).toBeGreaterThan(20);
    expect(Math.max(...pressures.map(({ count }) => count))).toBeLessThan(600);
    const standard = bins(normals(3000, 0, 1));
    expect(standard.length).toBeGreaterThan(16);
    expect(Math.max(...standard.map(({ count }) => count))).toBeLessThan(600);
    const amounts = bins(normals(3000, 0, 1.5).map(Math.exp));
    expect(Math.max(...amounts.map(({ count }) => count))).toBeLessThan(900);
    const outlier = bins([...normals(3000, 20, 1), 1e9]);
    expect(outlier.length).toBeGreaterThan(20);
  });

  it('is compared in the bins of the coarser of two', () => {
    fc.assert(
      fc.property(values, values, (a, b) => {
        const [first, second] = pairedCounts(valueSketchOf(a), valueSketchOf(b));
        const sum = (counts: number[]) => counts.reduce((total, count) => total + count, 0);
        expect([first.length, sum(first), sum(second)]).toEqual([second.length, a.length, b.length]);
        expect(pairedCounts(valueSketchOf(a), valueSketchOf(a))[0]).toEqual(
          pairedCounts(valueSketchOf(a), valueSketchOf(a))[1],
        );
      }),
    );
  });

  it('takes less than 400 bytes', () => {
    for (const [mean, deviation] of [
      [1013, 5],
      [0, 1],
      [0.5, 0.1],
    ] as const)
      expect(JSON.stringify(valueSketchOf(normals(500, mean, deviation))).length).toBeLessThan(400);
  });

  it('refuses bins that no sketch has', () => {
    const sketch = valueSketchOf([1, 2, 3]);
    for (const bins of [[1], [1, 0], [1, 1, 0, 1], [1, 1, -3, 1], [1.5, 1]])
      expect(ValueSketch.safeParse({ ...sketch, bins }).success).toBe(false);
  });
});
