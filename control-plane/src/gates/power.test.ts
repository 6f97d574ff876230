import { expect, test } from 'vitest';
import { randomOf } from './field-fixture.ts';
import { smallestRise, trialsToSee } from './power.ts';
import { exceedsBy } from './sequential.ts';

const expected = { base: 0.04, margin: 0.05, alpha: 0.001 };

test.each([0.15, 0.3, 0.7])(
  'a rise of %d is seen four times of five with the trials that are said to be enough',
  (rise) => {
    const trials = trialsToSee(rise, 4, expected);
    expect(trials).not.toBeNull();
    const random = randomOf(9);
    const draw = (count: number, rate: number) => {
      let hits = 0;
      for (let i = 0; i < count; i++) if (random() < rate) hits++;
      return { hits, trials: count };
    };
    let seen = 0;
    const times = 300;
    for (let i = 0; i < times; i++) {
      const fresh = draw(trials ?? 0, expected.base + rise);
      if (exceedsBy(fresh, draw(4 * (trials ?? 0), expected.base), expected)) seen++;
    }
    expect(seen / times).toBeGreaterThan(0.7);
  },
);

test('what is seen at last with so many trials needs no more of them', () => {
  for (const trials of [60, 500, 5000]) {
    const rise = smallestRise({ fresh: trials, former: 4 * trials }, expected);
    expect(rise).not.toBeNull();
    expect(trialsToSee((rise ?? 0) + 0.002, 4, expected)).toBeLessThanOrEqual(trials * 1.02);
  }
});

test('some things are never seen', () => {
  expect(smallestRise({ fresh: 2, former: 1000 }, expected)).toBeNull();
  expect(smallestRise({ fresh: 100, former: 0 }, expected)).toBeNull();
  expect(trialsToSee(0.05, 4, expected)).toBeNull();
});
