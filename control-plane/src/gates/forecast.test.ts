import { RolloutGates } from '@edgeloop/shared/api/rollouts';
import { expect, test } from 'vitest';
import { emptyArm, Group, machinesOf, randomOf, usual } from './field-fixture.ts';
import { duration, forecastOf, sightsOf, type Traffic } from './forecast.ts';

const gates = RolloutGates.parse({});
const ids = Array.from({ length: 40 }, (_, i) => `d${i}`);

function trafficOf(requestsPerHour: number, labelsPerHour: number): Traffic {
  const random = randomOf(8);
  const period = new Group(random, machinesOf(random, ids.length), { behaviour: usual });
  period.answer(60);
  const each = (perHour: number) => new Map(ids.map((id) => [id, perHour]));
  return {
    ...{ requestsPerHour: each(requestsPerHour), labelsPerHour: each(labelsPerHour), lastPeriod: period.arm() },
    timelyLabelsPerHour: labelsPerHour * ids.length,
  };
}

function forecasts(traffic: Traffic, { wave = 10, hours = 1 } = {}) {
  const split = { fresh: ids.slice(0, wave), former: ids.slice(wave), traffic };
  const sights = sightsOf(gates, split, { waves: 3, waitHours: 1 });
  return Object.fromEntries(sights.map((sight) => [sight.gate, forecastOf(sight, hours)]));
}

test('a gate says in a sentence what it needs and what it sees by then', () => {
  const { accuracy, error_rate, latency, drift } = forecasts(trafficOf(40, 4), { hours: 2 });
  expect(accuracy).toMatchObject({ mode: 'warn', perHour: 40, minimum: 50, hoursToMinimum: 1.25, effect: 0.1 });
  expect(accuracy?.detail).toMatch(
    /^with 40 labels an hour this gate (needs .* to see|never sees) a loss of 10 points.*; after 2 hours it sees a loss of [\d.]+ points$/,
  );
  expect(error_rate?.detail).toMatch(/^with 400 requests an hour this gate needs .* to see 4 % of requests failing/);
  expect(latency?.hoursToSee).toBeLessThan(10);
  expect(drift).toMatchObject({ mode: 'warn', perHour: 400 });
});

test('more devices and more time see more, and labels that come in time make accuracy a gate', () => {
  const traffic = trafficOf(40, 10);
  const [small, large] = [forecasts(traffic, { wave: 2 }), forecasts(traffic, { wave: 20 })];
  expect(large.accuracy?.seen ?? 1).toBeLessThan(small.accuracy?.seen ?? 1);
  expect([small.accuracy?.mode, large.accuracy?.mode]).toEqual(['warn', 'gate']);
  expect(forecasts(traffic, { hours: 8 }).error_rate?.seen).toBeLessThan(forecasts(traffic).error_rate?.seen ?? 0);
});

test('the last wave is compared with the last period, whose size does not grow', () => {
  const all = forecasts(trafficOf(40, 10), { wave: ids.length, hours: 1000 });
  expect(all.accuracy?.seen).toBeGreaterThan(gates.accuracy.maxLoss);
  expect(all.accuracy?.seen).toBeLessThan(0.2);
});

test('a first version has absolute bounds only, and a fleet that is mute never suffices', () => {
  const mute: Traffic = { ...trafficOf(0, 0), lastPeriod: emptyArm() };
  const { error_rate, ...others } = forecasts(mute);
  expect(others).toEqual({});
  expect(error_rate).toMatchObject({ hoursToMinimum: null, hoursToSee: null, seen: null });
  expect(error_rate?.detail).toContain('nothing at all');
});

test('hours are said as people say them', () => {
  expect([0.002, 0.5, 5, 72].map(duration)).toEqual(['7.2 seconds', '30 minutes', '5 hours', '3 days']);
});
