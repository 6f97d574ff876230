import type { NumericProfile } from '@edgeloop/shared/profile';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { createRandom } from '../../training/trainers/random.ts';
import { mergeRareCategories, mergeThinNeighbours, total } from './bins.ts';
import { type DriftSettings, discoveryLevel, judgeDrift } from './drift.ts';
import { autocorrelated, histogramOf, normal, profileOf, samplesOf } from './profile-fixture.ts';

/** Without the smallest PSI that matters, so that the statistics alone are seen. */
const statistics: DriftSettings = { minSamples: 300, falseDiscoveryRate: 0.05, minPsi: 0 };
const usual: DriftSettings = { minSamples: 300, falseDiscoveryRate: 0.01, minPsi: 0.1 };
const rows = 5000;

function judgeSamples(features: Record<string, NumericProfile>, values: Record<string, number[]>, settings = usual) {
  const observed = Object.fromEntries(
    Object.entries(values).map(([name, each]) => [name, histogramOf(features[name]?.edges ?? [], each)]),
  );
  return judgeDrift({ rows, features }, { features: observed, classes: {} }, settings);
}

/** Windows of `size` in `count` that are suspicious, over 20 features drawn like their references. */
function falseAlarms(count: number, size: number): number {
  const random = createRandom(size);
  const names = Array.from({ length: 20 }, (_, i) => `f${i}`);
  let suspicious = 0;
  let features: Record<string, NumericProfile> = {};
  for (let i = 0; i < count; i++) {
    // A reference is a sample too: a fresh one now and then lets its own chance count.
    if (i % 25 === 0) {
      features = Object.fromEntries(names.map((name) => [name, profileOf(samplesOf(rows, () => normal(random)))]));
    }
    const values = Object.fromEntries(names.map((name) => [name, samplesOf(size, () => normal(random))]));
    if (judgeSamples(features, values, statistics).verdict === 'suspicious') suspicious += 1;
  }
  return suspicious / count;
}

test.each([300, 1000])(
  'without drift windows of %d samples are suspicious about as often as asked (one in twenty)',
  (size) => {
    const rate = falseAlarms(300, size);
    expect(rate).toBeGreaterThan(0.015);
    expect(rate).toBeLessThan(0.085);
  },
);

test('a mean that moves by half a deviation, missing values and a constant are found in 300 samples', () => {
  const random = createRandom(1);
  const features = {
    still: profileOf(samplesOf(rows, () => normal(random))),
    moved: profileOf(samplesOf(rows, () => normal(random))),
    missing: profileOf(samplesOf(rows, () => normal(random))),
    constant: profileOf(samplesOf(rows, () => 7)),
  };
  const judged = judgeSamples(features, {
    still: samplesOf(300, () => normal(random)),
    moved: samplesOf(300, () => normal(random) + 0.5),
    missing: samplesOf(300, () => (random() < 0.3 ? Number.NaN : normal(random))),
    constant: samplesOf(300, () => 6),
  });
  expect(judged.verdict).toBe('suspicious');
  const moved = judged.signals.filter(({ state }) => state === 'moved').map(({ name }) => name);
  expect(moved.sort()).toEqual(['constant', 'missing', 'moved']);
  expect(judged.signals.find(({ name }) => name === 'still')?.state).toBe('calm');
  for (const { psi, threshold, state } of judged.signals) expect(psi > threshold).toBe(state === 'moved');
});

test('an autocorrelated signal needs its blocks: without them most windows fire, with them nearly none', () => {
  const fired = { bare: 0, calibrated: 0, drifted: 0 };
  const count = 400;
  for (const seed of [1, 2, 3, 4]) {
    const next = autocorrelated(createRandom(seed), 0.95);
    const reference = samplesOf(30_000, next);
    const bare = { x: profileOf(reference) };
    const calibrated = { x: profileOf(reference, 500) };
    for (let i = 0; i < count / 4; i++) {
      const x = samplesOf(500, next);
      if (judgeSamples(bare, { x }).verdict === 'suspicious') fired.bare += 1;
      if (judgeSamples(calibrated, { x }).verdict === 'suspicious') fired.calibrated += 1;
      const drifted = judgeSamples(calibrated, { x: x.map((value) => value + 2) });
      if (drifted.verdict === 'suspicious') fired.drifted += 1;
    }
  }
  expect(fired.bare / count).toBeGreaterThan(0.5);
  // Nominal is 0.01; 60 blocks tell the far tail of a signal's own movement only roughly.
  expect(fired.calibrated / count).toBeLessThan(0.06);
  expect(fired.drifted / count).toBeGreaterThan(0.95);
});

