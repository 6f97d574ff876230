import { describe, expect, it } from 'vitest';
import { createBatchSize } from './batch-size.ts';

/** Runs of the greatest size allowed, with so many milliseconds each, until the cap is found. */
function found(most: number, runMs: (rows: number) => number): number {
  const size = createBatchSize(most);
  for (let i = 0; i < 200; i++) size.observe(size.cap(), runMs(size.cap()));
  return size.cap();
}

describe('the size of a batch', () => {
  it('grows as far as it may while each row gets cheaper', () => {
    expect(found(32, (rows) => 1 + rows * 0.01)).toBe(32);
    expect(found(1024, (rows) => 1 + rows * 0.0001)).toBe(1024);
  });

  it('stays at one where a batch takes as long as its rows one by one, or longer', () => {
    expect(found(32, (rows) => rows * 3.6)).toBe(1);
    expect(found(32, (rows) => rows ** 1.2)).toBe(1);
  });

  it('stops where the time per row stops falling', () => {
    // Half the price up to 8 rows, none beyond.
    const cap = found(64, (rows) => (rows < 8 ? 1 + rows * 0.1 : rows * 0.225));
    expect(cap).toBeGreaterThanOrEqual(8);
    expect(cap).toBeLessThan(32);
  });

  it('never goes beyond what the operator allows', () => {
    expect(found(1, () => 1)).toBe(1);
    expect(found(5, (rows) => 1 / rows)).toBe(5);
  });

  it('looks again after a while, when larger ones have become worth it', () => {
    const size = createBatchSize(8);
    for (let i = 0; i < 100; i++) size.observe(size.cap(), size.cap() * 2);
    expect(size.cap()).toBe(1);
    for (let i = 0; i < 3000; i++) size.observe(size.cap(), 1);
    expect(size.cap()).toBe(8);
  });
});
