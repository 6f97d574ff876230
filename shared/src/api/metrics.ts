// `GET /metrics/query`: series for dashboards, from merged windows.
import { z } from 'zod';
import { ModelName, ModelVersion } from '../identifiers.ts';
import { SelectorText } from '../selector.ts';

/** Metric and unit of its values. */
export const metricUnits = {
  requests: 'requests',
  succeeded: 'requests',
  failed: 'requests',
  invalid: 'requests',
  rows: 'rows',
  throughput: 'requests/s',
  error_rate: 'ratio',
  latency: 'ms',
  labels: 'labels',
  accuracy: 'ratio',
  drift: 'psi',
  confidence: 'ratio',
  lost: 'requests',
} as const;
export const metrics = [
  'requests',
  'succeeded',
  'failed',
  'invalid',
  'rows',
  'throughput',
  'error_rate',
  'latency',
  'labels',
  'accuracy',
  'drift',
  'confidence',
  'lost',
] as const satisfies (keyof typeof metricUnits)[];
export const Metric = z.enum(metrics);
export type Metric = z.infer<typeof Metric>;

/** An instant: milliseconds since the epoch, or ISO 8601. */
const At = z.union(
  [z.string().regex(/^\d+$/).transform(Number), z.iso.datetime({ offset: true }).transform((text) => Date.parse(text))],
  'must be a time such as 2026-01-31T12:00:00Z, or milliseconds since 1970',
);

/** `from` defaults to an hour before `to`, `to` to now. Without `step` each series has one point for the whole range. */
export const MetricQuery = z.object({
  metric: Metric,
  model: ModelName.optional(),
  version: z.coerce.number().pipe(ModelVersion).optional(),
  selector: SelectorText.optional(),
  device: z.string().optional(),
  from: At.optional(),
  to: At.optional(),
  /** Seconds. */
  step: z.coerce
    .number()
    .int()
    .min(1)
    .max(86_400 * 31)
    .optional(),
  groupBy: z.enum(['model', 'version', 'device', 'class', 'feature']).optional(),
  /** Quantile of `latency`, 0 to 1. */
  quantile: z.coerce.number().min(0).max(1).default(0.95),
});
export type MetricQuery = z.infer<typeof MetricQuery>;

export const Series = z.object({
  /** The value of `groupBy`, for example `{"version": "3"}`; empty without it. */
  labels: z.record(z.string(), z.string()),
  /** `at` is the beginning of the step; null where there is no data. */
  points: z.array(z.object({ at: z.number(), value: z.number().nullable() })),
});
export type Series = z.infer<typeof Series>;

export const MetricResult = z.object({
  metric: Metric,
  unit: z.string(),
  from: z.number(),
  to: z.number(),
  stepSeconds: z.number(),
  series: z.array(Series),
});
export type MetricResult = z.infer<typeof MetricResult>;
