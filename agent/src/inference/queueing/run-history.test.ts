import { describe, expect, it } from 'vitest';
import { createRunHistory } from './run-history.ts';

describe('the history of runs', () => {
  const after = (runs: number, bytes: number, runMs: number) => {
    const history = createRunHistory();
    for (let i = 0; i < runs; i++) history.learn(bytes, runMs);
    return history;
  };

  it('says nothing before some runs have ended', () => {
    expect(after(4, 100, 1).farBeyondMs(100)).toBeUndefined();
    expect(after(5, 100, 1).farBeyondMs(100)).toBe(2000);
  });

  it('goes by the longest run, and is more patient with larger inputs than ever before', () => {
    const history = after(20, 100, 1);
    history.learn(100, 80);
    expect([10, 100, 200].map((bytes) => history.farBeyondMs(bytes))).toEqual([4000, 4000, 16_000]);
    expect(after(5, 0, 1).farBeyondMs(8)).toBe(Number.POSITIVE_INFINITY);
  });

  it('goes on where a former version ended, and leaves that one alone', () => {
    const former = after(10, 100, 100);
    const next = createRunHistory(former);
    expect(next.farBeyondMs(100)).toBe(5000);
    next.learn(100, 200);
    expect([former, next].map((each) => each.farBeyondMs(100))).toEqual([5000, 10_000]);
  });
});
