import { expect, test } from 'vitest';
import { correlationWithin, effective } from './clusters.ts';
import { compareRates } from './comparison.ts';
import { ownRate, randomOf } from './field-fixture.ts';

function devicesOf(random: () => number, count: number, { mean, correlation, trials }: Record<string, number>) {
  return Array.from({ length: count }, () => {
    const rate = ownRate(random, mean ?? 0, correlation ?? 0);
    let hits = 0;
    for (let i = 0; i < (trials ?? 0); i++) if (random() < rate) hits++;
    return { hits, trials: trials ?? 0 };
  });
}

test('the correlation within devices is found with many devices, and expected with few', () => {
  const random = randomOf(1);
  for (const correlation of [0, 0.02, 0.1, 0.3]) {
    const devices = devicesOf(random, 400, { mean: 0.1, correlation, trials: 100 });
    expect(Math.abs(correlationWithin([devices]) - correlation)).toBeLessThan(0.02 + 0.2 * correlation);
  }
  expect(correlationWithin([[{ hits: 3, trials: 100 }]])).toBeCloseTo(0.05, 10);
  expect(correlationWithin([])).toBeCloseTo(0.05, 10);
});

test('requests of one device are worth no more than the correlation leaves', () => {
  const one = effective([{ hits: 10_000, trials: 100_000 }], 0.05);
  expect(one.trials).toBeCloseTo(20, 1);
  expect(one.hits / one.trials).toBeCloseTo(0.1, 10);
  const thousand = effective(
    Array.from({ length: 1000 }, () => ({ hits: 0, trials: 1 })),
    0.05,
  );
  expect(thousand.trials).toBe(1000);
});

test.each([
  { correlation: 0, wave: 2, rest: 8 },
  { correlation: 0.05, wave: 1, rest: 2 },
  { correlation: 0.05, wave: 1, rest: 9 },
  { correlation: 0.1, wave: 3, rest: 27 },
  { correlation: 0.2, wave: 10, rest: 90 },
])(
  'devices that differ ($correlation, $wave beside $rest) give no more false alarms than stated',
  ({ correlation, wave, rest }) => {
    const alpha = 0.05;
    const fleets = 150;
    const random = randomOf(7 + wave);
    let alarms = 0;
    for (let fleet = 0; fleet < fleets; fleet++) {
      const rates = Array.from({ length: wave + rest }, () => ownRate(random, 0.06, correlation));
      const devices = rates.map(() => ({ hits: 0, trials: 0 }));
      for (let look = 0; look < 12; look++) {
        for (const [i, device] of devices.entries()) {
          for (let n = 0; n < 40; n++) if (random() < (rates[i] ?? 0)) device.hits++;
          device.trials += 40;
        }
        const compared = compareRates(
          { fresh: devices.slice(0, wave), former: devices.slice(wave) },
          { margin: 0.01, alpha },
        );
        if (compared.exceeded) {
          alarms++;
          break;
        }
      }
    }
    expect(alarms).toBeLessThanOrEqual(alpha * fleets);
  },
);
