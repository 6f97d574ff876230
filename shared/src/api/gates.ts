// What gates of a rollout are asked and what they answer.
import { z } from 'zod';

/** `gate` holds a wave up and stops the rollout; `warn` only says; `off` is not looked at. */
const Mode = z.enum(['gate', 'warn', 'off']);

/** A quantile of the new version's latency, each device in multiples of its own before. */
export const LatencyGate = z.strictObject({
  mode: Mode.default('gate'),
  quantile: z.number().gt(0).lt(1).default(0.9),
  /** Highest factor by which the quantile may grow. */
  maxRatio: z.number().min(1).max(100).default(1.5),
  /** A growth of fewer milliseconds than this is let be. */
  minRiseMs: z.number().min(0).default(10),
  /** Absolute bound on the quantile, whatever the old version took. */
  maxMs: z.number().gt(0).optional(),
});
export type LatencyGate = z.infer<typeof LatencyGate>;

/** Accuracy by labels. `auto`: a gate where labels have come soon enough to wait for, otherwise a fault is seen but none awaited. */
export const AccuracyGate = z.strictObject({
  mode: z.enum(['auto', ...Mode.options]).default('auto'),
  /** Highest loss, as a share: 0.05 are five points. */
  maxLoss: z.number().min(0).max(1).default(0.05),
  /** Labels that both sides must have before a wave passes. */
  minLabels: z.number().int().min(0).default(50),
  /** Absolute bound on the accuracy, whatever the old version reached. */
  min: z.number().min(0).max(1).optional(),
});
export type AccuracyGate = z.infer<typeof AccuracyGate>;

/** Shares of predicted classes. */
export const DriftGate = z.strictObject({
  mode: Mode.default('warn'),
  /** Largest change of the share of any class. */
  maxShift: z.number().min(0).max(1).default(0.2),
});
export type DriftGate = z.infer<typeof DriftGate>;

/** The version over captured samples of the field, before the first device is told. `warn` holds nobody up. */
export const BacktestGate = z.strictObject({
  mode: Mode.default('off'),
  /** Samples of so many last days. */
  days: z.number().gt(0).max(90).default(7),
  /** Highest share of samples that may be answered otherwise than now; unset: any. */
  maxChanged: z.number().min(0).max(1).optional(),
  /** Highest loss of accuracy on labelled samples, as a share; of numbers, by which share the mean error may grow. */
  maxLoss: z.number().min(0).max(1).default(0.05),
  /** Samples without which nothing is judged. */
  minSamples: z.number().int().min(1).default(100),
  /** Labelled samples without which the loss is not judged. */
  minLabels: z.number().int().min(1).default(30),
});
export type BacktestGate = z.infer<typeof BacktestGate>;

/** What a shadow says beside what answers. A run of it that fails agrees with nobody. */
export const ShadowGate = z.strictObject({
  mode: z.enum(['gate', 'warn']).default('gate'),
  /** Least share of answers that must be the same. */
  minAgreement: z.number().min(0).max(1).default(0.9),
  /** Answers that must have been compared before a wave passes. */
  minCompared: z.number().int().min(1).default(100),
});
export type ShadowGate = z.infer<typeof ShadowGate>;

export const gateNames = [
  'backtest',
  'failed_devices',
  'error_rate',
  'error_rise',
  'latency',
  'accuracy',
  'drift',
  'shadow_agreement',
] as const;

/** Shares from 0 to 1; of latency, `value` and `baseline` are milliseconds, and the effect a factor. */
export const GateNumbers = z.object({
  /** The devices of the wave, or all that have the version. */
  over: z.enum(['wave', 'all']),
  /** `rest`: the old version elsewhere in the same time. `last_period`: the old version before. */
  comparedWith: z.enum(['rest', 'last_period', 'bound', 'nothing']),
  value: z.number().nullable(),
  baseline: z.number().nullable(),
  /** How far the value is from the baseline: a difference, or for latency a factor. */
  effect: z.number().nullable(),
  /** Interval of the effect that holds at every look together. */
  low: z.number().nullable(),
  high: z.number().nullable(),
  bound: z.number(),
  alpha: z.number(),
  /** Requests, labels or answers that were counted, and on how many devices. */
  evidence: z.number(),
  devices: z.number().nullable(),
  baselineEvidence: z.number(),
  baselineDevices: z.number(),
  minimum: z.number(),
  /** Correlation of requests of one device, that makes evidence of few devices weigh less. */
  correlation: z.number().nullable(),
  /** The smallest effect that this evidence would have shown four times of five. */
  detectable: z.number().nullable(),
});
export type GateNumbers = z.infer<typeof GateNumbers>;
