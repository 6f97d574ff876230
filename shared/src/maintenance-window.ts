// Times of the week in which something may happen, in the time zone of whoever asks.
import { z } from 'zod';

export const weekDays = ['sun', 'mon', 'tue', 'wed', 'thu', 'fri', 'sat'] as const;

const ClockTime = z.string().regex(/^([01]\d|2[0-3]):[0-5]\d$/, 'must be a time of the day such as 22:30');

/** From a time of the day to another one, over midnight where that is the earlier one. A day is that on which it begins. */
export const MaintenanceWindow = z
  .strictObject({
    /** Every day when unset. */
    days: z.array(z.enum(weekDays)).min(1).max(7).optional(),
    from: ClockTime,
    to: ClockTime,
  })
  .refine(({ from, to }) => from !== to, { path: ['to'], message: 'must differ from "from"' });
export type MaintenanceWindow = z.infer<typeof MaintenanceWindow>;

/** Milliseconds since 1970 when one of the windows opens next, in this machine's time zone; undefined when one is open at `nowMs`. */
export function opensAt(windows: readonly MaintenanceWindow[], nowMs: number): number | undefined {
  let next = Number.POSITIVE_INFINITY;
  for (const window of windows) {
    // That of yesterday may last over midnight; seven days on is the same day of the next week.
    for (let day = -1; day <= 7; day++) {
      const opens = dayFrom(nowMs, day, window.from);
      if (window.days !== undefined && !window.days.some((name) => weekDays.indexOf(name) === opens.getDay())) continue;
      const closes = dayFrom(nowMs, window.to > window.from ? day : day + 1, window.to);
      if (opens.getTime() <= nowMs && nowMs < closes.getTime()) return undefined;
      if (opens.getTime() > nowMs) next = Math.min(next, opens.getTime());
    }
  }
  return windows.length === 0 ? undefined : next;
}

/** By the calendar, so that days of 23 and 25 hours count as days. */
function dayFrom(nowMs: number, days: number, time: string): Date {
  const [hours = 0, minutes = 0] = time.split(':').map(Number);
  const today = new Date(nowMs);
  return new Date(today.getFullYear(), today.getMonth(), today.getDate() + days, hours, minutes);
}
