// The time axis of a metric query: a range cut into steps.

import type { MetricQuery } from '@edgeloop/shared/api/metrics';
import { AppError } from '@edgeloop/shared/errors';

export interface TimeBuckets {
  /** Milliseconds since the epoch, `to` excluded. */
  from: number;
  to: number;
  /** Undefined: one bucket for the whole range. */
  stepMs: number | undefined;
  /** Beginnings, ascending: multiples of the step, so that a range that moves on keeps its buckets. */
  starts: number[];
}

const maxPoints = 5000;
const hour = 3_600_000;

/**
 * The range and steps of a query; an hour up to now by default.
 * @throws AppError `invalid_request` when `from` is not before `to`, or with more than 5000 steps
 */
export function timeBuckets(query: Pick<MetricQuery, 'from' | 'to' | 'step'>, now: number): TimeBuckets {
  const to = query.to ?? now;
  const from = query.from ?? Math.max(0, to - hour);
  if (from >= to) {
    throw new AppError(
      'invalid_request',
      `from (${new Date(from).toISOString()}) must be before to (${new Date(to).toISOString()})`,
    );
  }
  if (query.step === undefined) return { from, to, stepMs: undefined, starts: [from] };
  const stepMs = query.step * 1000;
  const first = from - (from % stepMs);
  const count = Math.ceil((to - first) / stepMs);
  if (count > maxPoints) {
    const enough = Math.ceil((to - from) / 1000 / (maxPoints - 1));
    throw new AppError(
      'invalid_request',
      `step=${query.step} makes ${count} points, at most ${maxPoints} are possible; use step=${enough} or a shorter range`,
    );
  }
  return { from, to, stepMs, starts: Array.from({ length: count }, (_, i) => first + i * stepMs) };
}

/** The beginning of the bucket that an instant of the range belongs to. */
export function bucketOf(buckets: TimeBuckets, at: number): number {
  return buckets.stepMs === undefined ? buckets.from : at - (at % buckets.stepMs);
}

/** Seconds of a bucket that lie within the range. */
export function coveredSeconds({ from, to, stepMs }: TimeBuckets, start: number): number {
  if (stepMs === undefined) return (to - from) / 1000;
  return (Math.min(to, start + stepMs) - Math.max(from, start)) / 1000;
}
