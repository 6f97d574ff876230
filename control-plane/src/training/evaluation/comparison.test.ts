import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { createRandom } from '../trainers/random.ts';
import { normalQuantile, type PairedCounts, pairedGain } from './comparison.ts';

const anyCounts = fc
  .record({ both: fc.nat(500), challengerOnly: fc.nat(500), rivalOnly: fc.nat(500), neither: fc.nat(500) })
  .filter((counts) => Object.values(counts).some((value) => value > 0));

describe('the paired gain', () => {
  it('has the normal quantiles that tables print', () => {
    expect(normalQuantile(0.975)).toBeCloseTo(1.959963985, 7);
    expect(normalQuantile(0.5)).toBeCloseTo(0, 9);
    expect(normalQuantile(0.001)).toBeCloseTo(-3.090232306, 7);
  });

  it('lies inside its bounds, which lie inside -1 and 1', () => {
    fc.assert(
      fc.property(anyCounts, (counts) => {
        const { gain } = pairedGain(counts, 0.95);
        expect(gain.low).toBeGreaterThanOrEqual(-1);
        expect(gain.low).toBeLessThanOrEqual(gain.value + 1e-12);
        expect(gain.value).toBeLessThanOrEqual(gain.high + 1e-12);
        expect(gain.high).toBeLessThanOrEqual(1);
      }),
    );
  });

  it('changes its sign when the two models change places', () => {
    fc.assert(
      fc.property(anyCounts, (counts) => {
        const { challengerOnly, rivalOnly } = counts;
        const there = pairedGain(counts, 0.9).gain;
        const back = pairedGain({ ...counts, challengerOnly: rivalOnly, rivalOnly: challengerOnly }, 0.9).gain;
        expect(back.value).toBeCloseTo(-there.value, 12);
        expect(back.low).toBeCloseTo(-there.high, 9);
      }),
    );
  });

  it('is never above 0 with confidence between models that agree on every row', () => {
    expect(pairedGain({ both: 900, challengerOnly: 0, rivalOnly: 0, neither: 100 }, 0.95).gain.low).toBeLessThanOrEqual(
      0,
    );
  });

  it('is narrower for pairs that agree mostly than two accuracies alone would allow', () => {
    const agreeing = pairedGain({ both: 850, challengerOnly: 60, rivalOnly: 20, neither: 70 }, 0.95).gain;
    const unrelated = pairedGain({ both: 792, challengerOnly: 118, rivalOnly: 78, neither: 12 }, 0.95).gain;
    expect(agreeing.value).toBeCloseTo(unrelated.value, 9);
    expect(agreeing.low).toBeGreaterThan(0);
    expect(agreeing.high - agreeing.low).toBeLessThan(unrelated.high - unrelated.low);
  });

  it('holds the true gain as often as its confidence says', () => {
    const random = createRandom(11);
    const [rows, trials] = [200, 1500];
    // The challenger alone is right with 0.15, the rival alone with 0.10, both with 0.65: a true gain of 0.05.
    let held = 0;
    for (let trial = 0; trial < trials; trial++) {
      const counts: PairedCounts = { both: 0, challengerOnly: 0, rivalOnly: 0, neither: 0 };
      for (let row = 0; row < rows; row++) {
        const at = random();
        counts[at < 0.65 ? 'both' : at < 0.8 ? 'challengerOnly' : at < 0.9 ? 'rivalOnly' : 'neither'] += 1;
      }
      const { low, high } = pairedGain(counts, 0.95).gain;
      if (low <= 0.05 && 0.05 <= high) held += 1;
    }
    expect(held / trials).toBeGreaterThan(0.935);
    expect(held / trials).toBeLessThan(0.975);
  });
});