test('a signal that moves too much by itself is reported as not monitorable, not as fine', () => {
  const profile = {
    ...profileOf(samplesOf(rows, createRandom(4))),
    blockPsi: { mean: 1.5, deviation: 0.4, blockSize: 300 },
  };
  const judged = judgeSamples({ x: profile }, { x: samplesOf(300, createRandom(5)) });
  expect(judged).toMatchObject({ verdict: 'insufficient', notMonitorable: ['x'], signals: [] });
});

test('a shift below what matters to people is neither suspicious nor, above half of it, calm', () => {
  const random = createRandom(6);
  const features = { x: profileOf(samplesOf(50_000, () => normal(random))) };
  const verdictAt = (shift: number) =>
    judgeSamples(features, { x: samplesOf(50_000, () => normal(random) + shift) }).verdict;
  expect([0, 0.1, 0.27, 0.5].map(verdictAt)).toEqual(['calm', 'calm', 'unsettled', 'suspicious']);
});

test('too few samples, and histograms of other bins, are not judged', () => {
  const features = { x: profileOf(samplesOf(rows, createRandom(7))) };
  expect(judgeSamples(features, { x: samplesOf(299, createRandom(8)) }).verdict).toBe('insufficient');
  const other = { x: histogramOf([1, 2, 3], samplesOf(500, createRandom(9))) };
  expect(judgeDrift({ rows, features }, { features: other, classes: {} }, usual).verdict).toBe('insufficient');
});

test('predicted classes and confidence are judged too', () => {
  const random = createRandom(10);
  const confidence = profileOf(samplesOf(rows, random));
  const reference = { rows, features: {}, confidence, classes: { counts: { a: 4000, b: 995, rare: 5 } } };
  const observed = {
    ...{ features: {}, classes: { a: 200, b: 100, new: 50 } },
    confidence: histogramOf(
      confidence.edges,
      samplesOf(350, () => random() * 0.5),
    ),
  };
  const judged = judgeDrift(reference, observed, usual);
  expect(judged.signals.map(({ name, state }) => [name, state]).sort()).toEqual([
    ['output:classes', 'moved'],
    ['output:confidence', 'moved'],
  ]);
});

test('merged bins keep every count and expect at least five on each side', () => {
  const counts = fc.array(fc.tuple(fc.nat(200), fc.nat(30)), { minLength: 1, maxLength: 40 });
  fc.assert(
    fc.property(counts, (pairs) => {
      const reference = pairs.map(([count]) => count);
      const window = pairs.map(([, count]) => count);
      const byName = (of: number[]) => Object.fromEntries(of.map((count, i) => [`c${i}`, count]));
      for (const merged of [
        mergeThinNeighbours({ reference, window }),
        mergeRareCategories(byName(reference), byName(window)),
      ]) {
        expect([total(merged.reference), total(merged.window)]).toEqual([total(reference), total(window)]);
        const all = total(reference) + total(window);
        const smaller = Math.min(total(reference), total(window));
        if (merged.reference.length === 1) continue;
        for (const [i, count] of merged.reference.entries()) {
          expect(((count + (merged.window[i] ?? 0)) * smaller) / all).toBeGreaterThanOrEqual(5 - 1e-9);
        }
      }
    }),
  );
});

test('the discovery level is that of Benjamini and Hochberg', () => {
  // Their own example (1995, section 3.2): 4 of 15 are rejected at 0.05.
  const p = [
    0.0001, 0.0004, 0.0019, 0.0095, 0.0201, 0.0278, 0.0298, 0.0344, 0.0459, 0.324, 0.4262, 0.5719, 0.6528, 0.759, 1,
  ];
  expect(p.filter((value) => value <= discoveryLevel(p, 0.05))).toHaveLength(4);
  expect(discoveryLevel([0.9, 0.8], 0.05)).toBeCloseTo(0.025);
});
