import fc from 'fast-check';
import { expect, it } from 'vitest';
import { noFaults } from './settings.ts';
import { settingsOf } from './simulate-fixture.ts';
import { traitsOf } from './traits.ts';

it('gives a fault to its share of the devices, whatever their number', () => {
  fc.assert(
    fc.property(fc.integer({ min: 10, max: 2000 }), fc.double({ min: 0, max: 1, noNaN: true }), (devices, share) => {
      const settings = settingsOf({ faults: { ...noFaults, flapping: share, slow: share } });
      const all = Array.from({ length: devices }, (_, i) => traitsOf(settings, i));
      const slow = all.filter(({ latencyMs }) => latencyMs >= 20);
      for (const among of [all.filter(({ flaps }) => flaps), slow])
        expect(Math.abs(among.length - share * devices)).toBeLessThanOrEqual(3);
    }),
  );
});

it('marks every device as simulated, by id and label, whatever labels are asked for', () => {
  const { id, labels } = traitsOf(settingsOf({ labels: { simulated: 'false', tier: 'lab' } }), 7);
  expect(id).toBe('sim-test-00007');
  expect(labels).toMatchObject({ simulated: 'true', run: 'test', tier: 'lab' });
});

it('makes the same device of the same seed, and another of another', () => {
  const latencies = (seed: number) => Array.from({ length: 5 }, (_, i) => traitsOf(settingsOf({ seed }), i).latencyMs);
  expect(latencies(1)).toEqual(latencies(1));
  expect(latencies(2)).not.toEqual(latencies(1));
});
