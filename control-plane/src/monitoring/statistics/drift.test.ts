import type { NumericProfile, ReferenceProfile } from '@edgeloop/shared/profile';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { referenceProfile } from '../../training/trainers/profile.ts';
import { createRandom } from '../../training/trainers/random.ts';
import { mergeNeighbours, mergeRareCategories, total } from './bins.ts';
import { discoveryLevel, discoveryLevels } from './discovery.ts';
import { type DriftSettings, judgeDrift, measureSignals } from './drift.ts';
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

/** Windows of `size` in `count` that are suspicious, over 6 features drawn like their references. */
function falseAlarms(count: number, size: number): number {
  const random = createRandom(size);
  const names = Array.from({ length: 6 }, (_, i) => `f${i}`);
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
  for (let seed = 1; seed <= 16; seed++) {
    const next = autocorrelated(createRandom(seed), 0.95);
    const reference = samplesOf(12_000, next);
    const bare = { x: profileOf(reference) };
    const calibrated = { x: profileOf(reference, 500) };
    for (let i = 0; i < count / 16; i++) {
      const x = samplesOf(500, next);
      if (judgeSamples(bare, { x }).verdict === 'suspicious') fired.bare += 1;
      if (judgeSamples(calibrated, { x }).verdict === 'suspicious') fired.calibrated += 1;
      const drifted = judgeSamples(calibrated, { x: x.map((value) => value + 2) });
      if (drifted.verdict === 'suspicious') fired.drifted += 1;
    }
  }
  expect(fired.bare / count).toBeGreaterThan(0.5);
  expect(fired.calibrated / count).toBeLessThan(0.02);
  expect(fired.drifted / count).toBeGreaterThan(0.95);
});

/** Largest distance of the two empirical distribution functions (Kolmogorov and Smirnov); both sorted. */
function distance(one: readonly number[], other: readonly number[]): number {
  let [i, j, most] = [0, 0, 0];
  while (i < one.length && j < other.length) {
    const value = Math.min(one[i] ?? 0, other[j] ?? 0);
    while (i < one.length && (one[i] ?? 0) <= value) i++;
    while (j < other.length && (other[j] ?? 0) <= value) j++;
    most = Math.max(most, Math.abs(i / one.length - j / other.length));
  }
  return most;
}

test.each<[string, (value: number, chance: number) => number]>([
  ['0.2 higher', (value) => value + 0.2],
  ['0.3 higher', (value) => value + 0.3],
  ['spread by a third', (value) => value * 1.33],
  ['stuck at one value one time in five', (value, chance) => (chance < 0.2 ? 0.3 : value)],
  ['far out one time in twenty', (value, chance) => (chance < 0.05 ? value + 5 : value)],
])('at equal false alarms no worse than Kolmogorov-Smirnov less 5 points on 300 samples: %s', (_, changed) => {
  const random = createRandom(77);
  const references = Array.from({ length: 5 }, () => samplesOf(rows, () => normal(random)));
  const sides = references.map((values) => ({
    sorted: [...values].sort((a, b) => a - b),
    profile: profileOf(values, 300),
  }));
  const level = 0.01;
  const draw = (change: (value: number, chance: number) => number, i: number) => {
    const side = sides[i % sides.length] ?? { sorted: [], profile: profileOf([0]) };
    const values = samplesOf(300, () => change(normal(random), random())).sort((a, b) => a - b);
    const [measure] = measureSignals(
      { rows, features: { x: side.profile } },
      { features: { x: histogramOf(side.profile.edges, values) }, classes: {} },
    );
    return { distance: distance(values, side.sorted), p: measure?.p ?? 1 };
  };
  const still = samplesOf(600, () => 0).map((_, i) => draw((value) => value, i));
  const bound = still.map((each) => each.distance).sort((a, b) => b - a)[Math.floor(level * still.length)] ?? 0;
  const own = still.map((each) => each.p).sort((a, b) => a - b)[Math.floor(level * still.length)] ?? 0;
  expect(still.filter(({ p }) => p <= level).length / still.length).toBeLessThan(2 * level);
  const moved = samplesOf(200, () => 0).map((_, i) => draw(changed, i));
  const found = moved.filter(({ p }) => p <= own).length / moved.length;
  const foundByDistance = moved.filter((each) => each.distance > bound).length / moved.length;
  expect(found).toBeGreaterThanOrEqual(foundByDistance - 0.05);
});

