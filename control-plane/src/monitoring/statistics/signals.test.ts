import { ReferenceProfile } from '@edgeloop/shared/profile';
import { valueSketchOf } from '@edgeloop/shared/sketches/value-sketch';
import { describe, expect, it } from 'vitest';
import { judgeDrift, type Observed } from './drift.ts';

const settings = { minSamples: 300, falseDiscoveryRate: 0.01, minPsi: 0.1 };

/** Pseudo-random values around a mean, the same for a seed. */
function around(mean: number, deviation: number, count: number, seed: number): number[] {
  let state = seed;
  // mulberry32
  const uniform = () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return (((mixed ^ (mixed >>> 14)) >>> 0) + 0.5) / 2 ** 32;
  };
  return Array.from({ length: count }, () => {
    const sum = uniform() + uniform() + uniform() + uniform() - 2;
    return mean + deviation * Math.sqrt(3) * sum;
  });
}

function seen(values: number[], sites: Record<string, number> = { north: 300, south: 300 }): Observed {
  return {
    ...{ features: {}, classes: {} },
    signals: { 'input:image:brightness': valueSketchOf(values), 'input:image:blur': valueSketchOf([1, 2]) },
    categories: { site: { counts: sites, other: 0 } },
  };
}

const reference = ReferenceProfile.parse({
  rows: 5000,
  signals: { 'input:image:brightness': { sketch: valueSketchOf(around(0.5, 0.1, 5000, 1)) } },
  categories: { site: { counts: { north: 2500, south: 2500 }, other: 0 } },
});

describe('drift of signals that have no bins from the manifest', () => {
  it('is seen where a picture grows darker by half a deviation', () => {
    const judged = judgeDrift(reference, seen(around(0.45, 0.1, 1000, 2)), settings);
    expect(judged.verdict).toBe('suspicious');
    expect(judged.signals[0]).toMatchObject({ name: 'input:image:brightness', state: 'moved', samples: 1000 });
  });

  it('is not seen where nothing moved', () => {
    const calm = Array.from({ length: 40 }, (_, seed) =>
      judgeDrift(reference, seen(around(0.5, 0.1, 600, 100 + seed)), settings),
    );
    expect(calm.filter(({ verdict }) => verdict !== 'calm')).toEqual([]);
    expect(calm[0]?.signals.map(({ name }) => name).sort()).toEqual(['input:image:brightness', 'site']);
  });

  it('is seen in texts, also in ones that the reference does not know', () => {
    const moved = (sites: Record<string, number>) =>
      judgeDrift(reference, seen(around(0.5, 0.1, 600, 7), sites), settings)
        .signals.filter(({ state }) => state === 'moved')
        .map(({ name }) => name);
    expect(moved({ north: 500, south: 100 })).toEqual(['site']);
    expect(moved({ north: 250, south: 250, elsewhere: 100 })).toEqual(['site']);
    expect(moved({ north: 310, south: 290 })).toEqual([]);
  });

  it('is left out where a window or a reference has no such signal', () => {
    expect(judgeDrift(reference, { features: {}, classes: {} }, settings).verdict).toBe('insufficient');
    const older = ReferenceProfile.parse({ rows: 1 });
    expect(judgeDrift(older, seen([1, 2, 3]), settings).signals).toEqual([]);
  });
});
