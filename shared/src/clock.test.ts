import fc from 'fast-check';
import { expect, it } from 'vitest';
import { clockReading, clockWords, isClockOff } from './clock.ts';

it('is off from the truth by no more than half of the exchange’s way', () => {
  const ms = fc.integer({ min: 0, max: 120_000 });
  fc.assert(
    fc.property(fc.integer({ min: -1e12, max: 1e12 }), ms, ms, (offset, there, back) => {
      const serverAt = 2e12;
      const reading = clockReading({ sentAt: serverAt - there + offset, serverAt, roundTripMs: there + back });
      expect(Math.abs(reading.offsetMs - offset)).toBeLessThanOrEqual((there + back) / 2 + 1);
      if (offset === 0) expect(isClockOff(reading)).toBe(false);
    }),
  );
});

it('says how far a clock is off in words', () => {
  expect([-259_200_000, 7_300_000, -61_000, 1000, -400 * 86_400_000 * 2].map(clockWords)).toEqual([
    '3 days behind',
    '2 hours ahead',
    '61 seconds behind',
    '1 second ahead',
    '2 years behind',
  ]);
});
