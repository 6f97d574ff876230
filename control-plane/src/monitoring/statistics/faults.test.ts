import { expect, test } from 'vitest';
import { createRandom } from '../../training/trainers/random.ts';
import { faultOf } from './faults.ts';
import { histogramOf, normal, profileOf, samplesOf } from './profile-fixture.ts';

const shapes: [string, (random: () => number) => number][] = [
  ['temperatures', (random) => 20 + 3 * normal(random)],
  ['positive and skewed', (random) => Math.exp(1 + 0.6 * normal(random))],
  ['of two kinds', (random) => (random() < 0.5 ? 5 : 12) + normal(random)],
];
const faults: [string, string, (value: number, random: () => number) => number][] = [
  ['dead', 'without a value', () => Number.NaN],
  ['dead', 'always 0', () => 0],
  ['stuck', 'at one value', () => 7.25],
  ['offset', 'higher by 6', (value) => value + 6],
  ['offset', 'lower by 4', (value) => value - 4],
  ['scaled', 'doubled', (value) => 2 * value],
  ['scaled', 'in other units', (value) => value / 10],
  ['noisy', 'three deviations of noise', (value, random) => value + 9 * normal(random)],
];

const cases = shapes.flatMap(([shape, draw]) =>
  faults.map(([kind, how, change]) => ({ shape, draw, kind, how, change })),
);

test.each(cases)('a sensor of values that are $shape is $kind: $how', ({ draw, kind, change }) => {
  const random = createRandom(3);
  const profile = profileOf(samplesOf(5000, () => draw(random)));
  const seen = histogramOf(
    profile.edges,
    samplesOf(400, () => change(draw(random), random)),
  );
  const usual = histogramOf(
    profile.edges,
    samplesOf(4000, () => draw(random)),
  );
  expect(faultOf(profile.edges, seen, usual)?.kind).toBe(kind);
  const alone = kind === 'dead' || kind === 'stuck' ? kind : undefined;
  expect(faultOf(profile.edges, seen, undefined)?.kind).toBe(alone);
});
