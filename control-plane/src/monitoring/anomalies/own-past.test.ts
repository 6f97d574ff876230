import fc from 'fast-check';
import { expect, test } from 'vitest';
import { createRandom } from '../../training/trainers/random.ts';
import { Episodes } from './episodes.ts';
import { OwnPast } from './own-past.ts';
import { distances } from './peers.ts';

const perDay = 24;

function learned(values: readonly number[]): OwnPast {
  const past = new OwnPast({ perDay });
  for (const value of values) past.learn(value);
  return past;
}

/** Twenty by day, a hundred at noon, nothing on Sundays. */
function shop(hours: number, noise: () => number): number[] {
  return Array.from({ length: hours }, (_, i) => {
    const day = Math.floor(i / perDay) % 7;
    return day === 6 ? 0 : 20 + 80 * Math.max(0, Math.sin((2 * Math.PI * (i % perDay)) / perDay)) + noise();
  });
}

test('says nothing while the past is short', () => {
  expect(new OwnPast({ perDay }).judge(3)).toBeUndefined();
  expect(learned(Array.from({ length: 49 }, () => 1)).judge(3)).toBeUndefined();
  expect(learned(Array.from({ length: 50 }, () => 1)).judge(3)?.score).toBeGreaterThan(100);
});

test('knows the hour of the week: a quiet Sunday is usual, a quiet Monday is not', () => {
  const random = createRandom(7);
  const past = learned(shop(5 * 7 * perDay - perDay + 12, () => random() - 0.5));
  const sunday = past.judge(0);
  expect(sunday).toMatchObject({ season: 'week' });
  expect(sunday?.score).toBeLessThan(3);
  for (let hour = 12; hour < perDay; hour++) past.learn(0);
  expect(past.judge(0)?.score).toBeGreaterThan(10);
});

test('no past anomaly hides the next', () => {
  const random = createRandom(3);
  const values = Array.from({ length: 400 }, (_, i) => (i % 150 === 140 ? 5000 : 10 + random()));
  expect(learned(values).judge(5000)?.score).toBeGreaterThan(10);
});

test('scores do not depend on unit or offset, and values that are not known change nothing', () => {
  fc.assert(
    fc.property(
      fc.array(fc.integer({ min: -1000, max: 1000 }), { minLength: 60, maxLength: 200 }),
      fc.integer({ min: 1, max: 50 }),
      (values, unit) => {
        const spread = new Set(values).size > 5;
        fc.pre(spread);
        const plain = learned(values).judge(2000)?.score ?? 0;
        const scaled = learned(values.map((each) => each * unit)).judge(2000 * unit)?.score ?? 0;
        expect(scaled).toBeCloseTo(plain, 4);
        const past = learned(values);
        expect(past.judge(Number.NaN)).toBeUndefined();
      },
    ),
    { numRuns: 50 },
  );
});

test('one device among its peers stands out, and all together do not', () => {
  const fleet = new Map(Array.from({ length: 20 }, (_, i) => [`d${i}`, 100 + i]));
  expect([...distances(fleet).values()].every(({ score }) => Math.abs(score) < 3)).toBe(true);
  const odd = distances(new Map([...fleet, ['d3', 400]]));
  expect(odd.get('d3')?.score).toBeGreaterThan(10);
  expect(Math.abs(odd.get('d4')?.score ?? 9)).toBeLessThan(3);
  const all = distances(new Map([...fleet].map(([id, value]) => [id, value * 3])));
  expect([...all.values()].every(({ score }) => Math.abs(score) < 3)).toBe(true);
  expect(distances(new Map([...fleet].slice(0, 5)))).toEqual(new Map());
});

test('a surprise is told once, and again when it is stranger or when it is over', () => {
  const episodes = new Episodes(10);
  const news = [0, 5, 4, 5, 6, 6].map((score, at) => episodes.isNews(at, score));
  expect(news).toEqual([false, true, false, false, true, false]);
  expect(episodes.isNews(14, 6)).toBe(false);
  expect(episodes.isNews(15, 2)).toBe(true);
});
