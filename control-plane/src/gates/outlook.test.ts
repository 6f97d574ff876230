import { QuantileSketchBuilder } from '@edgeloop/shared/sketches/ddsketch';
import { expect, test } from 'vitest';
import { normalOf, randomOf } from './field-fixture.ts';
import { hoursToCount, hoursToSee, rateSeenAbove, riseSeenAfter, slowdownSeen, worthAfter } from './outlook.ts';
import { quantileRatio } from './quantiles.ts';
import { evidenceAbove } from './sequential.ts';

const expected = { base: 0.04, margin: 0.05, alpha: 0.0004, correlation: 0.01 };
const pace = (devices: number, perHour: number) => Array<number>(devices).fill(perHour);

test('more time, more devices and busier ones see smaller losses', () => {
  const seen = (hours: number, devices: number, perHour: number) =>
    riseSeenAfter(hours, {
      ...expected,
      pace: { fresh: pace(devices, perHour), former: pace(9 * devices, perHour) },
    }) ?? 1;
  expect(seen(10, 20, 10)).toBeLessThan(seen(1, 20, 10));
  expect(seen(1, 200, 10)).toBeLessThan(seen(1, 20, 10));
  expect(seen(1, 20, 100)).toBeLessThan(seen(1, 20, 10));
  expect(seen(1, 1, 1)).toBe(1);
});

test('the hours to see a loss are those after which it is seen', () => {
  const outlook = { ...expected, pace: { fresh: pace(10, 4), former: pace(90, 4) } };
  const hours = hoursToSee(0.15, outlook);
  expect(hours).toBeGreaterThan(1);
  expect(riseSeenAfter((hours ?? 0) * 1.01, outlook)).toBeLessThanOrEqual(0.15);
  expect(riseSeenAfter((hours ?? 0) * 0.9, outlook) ?? 1).toBeGreaterThan(0.15);
});

test('one device alone never shows a small loss, however long it is watched, and a mute fleet shows nothing', () => {
  const lone = { ...expected, correlation: 0.05, pace: { fresh: [1000], former: pace(9, 1000) } };
  expect(hoursToSee(0.08, lone)).toBeNull();
  expect(hoursToSee(0.7, lone)).toBeLessThan(1);
  expect(worthAfter(1000, [1000], 0.05)).toBeCloseTo(20, 1);
  expect(hoursToSee(0.9, { ...expected, pace: { fresh: [0], former: [0] } })).toBeNull();
  expect(hoursToCount(50, pace(5, 2))).toBe(5);
  expect([hoursToCount(50, [0]), hoursToCount(0, [0])]).toEqual([null, 0]);
});

test('a rate above the bound is seen from where the gate fails', () => {
  const settings = { bound: 0.02, alpha: 0.001 };
  for (const trials of [50, 1000]) {
    const rate = rateSeenAbove(trials, settings) ?? 0;
    expect(evidenceAbove({ hits: (rate + 0.001) * trials, trials }, 0.02)).toBeGreaterThan(-Math.log(0.001));
    expect(evidenceAbove({ hits: (rate - 0.001) * trials, trials }, 0.02)).toBeLessThan(-Math.log(0.001));
  }
  expect(rateSeenAbove(0, settings)).toBeNull();
});

test('a slowdown that is said to be seen is seen about as often as not', () => {
  const random = randomOf(6);
  const known = new QuantileSketchBuilder();
  for (let i = 0; i < 5000; i++) known.add(10 * Math.exp(0.4 * normalOf(random)));
  const settings = { quantile: 0.9, maxRatio: 1.5, alpha: 0.01 };
  const slowdown = slowdownSeen(known.toJSON(), { fresh: 200, former: 1800 }, settings) ?? 0;
  expect(slowdown).toBeGreaterThan(1.5);
  let seen = 0;
  for (let i = 0; i < 100; i++) {
    const first = new QuantileSketchBuilder();
    const second = new QuantileSketchBuilder();
    for (let n = 0; n < 200; n++) first.add(10 * slowdown * Math.exp(0.4 * normalOf(random)));
    for (let n = 0; n < 1800; n++) second.add(10 * Math.exp(0.4 * normalOf(random)));
    const worth = { first: 1, second: 1 };
    const compared = quantileRatio({ first: first.toJSON(), second: second.toJSON() }, { ...settings, worth });
    if ((compared?.low ?? 0) > settings.maxRatio) seen++;
  }
  expect(seen).toBeGreaterThan(25);
  expect(seen).toBeLessThan(75);
  expect(slowdownSeen(known.toJSON(), { fresh: 2, former: 1800 }, settings)).toBeNull();
});
