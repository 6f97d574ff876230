// How far a device's clock is from the server's: measured by one exchange, so that it is known no better than half of its way.
import { z } from 'zod';
import { Instant } from './identifiers.ts';

/** `offsetMs`: the device's clock minus the server's. `measuredAt`: by the server's clock. */
export const ClockReading = z.object({
  offsetMs: z.number().int(),
  roundTripMs: z.number().min(0),
  measuredAt: Instant,
});
export type ClockReading = z.infer<typeof ClockReading>;

/** A clock that is further off than this is said to be wrong, and what it dates is placed by the server's. */
export const clockBoundMs = 60_000;

/** The server read its clock somewhere between both readings of the device's; its middle is off by half of that at most. */
export function clockReading(asked: { sentAt: number; serverAt: number; roundTripMs: number }): ClockReading {
  const { sentAt, serverAt, roundTripMs } = asked;
  const offsetMs = Math.round(sentAt + roundTripMs / 2 - serverAt);
  return { offsetMs, roundTripMs: Math.round(roundTripMs), measuredAt: serverAt };
}

/** Whether it is certainly off by more than the bound. */
export function isClockOff({
  offsetMs,
  roundTripMs = 0,
}: Pick<ClockReading, 'offsetMs'> & { roundTripMs?: number }): boolean {
  return Math.abs(offsetMs) - roundTripMs / 2 > clockBoundMs;
}

/** In words: `3 days behind`, `2 hours ahead`. */
export function clockWords(offsetMs: number): string {
  const seconds = Math.round(Math.abs(offsetMs) / 1000);
  const [unit, length] = units.find(([, each]) => seconds >= 2 * each) ?? (['second', 1] as const);
  const count = Math.round(seconds / length);
  return `${count} ${unit}${count === 1 ? '' : 's'} ${offsetMs < 0 ? 'behind' : 'ahead'}`;
}

const units = [
  ['year', 31_557_600],
  ['day', 86_400],
  ['hour', 3600],
  ['minute', 60],
] as const;
