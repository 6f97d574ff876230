import { QuantileSketchBuilder } from '@edgeloop/shared/sketches/ddsketch';
import { expect, test } from 'vitest';
import { normalOf, randomOf } from './field-fixture.ts';
import { quantileRatio } from './quantiles.ts';

const worth = { first: 1, second: 1 };

test('the ratio of quantiles lies in its interval, which narrows with evidence', () => {
  const random = randomOf(2);
  const fresh = new QuantileSketchBuilder();
  const old = new QuantileSketchBuilder();
  let width = Number.POSITIVE_INFINITY;
  for (const count of [30, 300, 3000]) {
    for (let i = 0; i < count; i++) {
      fresh.add(6 * Math.exp(0.4 * normalOf(random)));
      old.add(3 * Math.exp(0.4 * normalOf(random)));
    }
    const seen = quantileRatio({ first: fresh.toJSON(), second: old.toJSON() }, { quantile: 0.9, alpha: 0.01, worth });
    expect(seen?.low).toBeLessThan(2);
    expect(seen?.high).toBeGreaterThan(2);
    const now = (seen?.high ?? 0) - (seen?.low ?? 0);
    if (count > 30) expect(now).toBeLessThan(width);
    width = now;
  }
  expect(width).toBeLessThan(0.6);
});

test('a few values leave the ratio open, and none give none', () => {
  const one = new QuantileSketchBuilder();
  one.add(1);
  const none = new QuantileSketchBuilder().toJSON();
  const settings = { quantile: 0.9, alpha: 0.01, worth };
  expect(quantileRatio({ first: one.toJSON(), second: one.toJSON() }, settings)).toMatchObject({
    low: 0,
    high: Number.POSITIVE_INFINITY,
  });
  expect(quantileRatio({ first: none, second: one.toJSON() }, settings)).toBeUndefined();
});

test.each([0.5, 0.9, 0.99])(
  'looking again and again gives no more false alarms than stated (quantile %d)',
  (quantile) => {
    const random = randomOf(11);
    const alpha = 0.1;
    const streams = 100;
    let alarms = 0;
    for (let stream = 0; stream < streams; stream++) {
      const fresh = new QuantileSketchBuilder();
      const old = new QuantileSketchBuilder();
      for (let look = 0; look < 25; look++) {
        for (let i = 0; i < 12; i++) fresh.add(Math.exp(normalOf(random)));
        for (let i = 0; i < 30; i++) old.add(Math.exp(normalOf(random)));
        const seen = quantileRatio({ first: fresh.toJSON(), second: old.toJSON() }, { quantile, alpha, worth });
        if (seen !== undefined && (seen.low > 1 || seen.high < 1)) {
          alarms++;
          break;
        }
      }
    }
    expect(alarms).toBeLessThanOrEqual(alpha * streams);
  },
);