test('predicted classes that come in runs need their blocks as well', () => {
  const fired = { bare: 0, calibrated: 0, drifted: 0 };
  const count = 400;
  for (const seed of [1, 2, 3, 4]) {
    const next = autocorrelated(createRandom(seed), 0.95);
    const name = (shift: number) => (next() + shift > 0.5 ? 'yes' : 'no');
    const labels = ['no', 'yes'];
    const reference = samplesOf(30_000, () => labels.indexOf(name(0)));
    const confidences = new Float32Array(reference.length);
    const profiled = referenceProfile({
      ...{ features: [], rows: new Float32Array(0), confidences, labels },
      predictedClasses: Int32Array.from(reference),
    });
    const calibrated = { rows, features: {}, classes: profiled.classes };
    const bare = { rows, features: {}, classes: { counts: profiled.classes?.counts ?? {} } };
    for (let i = 0; i < count / 4; i++) {
      const judged = (of: ReferenceProfile, shift = 0) => {
        const classes: Record<string, number> = {};
        for (const label of samplesOf(500, () => name(shift))) classes[label] = (classes[label] ?? 0) + 1;
        return judgeDrift(of, { features: {}, classes }, usual).verdict === 'suspicious' ? 1 : 0;
      };
      fired.bare += judged(bare);
      fired.calibrated += judged(calibrated);
      fired.drifted += judged(calibrated, 2);
    }
  }
  expect(fired.bare / count).toBeGreaterThan(0.15);
  expect(fired.calibrated / count).toBeLessThan(0.02);
  expect(fired.drifted / count).toBeGreaterThan(0.95);
});

test('a constant that changes is found in a small window beside a large reference', () => {
  const constant = samplesOf(9000, () => 7);
  const features = { x: profileOf(constant, 48) };
  const settings = { ...usual, minSamples: 30 };
  const changed = samplesOf(48, () => 8);
  expect(judgeSamples(features, { x: changed }, settings).verdict).toBe('suspicious');
  expect(judgeSamples(features, { x: constant.slice(0, 48) }, settings).verdict).not.toBe('suspicious');
});

test('what a change is like is said in words', () => {
  const random = createRandom(12);
  const profile = profileOf(samplesOf(rows, () => normal(random)));
  const changeOf = (sample: () => number) =>
    judgeSamples({ x: profile }, { x: samplesOf(600, sample) }).signals[0]?.change;
  expect(changeOf(() => normal(random) + 1)).toBe('higher');
  expect(changeOf(() => normal(random) - 1)).toBe('lower');
  expect(changeOf(() => 2 * normal(random))).toBe('wider');
  expect(changeOf(() => 0.4 * normal(random))).toBe('narrower');
  expect(changeOf(() => (random() < 0.5 ? Number.NaN : normal(random)))).toBe('more often missing');
});

test('a shift as large as is said to be visible is seen in about nine of ten windows', () => {
  const random = createRandom(13);
  const profile = profileOf(samplesOf(50_000, () => normal(random)));
  const settings = { ...statistics, falseDiscoveryRate: 0.001 };
  const visible =
    judgeSamples({ x: profile }, { x: samplesOf(400, () => normal(random)) }, settings).signals[0]?.visible ?? 0;
  expect(visible).toBeGreaterThan(0.15);
  expect(visible).toBeLessThan(0.4);
  const seen = samplesOf(200, () => visible).filter(
    (shift) =>
      judgeSamples({ x: profile }, { x: samplesOf(400, () => normal(random) + shift) }, settings).verdict ===
      'suspicious',
  );
  expect(seen.length / 200).toBeGreaterThan(0.83);
  expect(seen.length / 200).toBeLessThan(0.97);
});

test('rare missing values are no alarm by their rarity', () => {
  const random = createRandom(14);
  const profile = profileOf(samplesOf(rows, () => (random() < 0.0004 ? Number.NaN : normal(random))));
  const windows = samplesOf(500, () => 0).map(() =>
    judgeSamples(
      { x: profile },
      { x: samplesOf(300, () => (random() < 0.0004 ? Number.NaN : normal(random))) },
      { ...statistics, falseDiscoveryRate: 0.001 },
    ),
  );
  expect(windows.filter(({ verdict }) => verdict === 'suspicious').length).toBeLessThanOrEqual(4);
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
        mergeNeighbours({ reference, window }),
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

test('two groups share one rate, and the smaller one is not drowned', () => {
  const many = Array.from({ length: 999 }, (_, i) => (i + 1) / 1000);
  const [few, each] = discoveryLevels([[1e-4], many], 0.01);
  expect(few).toBeCloseTo(0.005);
  expect(each).toBeCloseTo(0.01 / 2 / 999);
  expect(discoveryLevels([[0.5, 0.6], []], 0.01)).toEqual([0.005, 0.005]);
});

test('the discovery level is that of Benjamini and Hochberg', () => {
  // Their own example (1995, section 3.2): 4 of 15 are rejected at 0.05.
  const p = [
    0.0001, 0.0004, 0.0019, 0.0095, 0.0201, 0.0278, 0.0298, 0.0344, 0.0459, 0.324, 0.4262, 0.5719, 0.6528, 0.759, 1,
  ];
  expect(p.filter((value) => value <= discoveryLevel(p, 0.05))).toHaveLength(4);
  expect(discoveryLevel([0.9, 0.8], 0.05)).toBeCloseTo(0.025);
});
