// `GET /metrics/query`: series for dashboards, from merged windows.
import { z } from 'zod';
import { ModelName, ModelVersion } from '../identifiers.ts';
import { SelectorText } from '../selector.ts';

/** Metric and unit of its values. `value`: what the signal itself is in. */
export const metricUnits = {
  requests: 'requests',
  succeeded: 'requests',
  failed: 'requests',
  invalid: 'requests',
  rows: 'rows',
  throughput: 'requests/s',
  error_rate: 'ratio',
  latency: 'ms',
  queue_wait: 'ms',
  batch_rows: 'rows',
  labels: 'labels',
  accuracy: 'ratio',
  absolute_error: 'value',
  rms_error: 'value',
  drift: 'psi',
  confidence: 'ratio',
  entropy: 'ratio',
  signal_mean: 'value',
  signal_deviation: 'value',
  signal_min: 'value',
  signal_max: 'value',
  signal_quantile: 'value',
  signal_samples: 'samples',
  missing_rate: 'ratio',
  categories: 'samples',
  shadow_compared: 'rows',
  shadow_agreement: 'ratio',
  shadow_difference: 'score',
  shadow_latency: 'ms',
  shadow_former_latency: 'ms',
  shadow_failed: 'runs',
  shadow_skipped: 'answers',
  lost: 'requests',
  devices: 'devices',
} as const;
export const metrics = [
  ...(['requests', 'succeeded', 'failed', 'invalid', 'rows', 'throughput', 'error_rate'] as const),
  ...(['latency', 'queue_wait', 'batch_rows'] as const),
  ...(['labels', 'accuracy', 'absolute_error', 'rms_error', 'drift', 'confidence', 'entropy'] as const),
  ...(['signal_mean', 'signal_deviation', 'signal_min', 'signal_max', 'signal_quantile', 'signal_samples'] as const),
  ...(['missing_rate', 'categories'] as const),
  ...(['shadow_compared', 'shadow_agreement', 'shadow_difference'] as const),
  ...(['shadow_latency', 'shadow_former_latency', 'shadow_failed', 'shadow_skipped'] as const),
  ...(['lost', 'devices'] as const),
] as const satisfies (keyof typeof metricUnits)[];
export const Metric = z.enum(metrics);
export type Metric = z.infer<typeof Metric>;

/** Metrics that are quantiles of merged sketches: with several quantiles each is a series. */
export const quantileMetrics = [
  ...(['latency', 'queue_wait', 'batch_rows', 'signal_quantile'] as const),
  ...(['shadow_difference', 'shadow_latency', 'shadow_former_latency'] as const),
] as const satisfies Metric[];
export type QuantileMetric = (typeof quantileMetrics)[number];

export function isQuantileMetric(metric: Metric): metric is QuantileMetric {
  return quantileMetrics.some((each) => each === metric);
}

const namedGroups = [
  ...(['model', 'version', 'variant', 'device', 'status', 'hardware'] as const),
  ...(['class', 'predicted', 'signal', 'feature', 'kind'] as const),
] as const;
/** What series are told apart by; `label:KEY` is a label of devices. */
export type GroupBy = (typeof namedGroups)[number] | `label:${string}`;

/** Milliseconds before now. */
export interface BeforeNow {
  beforeNowMs: number;
}

const unitMs = { s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000, w: 604_800_000 } as const;
const duration = /^(\d{1,9})([smhdw])$/;

/** Milliseconds of `90s`, `15m`, `6h`, `7d`, `2w`; undefined for anything else. */
export function durationMs(text: string): number | undefined {
  const [, count, unit] = duration.exec(text) ?? [];
  return count === undefined ? undefined : Number(count) * unitMs[unit as keyof typeof unitMs];
}

const timeForms =
  'must be a time such as 2026-01-31T12:00:00Z, milliseconds since 1970, now, or before now such as -7d';

/** An instant, or so long before now. */
const At = z.string().transform((text, context): number | BeforeNow => {
  if (/^\d{1,15}$/.test(text)) return Number(text);
  if (text === 'now') return { beforeNowMs: 0 };
  const before = durationMs(text.replace(/^(now)?-/, ''));
  if (before !== undefined && /^(now)?-/.test(text)) return { beforeNowMs: before };
  if (z.union([z.iso.datetime({ offset: true }), z.iso.date()]).safeParse(text).success) return Date.parse(text);
  context.addIssue({ code: 'custom', message: timeForms });
  return z.NEVER;
});

const longestStep = 86_400 * 31;
const Step = z
  .string()
  .or(z.number())
  .transform((given, context): number | 'auto' => {
    if (given === 'auto') return 'auto';
    const ms = durationMs(String(given));
    const seconds = ms === undefined ? Number(given) : ms / 1000;
    if (Number.isInteger(seconds) && seconds >= 1 && seconds <= longestStep) return seconds;
    context.addIssue({
      code: 'custom',
      message: 'must be seconds from 1 to 2678400, a time such as 5m or 2h, or auto',
    });
    return z.NEVER;
  });

/** Several values, each by itself or separated by commas. Errors name the parameter, not a place in it. */
function list<T>(read: (text: string) => T | undefined, expected: string, most: number) {
  return z.union([z.string(), z.array(z.string()), z.number()]).transform((given, context): T[] => {
    const texts = [given].flat().flatMap((each) => String(each).split(','));
    const values = [...new Set(texts.map((text) => text.trim()))].map((text) => {
      const value = read(text);
      if (value === undefined) context.addIssue({ code: 'custom', message: `"${text}" is none; use ${expected}` });
      return value;
    });
    if (values.length > most) context.addIssue({ code: 'custom', message: `at most ${most} at once` });
    return values.filter((value) => value !== undefined);
  });
}

