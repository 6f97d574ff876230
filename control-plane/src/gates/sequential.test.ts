import fc from 'fast-check';
import { expect, test } from 'vitest';
import { randomOf } from './field-fixture.ts';
import { differenceInterval, evidenceAbove, evidenceAgainst, exceedsBy, rateInterval } from './sequential.ts';

const counts = fc
  .tuple(fc.integer({ min: 1, max: 2000 }), fc.double({ min: 0, max: 1, noNaN: true }))
  .map(([trials, share]) => ({ trials, hits: Math.round(trials * share) }));
const alphas = fc.constantFrom(0.1, 0.01, 0.001);

test('an interval holds the rate seen, narrows with evidence and widens with caution', () => {
  fc.assert(
    fc.property(counts, alphas, (seen, alpha) => {
      const rate = seen.hits / seen.trials;
      const interval = rateInterval(seen, alpha);
      expect(interval.low).toBeLessThanOrEqual(rate);
      expect(interval.high).toBeGreaterThanOrEqual(rate);
      const more = rateInterval({ hits: seen.hits * 10, trials: seen.trials * 10 }, alpha);
      expect(more.high - more.low).toBeLessThan(interval.high - interval.low + 1e-6);
      const surer = rateInterval(seen, alpha / 10);
      expect(surer.low).toBeLessThanOrEqual(interval.low + 1e-6);
      expect(surer.high).toBeGreaterThanOrEqual(interval.high - 1e-6);
    }),
    { numRuns: 100 },
  );
});

test('a difference is exceeded exactly when its interval lies above, and the other way round it is mirrored', () => {
  fc.assert(
    fc.property(counts, counts, alphas, (first, second, alpha) => {
      const { low, high } = differenceInterval(first, second, alpha);
      const mirrored = differenceInterval(second, first, alpha);
      expect(mirrored.low).toBeCloseTo(-high, 5);
      expect(mirrored.high).toBeCloseTo(-low, 5);
      expect(exceedsBy(first, second, { margin: low - 1e-4, alpha })).toBe(low - 1e-4 > -1);
      expect(exceedsBy(first, second, { margin: low + 1e-4, alpha })).toBe(false);
    }),
    { numRuns: 60 },
  );
});

test('the evidence is the smallest over all pairs of rates with that difference', () => {
  const [first, second] = [
    { hits: 30, trials: 100 },
    { hits: 20, trials: 400 },
  ];
  let least = Number.POSITIVE_INFINITY;
  const beta = (c: { hits: number; trials: number }, p: number) => {
    // The mixture by numerical integration over the arcsine law.
    let sum = 0;
    const steps = 20_000;
    for (let i = 0; i < steps; i++) {
      const q = Math.sin(((i + 0.5) / steps) * (Math.PI / 2)) ** 2;
      sum += Math.exp(c.hits * Math.log(q / p) + (c.trials - c.hits) * Math.log((1 - q) / (1 - p)));
    }
    return Math.log(sum / steps);
  };
  for (let p = 0.005; p < 0.2; p += 0.005) least = Math.min(least, beta(first, p + 0.1) + beta(second, p));
  expect(evidenceAgainst(first, second, 0.1)).toBeCloseTo(least, 1);
});

test('nothing seen is no evidence, and a certain fault is much', () => {
  expect(evidenceAbove({ hits: 0, trials: 0 }, 0.02)).toBe(0);
  expect(evidenceAbove({ hits: 1, trials: 1000 }, 0)).toBe(Number.POSITIVE_INFINITY);
  expect(evidenceAbove({ hits: 20, trials: 20 }, 0.02)).toBeGreaterThan(50);
  expect(differenceInterval({ hits: 0, trials: 0 }, { hits: 1, trials: 2 }, 0.05)).toEqual({ low: -1, high: 1 });
});

test('looking after every request gives no more false alarms than stated, at the edge of the hypothesis', () => {
  const alpha = 0.1;
  const streams = 400;
  const random = randomOf(4);
  let alarms = 0;
  let above = 0;
  for (let stream = 0; stream < streams; stream++) {
    const fresh = { hits: 0, trials: 0 };
    const old = { hits: 0, trials: 0 };
    let compared = false;
    let bounded = false;
    for (let n = 1; n <= 300; n++) {
      fresh.trials++;
      old.trials += 3;
      if (random() < 0.15) fresh.hits++;
      for (let i = 0; i < 3; i++) if (random() < 0.1) old.hits++;
      compared ||= exceedsBy(fresh, old, { margin: 0.05, alpha });
      bounded ||= evidenceAbove(fresh, 0.15) >= -Math.log(alpha);
    }
    if (compared) alarms++;
    if (bounded) above++;
  }
  expect(alarms).toBeLessThanOrEqual(alpha * streams);
  expect(above).toBeLessThanOrEqual(alpha * streams);
});
