import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import { ownPastScores, readSeries } from '../bench/anomalies.ts';
import { nabScore } from '../bench/nab-score.ts';

describe('the score of the benchmark', () => {
  const windows = [[40, 59]] as const;
  const series = (said: Record<number, number>) => ({
    name: 's',
    windows,
    scores: Array.from({ length: 100 }, (_, i) => said[i] ?? 0),
  });
  const scoreOf = (said: Record<number, number>) => nabScore([series(said)]).score;

  it('is 0 for saying nothing, 100 for the first value of each window, and less the later it is said', () => {
    expect(scoreOf({})).toBe(0);
    expect(scoreOf({ 40: 1 })).toBeCloseTo(100, 6);
    expect(scoreOf({ 50: 1 })).toBeLessThan(scoreOf({ 45: 1 }));
    expect(scoreOf({ 59: 1 })).toBeGreaterThan(50);
  });

  it('takes a false alarm off, more the farther it is from the window before, and counts none while it learns', () => {
    const found = { 40: 2 };
    expect(scoreOf({ ...found, 20: 2 })).toBeCloseTo(100 - 5.5, 6);
    expect(scoreOf({ ...found, 61: 2 })).toBeGreaterThan(scoreOf({ ...found, 90: 2 }));
    expect(scoreOf({ ...found, 3: 2 })).toBeCloseTo(100, 6);
  });

  it('leaves out what is below the best threshold', () => {
    expect(nabScore([series({ 40: 2, 20: 1, 90: 1 })])).toMatchObject({
      threshold: 2,
      series: [{ falseAlarms: 0, found: 1 }],
    });
  });
});

const data = fileURLToPath(new URL('../../../shared/data/nab', import.meta.url));
const there = existsSync(data);

describe.skipIf(!there)(`series with known causes${there ? '' : ' (their data is not beside the checkout)'}`, () => {
  it('are told better than by a windowed Gaussian', () => {
    const scored = readSeries(data).map((series) => ({ ...series, scores: ownPastScores(series) }));
    // Published for the windowed Gaussian over all series of the benchmark.
    expect(nabScore(scored).score).toBeGreaterThan(39.6);
  });
});