/** Names of signals, which may hold anything, commas too: several are several parameters. */
const SignalNames = z
  .union([z.string(), z.array(z.string())])
  .transform((given) => [...new Set([given].flat())])
  .pipe(z.array(z.string().min(1).max(500)).max(20));

function groupOf(text: string): GroupBy | undefined {
  const named = namedGroups.find((name) => name === text);
  if (named !== undefined) return named;
  return /^label:[A-Za-z0-9][A-Za-z0-9._/-]{0,62}$/.test(text) ? (text as GroupBy) : undefined;
}

function periodOf(text: string): { text: string; ms: number } | undefined {
  const ms = text.startsWith('-') ? durationMs(text.slice(1)) : undefined;
  return ms === undefined || ms === 0 ? undefined : { text, ms };
}

function shareOf(text: string): number | undefined {
  const value = Number(text);
  return text !== '' && value >= 0 && value <= 1 ? value : undefined;
}

/**
 * `from` defaults to an hour before `to`, `to` to now. Without `step` and `maxPoints` each series has one point for the whole
 * range.
 */
export const MetricQuery = z.strictObject({
  metric: Metric,
  model: ModelName.optional(),
  /** One, or several to compare. */
  version: list((text) => ModelVersion.safeParse(Number(text)).data, 'version numbers such as 3 or 3,4', 20)
    .optional()
    .describe('One version, or several by commas'),
  /** Of `signal_…`, `missing_rate`, `categories`. */
  signal: SignalNames.optional().describe(
    "Of signal_mean and its like, missing_rate and categories: a signal's name as GET /metrics/window has it, such as input:image:brightness, output:entropy, machine:processor or a feature's own; repeated for several",
  ),
  selector: SelectorText.optional(),
  device: z.string().optional(),
  from: At.optional(),
  to: At.optional(),
  /** Seconds, a time such as 5m, or `auto`: the shortest that makes at most `maxPoints`. */
  step: Step.optional(),
  /** Of each series; 120 with `step=auto`. */
  maxPoints: z.coerce.number().int().min(1).max(5000).optional(),
  groupBy: list(groupOf, `${namedGroups.join(', ')} or label:KEY`, 5)
    .optional()
    .describe(`Up to five by commas of ${namedGroups.join(', ')}, label:KEY`),
  /** Of metrics that are quantiles of a sketch, 0 to 1. */
  quantile: list(shareOf, 'numbers from 0 to 1 such as 0.5,0.95', 10)
    .default([0.95])
    .describe(`Of ${quantileMetrics.join(', ')}: 0 to 1, several by commas`),
  /** The same so much earlier, for example `-1d`, laid on the asked time. */
  compare: list(periodOf, 'times before the asked ones such as -1d or -1d,-7d', 3).optional(),
});
export type MetricQuery = z.infer<typeof MetricQuery>;

export const MetricFormat = z.enum(['json', 'rows', 'csv']);
export type MetricFormat = z.infer<typeof MetricFormat>;

/** What `GET /metrics/query` takes: several metrics, and how the answer is written. */
export const MetricsQuery = MetricQuery.extend({
  metric: list((text) => Metric.safeParse(text).data, metrics.join(', '), 8).describe(
    `Up to eight by commas of ${metrics.join(', ')}`,
  ),
  /** `json`; `rows`: an object a point; `csv`: the same as a table. */
  format: MetricFormat.optional(),
});
export type MetricsQuery = z.infer<typeof MetricsQuery>;

/** What `GET /metrics/stream` takes. */
export const MetricStreamQuery = MetricQuery.extend({
  metric: MetricsQuery.shape.metric,
  /** Seconds between two looks. */
  every: z.coerce.number().int().min(1).max(3600).default(5),
});

/** The query language for what asks within the program: single values need no list. */
export interface MetricQuestion {
  metric: Metric;
  model?: string | undefined;
  version?: number | readonly number[] | undefined;
  selector?: string | undefined;
  device?: string | undefined;
  signal?: readonly string[] | undefined;
  from?: number | BeforeNow | undefined;
  to?: number | BeforeNow | undefined;
  step?: number | 'auto' | undefined;
  maxPoints?: number | undefined;
  groupBy?: GroupBy | readonly GroupBy[] | undefined;
  quantile?: number | readonly number[] | undefined;
  compare?: readonly { text: string; ms: number }[] | undefined;
}

export const Series = z.object({
  /** The values of `groupBy`, for example `{"version": "3", "label:site": "paris"}`; empty without it. */
  labels: z.record(z.string(), z.string()),
  /** Which, when several were asked for. */
  quantile: z.number().optional(),
  /** Of the earlier period that `compare` asked for; its points stand at the times that they are compared with. */
  compare: z.string().optional(),
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

/** The answer when several metrics were asked for. */
export const MetricResults = z.object({ results: z.array(MetricResult) });

/** One point, of `format=rows`. */
export const MetricRow = z.object({
  metric: Metric,
  unit: z.string(),
  labels: z.record(z.string(), z.string()),
  quantile: z.number().optional(),
  compare: z.string().optional(),
  at: z.number(),
  value: z.number().nullable(),
});
export type MetricRow = z.infer<typeof MetricRow>;
export const MetricRows = z.object({ rows: z.array(MetricRow) });

/** Data of an event of `GET /metrics/stream`: `whole` at first, then `news`, which holds points that changed or are new. */
export const MetricNews = z.object({ kind: z.enum(['whole', 'news']), results: z.array(MetricResult) });
export type MetricNews = z.infer<typeof MetricNews>;
