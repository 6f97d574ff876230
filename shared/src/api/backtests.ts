// A version that was run over captured samples of the field, before any device has it.
import { z } from 'zod';
import { Instant, ModelName, ModelVersion } from '../identifiers.ts';
import { SelectorText } from '../selector.ts';

export const BacktestCreate = z.strictObject({
  /** Samples of so many last days. */
  days: z.number().gt(0).max(90).default(7),
  /** Samples at most, spread over the days. */
  limit: z.number().int().min(1).max(100_000).default(20_000),
  /** Of these devices. */
  selector: SelectorText.default(''),
  /** The version to compare with; unset: the stable one, or else the one that most devices should run. */
  baseline: ModelVersion.optional(),
});
export type BacktestCreate = z.infer<typeof BacktestCreate>;

const Count = z.number().int().min(0);

/** Samples that have something in common. */
export const BacktestSlice = z.object({
  /** What they have in common: a label of their devices, the version that answered them, why they were captured, or the class that the baseline gives them. */
  by: z.enum(['label', 'version', 'reason', 'class']),
  /** Of `label`: its key. */
  key: z.string(),
  value: z.string(),
  /** Those that both could be asked. */
  samples: Count,
  changed: Count,
  /** Of classifiers: those with a label, and how many of them each has right. */
  labelled: Count,
  candidateRight: Count,
  baselineRight: Count,
});
export type BacktestSlice = z.infer<typeof BacktestSlice>;

const Interval = z.object({ value: z.number(), low: z.number(), high: z.number() });

/** On samples with a label that both could be asked; without a baseline, on all with a label. */
export const BacktestAccuracy = z.object({
  labelled: Count,
  candidate: z.number(),
  baseline: z.number().nullable(),
  /** Candidate minus baseline, pair by pair, with an interval of 99 %. */
  gain: Interval.nullable(),
});
export type BacktestAccuracy = z.infer<typeof BacktestAccuracy>;

/** Of numbers: how far each label was missed, on average. */
export const BacktestError = z.object({
  labelled: Count,
  candidate: z.number(),
  baseline: z.number().nullable(),
  /** Candidate minus baseline, pair by pair, with an interval of 99 %: above 0 is worse. */
  rise: Interval.nullable(),
});
export type BacktestError = z.infer<typeof BacktestError>;

/** Of one value of a model that gives numbers: by how much the two differ. */
export const BacktestDifference = z.object({
  name: z.string(),
  /** From the 5th to the 95th percentile of the baseline's own values. */
  range: z.number(),
  p50: z.number(),
  p90: z.number(),
  p99: z.number(),
  max: z.number(),
});
export type BacktestDifference = z.infer<typeof BacktestDifference>;

/** How one of the two did. */
export const BacktestRun = z.object({
  version: ModelVersion,
  answered: Count,
  /** Samples that it takes as little as a device would, and those on which it failed, each with the first reason. */
  refused: Count,
  failed: Count,
  reasons: z.array(z.string()),
  /** Milliseconds of one run of one sample on one processor of the server. */
  latencyMs: z.object({ p50: z.number(), p90: z.number(), p99: z.number() }).nullable(),
});
export type BacktestRun = z.infer<typeof BacktestRun>;

export const BacktestReport = z.object({
  /** When the oldest and the newest of the samples were answered; null without samples. */
  from: Instant.nullable(),
  to: Instant.nullable(),
  /** Those that the candidate was asked. */
  samples: Count,
  /** What the candidate is compared with: the baseline run here on the same samples, or what devices answered in the field. */
  comparedWith: z.enum(['baseline', 'field', 'nothing']),
  /** Why it is this one, or why there is none. */
  why: z.string(),
  candidate: BacktestRun,
  baseline: BacktestRun.nullable(),
  /** Samples that both could be asked, and those that they answer differently; of numbers, by more than 5 % of the range. */
  compared: Count,
  changed: Count,
  /** What devices answered in the field, and how often the candidate would not. */
  field: z.object({ compared: Count, changed: Count }),
  /** Samples that the baseline's version answered in the field, and how often it says the same here. */
  repeated: z.object({ compared: Count, same: Count }).nullable(),
  /** Old class to new class, the most frequent first; null: no answer. */
  transitions: z.array(z.object({ from: z.string().nullable(), to: z.string().nullable(), samples: Count })),
  slices: z.array(BacktestSlice),
  accuracy: BacktestAccuracy.nullable(),
  error: BacktestError.nullable(),
  differences: z.array(BacktestDifference),
  /** Samples that were not asked, and why. */
  leftOut: z.array(z.object({ reason: z.string(), samples: Count })),
  /** Why not all samples of the time were taken. */
  cut: z.string().nullable(),
});
export type BacktestReport = z.infer<typeof BacktestReport>;

export const Backtest = z.object({
  id: z.string(),
  model: ModelName,
  version: ModelVersion,
  status: z.enum(['queued', 'running', 'done', 'failed']),
  asked: BacktestCreate,
  /** The rollout whose gate it is. */
  rolloutId: z.string().nullable(),
  report: BacktestReport.nullable(),
  /** Why there is no report. */
  error: z.string().nullable(),
  /** One sentence with the numbers. */
  summary: z.string(),
  createdAt: Instant,
  createdBy: z.string(),
  startedAt: Instant.nullable(),
  endedAt: Instant.nullable(),
});
export type Backtest = z.infer<typeof Backtest>;
