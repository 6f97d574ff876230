import fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { MaintenanceWindow, opensAt, weekDays } from './maintenance-window.ts';

const former = process.env.TZ;
beforeEach(() => {
  process.env.TZ = 'Europe/Berlin';
});
afterEach(() => {
  if (former === undefined) delete process.env.TZ;
  else process.env.TZ = former;
});

const at = (text: string) => new Date(text).getTime();
const nights: MaintenanceWindow[] = [{ from: '22:00', to: '04:30' }];

describe('maintenance windows', () => {
  it('are open from their beginning to before their end, over midnight, in the time zone of the machine', () => {
    expect(opensAt(nights, at('2026-11-27T20:59:59Z'))).toBe(at('2026-11-27T21:00:00Z'));
    for (const open of ['2026-11-27T21:00:00Z', '2026-11-27T23:30:00Z', '2026-11-28T03:29:59Z'])
      expect(opensAt(nights, at(open))).toBeUndefined();
    expect(opensAt(nights, at('2026-11-28T03:30:00Z'))).toBe(at('2026-11-28T21:00:00Z'));
  });

  it('belong to the day on which they begin', () => {
    const sundays: MaintenanceWindow[] = [{ days: ['sun'], from: '23:00', to: '01:00' }];
    expect(opensAt(sundays, at('2026-11-29T23:30:00Z'))).toBeUndefined();
    // Sunday 00:30 is the night that began on Saturday.
    expect(opensAt(sundays, at('2026-11-28T23:30:00Z'))).toBe(at('2026-11-29T22:00:00Z'));
  });

  it('follow the clocks when these are changed', () => {
    // Clocks go back an hour on 2026-10-25 at 3.
    const early: MaintenanceWindow[] = [{ from: '06:00', to: '07:00' }];
    expect(opensAt(early, at('2026-10-24T05:30:00Z'))).toBe(at('2026-10-25T05:00:00Z'));
  });

  it('are always open where there are none', () => {
    expect(opensAt([], 0)).toBeUndefined();
  });

  it('open when they say, and not before', () => {
    const time = fc
      .tuple(fc.nat(23), fc.nat(59))
      .map(([h, m]) => `${String(h).padStart(2, '0')}:${String(m).padStart(2, '0')}`);
    const window = fc
      .record({
        days: fc.option(fc.subarray([...weekDays], { minLength: 1 }), { nil: undefined }),
        from: time,
        to: time,
      })
      .filter(({ from, to }) => from !== to);
    fc.assert(
      fc.property(
        fc.array(window, { minLength: 1, maxLength: 3 }),
        fc.integer({ min: at('2026-01-01T00:00:00Z'), max: at('2027-01-01T00:00:00Z') }),
        (windows, now) => {
          const opens = opensAt(windows, now);
          if (opens === undefined) return;
          expect(opens).toBeGreaterThan(now);
          expect(opens - now).toBeLessThanOrEqual(8 * 24 * 3_600_000);
          expect(opensAt(windows, opens - 1)).toBe(opens);
          expect(opensAt(windows, opens)).toBeUndefined();
        },
      ),
    );
  });

  it('must be times of the day that differ', () => {
    for (const wrong of [
      { from: '24:00', to: '01:00' },
      { from: '1:00', to: '02:00' },
      { from: '01:00', to: '01:00' },
    ])
      expect(MaintenanceWindow.safeParse(wrong).success).toBe(false);
  });
});
