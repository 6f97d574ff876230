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

/** Dates and times of the day in one time zone. */
export interface Calendar {
  /** The day of an instant, as midnight of it in UTC. */
  dayOf(ms: number): number;
  /** The instant of a time of that day; of times that a change of the clocks leaves out or repeats, as `Date` has it. */
  instantOf(day: number, hours: number, minutes: number): number;
}

/** That of this machine. */
const own: Calendar = {
  dayOf(ms) {
    const at = new Date(ms);
    return Date.UTC(at.getFullYear(), at.getMonth(), at.getDate());
  },
  instantOf(day, hours, minutes) {
    const at = new Date(day);
    return new Date(at.getUTCFullYear(), at.getUTCMonth(), at.getUTCDate(), hours, minutes).getTime();
  },
};

const dayMs = 86_400_000;

/** That of a zone of the IANA database, as `Europe/Berlin`; undefined for a name that is none. */
export function calendarOf(timeZone: string): Calendar | undefined {
  let format: Intl.DateTimeFormat;
  try {
    const numeric = { year: 'numeric', month: 'numeric', day: 'numeric', hour: 'numeric', minute: 'numeric' } as const;
    format = new Intl.DateTimeFormat('en-US', { timeZone, hourCycle: 'h23', ...numeric, second: 'numeric' });
  } catch (error) {
    if (error instanceof RangeError) return undefined;
    throw error;
  }
  /** What its clocks show, as if that were UTC. */
  const shown = (ms: number): number => {
    const parts = new Map(format.formatToParts(ms).map(({ type, value }) => [type, Number(value)]));
    const of = (type: Intl.DateTimeFormatPartTypes) => parts.get(type) ?? 0;
    return Date.UTC(of('year'), of('month') - 1, of('day'), of('hour'), of('minute'), of('second'));
  };
  const offsetAt = (ms: number) => shown(ms) - Math.floor(ms / 1000) * 1000;
  return {
    dayOf: (ms) => Math.floor(shown(ms) / dayMs) * dayMs,
    instantOf(day, hours, minutes) {
      const wanted = day + (hours * 60 + minutes) * 60_000;
      const before = offsetAt(wanted - dayMs);
      const fits = [before, offsetAt(wanted + dayMs)].find((offset) => offsetAt(wanted - offset) === offset);
      return wanted - (fits ?? before);
    },
  };
}

/** Milliseconds since 1970 when one of the windows opens next, by this machine's time zone or another; undefined when one is open at `nowMs`. */
export function opensAt(
  windows: readonly MaintenanceWindow[],
  nowMs: number,
  calendar: Calendar = own,
): number | undefined {
  let next = Number.POSITIVE_INFINITY;
  const today = calendar.dayOf(nowMs);
  for (const window of windows) {
    // That of yesterday may last over midnight; seven days on is the same day of the next week.
    for (let day = -1; day <= 7; day++) {
      const begins = today + day * dayMs;
      if (window.days !== undefined && !window.days.some((name) => weekDays.indexOf(name) === weekDayOf(begins)))
        continue;
      const opens = instantOn(calendar, begins, window.from);
      const closes = instantOn(calendar, window.to > window.from ? begins : begins + dayMs, window.to);
      if (opens <= nowMs && nowMs < closes) return undefined;
      if (opens > nowMs) next = Math.min(next, opens);
    }
  }
  return windows.length === 0 ? undefined : next;
}

function weekDayOf(day: number): number {
  return new Date(day).getUTCDay();
}

function instantOn(calendar: Calendar, day: number, time: string): number {
  const [hours = 0, minutes = 0] = time.split(':').map(Number);
  return calendar.instantOf(day, hours, minutes);
}

/** Of `22:00-04:00` or `sat,sun 22:00-04:00`; what is wrong with days and times, the schema says. Undefined for another form. */
export function windowOfText(text: string): { days?: string[]; from: string; to: string } | undefined {
  const match = /^(?:([a-z,]+)\s+)?([\d:]+)-([\d:]+)$/.exec(text.trim());
  if (match === null) return undefined;
  const [, days, from = '', to = ''] = match;
  return { ...(days === undefined ? {} : { days: days.split(',') }), from, to };
}
