import { describe, expect, it } from 'vitest';
import { placed } from './placing.ts';
import { labelOf, windowOf } from './telemetry-fixture.ts';

const day = 86_400_000;
const now = 100 * day;

describe('what a device dates', () => {
  const window = (startedAt: number) => windowOf({ startedAt });
  const labels = (labelledAt: number) => ({
    kind: 'labels' as const,
    labels: [labelOf({ predictedAt: labelledAt - 500, labelledAt })],
  });

  it('stands where it says while its clock is right, and while nobody knows', () => {
    for (const item of [window(now - 20_000), window(now - 30 * day), labels(now - 5)])
      for (const clockOffsetMs of [undefined, 0, 30_000, -60_000])
        expect(placed({ item, clockOffsetMs }, now)).toBe(item);
  });

  it.each([3 * day, -3 * day, 61_000, -61_000])('is placed by the server’s clock when it is %d ms off', (off) => {
    expect(placed({ item: window(now - 20_000 + off), clockOffsetMs: off }, now)).toMatchObject({
      startedAt: now - 20_000,
      endedAt: now - 10_000,
      deviceClock: { startedAt: now - 20_000 + off, endedAt: now - 10_000 + off, offsetMs: off },
    });
    expect(placed({ item: labels(now - 5 + off), clockOffsetMs: off }, now)).toMatchObject({
      labels: [{ labelledAt: now - 5, predictedAt: now - 505 }],
    });
  });

  it('never stands in the future', () => {
    expect(placed({ item: window(now + 40 * day) }, now)).toMatchObject({
      startedAt: now - 10_000,
      endedAt: now,
      deviceClock: { startedAt: now + 40 * day },
    });
    expect(placed({ item: window(now + 40 * day), clockOffsetMs: day }, now)).toMatchObject({ endedAt: now });
    expect(placed({ item: labels(now + day) }, now)).toMatchObject({ labels: [{ labelledAt: now }] });
  });
});
