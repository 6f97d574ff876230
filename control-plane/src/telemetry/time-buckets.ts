// The time axis of a metric query: a range cut into steps.

import type { BeforeNow, MetricQuestion } from '@edgeloop/shared/api/metrics';
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

type Asked = Pick<MetricQuestion, 'from' | 'to' | 'step' | 'maxPoints' | 'compare'>;

const maxPoints = 5000;
const usualPoints = 120;
const hour = 3_600_000;
/** Steps that `auto` takes, seconds: what is put together of windows fits into all but the shortest. */
const usualSteps = [
  ...[1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10_800, 14_400, 21_600, 43_200],
  ...[86_400, 172_800, 604_800, 1_209_600, 2_592_000],
];

/**
 * The range and steps of a query; an hour up to now by default.
 * @throws AppError `invalid_request` when `from` is not before `to`, or with more than 5000 steps
 */
export function timeBuckets(query: Asked, now: number): TimeBuckets {
  const to = instantOf(query.to, now) ?? now;
  const from = instantOf(query.from, now) ?? Math.max(0, to - hour);
  if (from >= to) {
    throw new AppError(
      'invalid_request',
      `from (${new Date(from).toISOString()}) must be before to (${new Date(to).toISOString()})`,
    );
  }
  const step = query.step === 'auto' || query.step === undefined ? automaticStep(query, { from, to }) : query.step;
  checkPeriods(query, step);
  if (step === undefined) return { from, to, stepMs: undefined, starts: [from] };
  const stepMs = step * 1000;
  const count = pointsOf({ from, to }, stepMs);
  const most = query.maxPoints ?? maxPoints;
  if (count > most) {
    const enough = Math.ceil((to - from) / 1000 / Math.max(1, most - 1));
    throw new AppError(
      'invalid_request',
      `step=${step} makes ${count} points, at most ${most} are possible; use step=${enough} or a shorter range`,
    );
  }
  const first = from - (from % stepMs);
  return { from, to, stepMs, starts: Array.from({ length: count }, (_, i) => first + i * stepMs) };
}

export function instantOf(at: number | BeforeNow | undefined, now: number): number | undefined {
  return typeof at === 'object' ? Math.max(0, now - at.beforeNowMs) : at;
}

function automaticStep({ step, maxPoints: asked }: Asked, range: { from: number; to: number }): number | undefined {
  if (step === undefined && asked === undefined) return undefined;
  const most = asked ?? usualPoints;
  const found = usualSteps.find((each) => pointsOf(range, each * 1000) <= most);
  if (found !== undefined) return found;
  throw new AppError(
    'invalid_request',
    `maxPoints=${most} is too few for this range even with steps of a month; use more, or leave out step and maxPoints for one point`,
  );
}

function pointsOf({ from, to }: { from: number; to: number }, stepMs: number): number {
  return Math.ceil((to - (from - (from % stepMs))) / stepMs);
}

/** Steps begin at multiples of their length, in an earlier period too. */
function checkPeriods({ compare }: Asked, step: number | undefined): void {
  for (const { text, ms } of compare ?? []) {
    if (step === undefined || ms % (step * 1000) === 0) continue;
    throw new AppError(
      'invalid_request',
      `compare=${text} is no multiple of the step of ${step} seconds; choose another step`,
    );
  }
}

/** The same so much earlier. */
export function shifted({ from, to, stepMs, starts }: TimeBuckets, byMs: number): TimeBuckets {
  return { from: from - byMs, to: to - byMs, stepMs, starts: starts.map((at) => at - byMs) };
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
