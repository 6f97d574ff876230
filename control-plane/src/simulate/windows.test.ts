import { quantile } from '@edgeloop/shared/sketches/ddsketch';
import { psi } from '@edgeloop/shared/sketches/psi';
import { Window } from '@edgeloop/shared/telemetry';
import fc from 'fast-check';
import { expect, it } from 'vitest';
import { type Faults, type FleetSettings, noFaults } from './settings.ts';
import { settingsOf } from './simulate-fixture.ts';
import { traitsOf } from './traits.ts';
import { createWindows } from './windows.ts';

const noon = 13 * 3_600_000;

function windowOf(settings: FleetSettings, { device = 0, to = 100 * 86_400_000 + noon, elapsedMs = 0 } = {}): Window {
  const from = to - 60_000;
  const traits = traitsOf(settings, device);
  return createWindows(settings).window({ traits, version: 3, release: undefined, from, to, elapsedMs });
}
const withFaults = (faults: Partial<Faults>) =>
  settingsOf({ requestsPerMinute: 5000, faults: { ...noFaults, ...faults } });
const sum = (counts: readonly number[]) => counts.reduce((total, count) => total + count, 0);

it('makes windows that an agent could have sent: every count is there once', () => {
  fc.assert(
    fc.property(
      fc.nat(500),
      fc.nat(1000),
      fc.double({ min: 0, max: 1, noNaN: true }),
      (device, requestsPerMinute, errorRate) => {
        const settings = settingsOf({ requestsPerMinute, faults: { ...noFaults, errorRate } });
        const window = windowOf(settings, { device });
        expect(Window.parse(JSON.parse(JSON.stringify(window)))).toEqual(window);
        expect(window.latencyMs.count).toBe(window.succeeded);
        expect(sum(Object.values(window.classes))).toBe(window.rows);
        expect(sum(window.confidence?.counts ?? [])).toBe(window.rows);
        for (const { counts, min, max, sum: total } of Object.values(window.features)) {
          expect(sum(counts)).toBe(window.rows);
          if (window.rows > 0) expect(total / window.rows).toBeLessThanOrEqual((max ?? 0) + 1e-9);
          if (window.rows > 0) expect(total / window.rows).toBeGreaterThanOrEqual((min ?? 0) - 1e-9);
        }
      },
    ),
  );
});

it('has its nights', () => {
  const settings = settingsOf({ requestsPerMinute: 1000 });
  const atNoon = windowOf(settings).rows;
  const atNight = windowOf(settings, { to: 100 * 86_400_000 + 2 * 3_600_000 }).rows;
  expect(atNight).toBeLessThan(atNoon / 3);
});

it('looks like the reference, until its time has come to drift', () => {
  const settings = withFaults({ drift: { share: 1, afterMs: 60_000, sigmas: 1 } });
  const reference = settings.model.reference?.features ?? {};
  const before = windowOf(settings);
  const after = windowOf(settings, { elapsedMs: 60_000 });
  expect(Object.keys(before.features)).toEqual(Object.keys(reference));
  for (const [name, { counts }] of Object.entries(reference)) {
    expect(psi(counts, before.features[name]?.counts ?? [])).toBeLessThan(0.05);
    expect(psi(counts, after.features[name]?.counts ?? [])).toBeGreaterThan(0.5);
    const [from, to] = [before.features[name], after.features[name]];
    const deviation = Math.sqrt((from?.sumOfSquares ?? 0) / before.rows - ((from?.sum ?? 0) / before.rows) ** 2);
    const shift = (to?.sum ?? 0) / after.rows - (from?.sum ?? 0) / before.rows;
    expect(shift / deviation).toBeCloseTo(1, 0);
  }
});

it('has sensors that are dead or stuck, and others that are not', () => {
  const [dead, stuck] = [windowOf(withFaults({ deadSensor: 1 })), windowOf(withFaults({ stuckSensor: 1 }))];
  expect(dead.features.temperature).toMatchObject({ min: null, max: null });
  expect(dead.features.temperature?.counts.at(-1)).toBe(dead.rows);
  expect(stuck.features.temperature?.min).toBe(stuck.features.temperature?.max);
  for (const window of [dead, stuck])
    expect(window.features.pressure?.max).toBeGreaterThan(window.features.pressure?.min ?? Number.POSITIVE_INFINITY);
});

it('has devices that are slow, that fail, and whose clock is off', () => {
  const usual = windowOf(withFaults({}));
  const slow = windowOf(withFaults({ slow: 1 }));
  expect(quantile(slow.latencyMs, 0.5)).toBeCloseTo((quantile(usual.latencyMs, 0.5) ?? 0) * 10, -1);
  const failing = windowOf(withFaults({ errorRate: 0.2 }));
  expect((failing.failed.internal ?? 0) / (failing.succeeded + (failing.failed.internal ?? 0))).toBeCloseTo(0.2, 1);
  const late = windowOf(withFaults({ clock: { share: 1, offsetMs: -7_200_000 } }));
  expect(late.startedAt - usual.startedAt).toBe(-7_200_000);
});

it('speaks of models without a reference by their classes alone', () => {
  const settings = settingsOf({ model: { name: 'plain', classes: ['a', 'b'] } });
  const window = windowOf(settings);
  expect(window).toMatchObject({ model: 'plain', features: {} });
  expect(Object.keys(window.classes).sort()).toEqual(['a', 'b']);
  expect(windowOf(settingsOf({ model: { name: 'plain', classes: [] } })).classes).toEqual({});
});
