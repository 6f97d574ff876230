import { describe, expect, it } from 'vitest';
import { alignSeries, spreadRates } from './chart-table.ts';

const series = (points: [seconds: number, value: number | null][]) => ({
  labels: {},
  points: points.map(([seconds, value]) => ({ at: seconds * 1000, value })),
});

describe('alignSeries', () => {
  it('puts series with different points onto one sorted axis', () => {
    const table = alignSeries(
      [
        series([
          [20, 2],
          [0, 1],
        ]),
        series([[10, 5]]),
      ],
      0,
    );
    expect(table.times).toEqual([0, 10, 20]);
    expect(table.columns).toEqual([
      [1, null, 2],
      [null, 5, null],
    ]);
  });

  it('runs a line through a short gap and breaks it at a long one', () => {
    const table = alignSeries(
      [
        series([
          [0, 1],
          [10, null],
          [20, 3],
          [30, null],
          [40, null],
          [50, 6],
        ]),
      ],
      20,
    );
    expect(table.columns).toEqual([[1, undefined, 3, null, null, 6]]);
  });

  it('keeps zero as a value and leaves gaps at both ends open', () => {
    const table = alignSeries(
      [
        series([
          [0, null],
          [10, 0],
          [20, null],
        ]),
      ],
      600,
    );
    expect(table.columns).toEqual([[null, 0, null]]);
  });

  it('is empty without series', () => {
    expect(alignSeries([], 60)).toEqual({ times: [], columns: [] });
  });
});

describe('spreadRates', () => {
  it('shares the rate of a window that is longer than a step with the empty steps it covers', () => {
    const spiky = series([
      [0, 12],
      [15, null],
      [30, null],
      [45, null],
      [60, 8],
      [75, null],
      [90, null],
      [105, null],
    ]);
    expect(spreadRates(spiky, 120).points.map((point) => point.value)).toEqual([
      3,
      null,
      null,
      null,
      2,
      null,
      null,
      null,
    ]);
  });

  it('changes nothing where every step has a value or the gap is a pause', () => {
    const steady = series([
      [0, 4],
      [15, 5],
      [30, 6],
    ]);
    expect(spreadRates(steady, 120)).toEqual(steady);
    const paused = series([
      [0, 4],
      [15, 5],
      [300, 6],
    ]);
    expect(spreadRates(paused, 120)).toEqual(paused);
  });
});
