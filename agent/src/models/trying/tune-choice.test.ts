import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { arrangements, bestArrangement, largestBatch, type Measured } from './tune-choice.ts';

const measured = (instances: number, intraOpThreads: number, perSecond: number, more: Partial<Measured> = {}) => ({
  instances,
  intraOpThreads,
  perSecond,
  runMs: 1,
  rssBytes: 1,
  ...more,
});

describe('the choice of how a model runs', () => {
  it('tries what the threads allow, and only the copies that the manifest asks for', () => {
    expect(arrangements(1, undefined)).toEqual([{ instances: 1, intraOpThreads: 1 }]);
    expect(arrangements(2, undefined)).toEqual([
      { instances: 1, intraOpThreads: 1 },
      { instances: 1, intraOpThreads: 2 },
      { instances: 2, intraOpThreads: 1 },
    ]);
    expect(arrangements(4, 2)).toEqual([
      { instances: 2, intraOpThreads: 1 },
      { instances: 2, intraOpThreads: 2 },
    ]);
    expect(arrangements(2, 8)).toEqual([{ instances: 8, intraOpThreads: 1 }]);
  });

  it('never exceeds the threads and repeats nothing', () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 128 }), (threads) => {
        const all = arrangements(threads, undefined);
        expect(all.every((each) => each.instances * each.intraOpThreads <= threads)).toBe(true);
        expect(new Set(all.map((each) => JSON.stringify(each))).size).toBe(all.length);
        expect(all).toContainEqual({ instances: 1, intraOpThreads: threads });
      }),
    );
  });

  it('takes more copies only for a clear gain, within the memory and without keeping a lone caller waiting', () => {
    expect(bestArrangement([measured(1, 1, 100), measured(2, 1, 103)], 9)).toMatchObject({ instances: 1 });
    expect(bestArrangement([measured(1, 1, 100), measured(2, 1, 190)], 9)).toMatchObject({ instances: 2 });
    expect(bestArrangement([measured(1, 1, 100), measured(2, 1, 190, { rssBytes: 10 })], 9)).toMatchObject({
      instances: 1,
    });
    expect(bestArrangement([measured(1, 1, 100), measured(8, 1, 190, { runMs: 4 })], 9)).toMatchObject({
      instances: 1,
    });
    expect(bestArrangement([measured(1, 1, 100, { rssBytes: 10 })], 9)).toBeUndefined();
  });

  it('stops the batch where a row gets no cheaper or the run too long', () => {
    const sizes = (...runMs: number[]) => runMs.map((each, at) => ({ batch: 2 ** at, runMs: each }));
    expect(largestBatch(sizes(1, 1.2, 1.6, 3.2))).toBe(4);
    expect(largestBatch(sizes(10, 20, 40))).toBe(1);
    expect(largestBatch(sizes(40, 60, 70))).toBe(1);
    expect(largestBatch([])).toBe(1);
  });
});
