import fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { calendarOf, MaintenanceWindow, opensAt, weekDays, windowOfText } from './maintenance-window.ts';

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

it('open by the name of a zone as they open on a machine that stands there, also when clocks are changed', () => {
  const time = fc
    .record({ hours: fc.nat(23), minutes: fc.constantFrom(0, 15, 30, 45) })
    .map(({ hours, minutes }) => `${String(hours).padStart(2, '0')}:${String(minutes).padStart(2, '0')}`);
  const window = fc
    .record({
      days: fc.constantFrom(undefined, ['sun' as const], ['sat' as const, 'mon' as const]),
      from: time,
      to: time,
    })
    .filter(({ from, to }) => from !== to)
    .map(({ days, ...times }): MaintenanceWindow => (days === undefined ? times : { days: [...days], ...times }));
  // Around changes of the clocks in 2026: Berlin and New York by an hour, Lord Howe by half of one, Kathmandu never.
  const instants = fc.oneof(
    ...['2026-03-08', '2026-03-29', '2026-04-05', '2026-10-04', '2026-10-25', '2026-11-01'].map((day) =>
      fc.integer({ min: -48 * 60, max: 48 * 60 }).map((minutes) => at(`${day}T00:00:00Z`) + minutes * 60_000),
    ),
  );
  const zones = fc.constantFrom('Europe/Berlin', 'America/New_York', 'Australia/Lord_Howe', 'Asia/Kathmandu', 'UTC');
  fc.assert(
    fc.property(fc.array(window, { minLength: 1, maxLength: 3 }), instants, zones, (windows, now, zone) => {
      process.env.TZ = zone;
      expect(opensAt(windows, now, calendarOf(zone))).toBe(opensAt(windows, now));
    }),
    { numRuns: 400 },
  );
  expect(calendarOf('Mars/Olympus')).toBeUndefined();
});

it('are written as people write them', () => {
  expect(windowOfText(' sat,sun 08:00-20:00')).toEqual({ days: ['sat', 'sun'], from: '08:00', to: '20:00' });
  expect(windowOfText('22:00-04:00')).toEqual({ from: '22:00', to: '04:00' });
  expect(windowOfText('at night')).toBeUndefined();
});

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
