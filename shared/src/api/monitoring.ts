// What is watched of a model version, against what, and what could be seen.
import { z } from 'zod';
import { Instant, ModelName, ModelVersion } from '../identifiers.ts';

/** Where a reference comes from: the manifest, a first period in the field, or a drift that somebody accepted. */
export const ReferenceSource = z.enum(['manifest', 'field', 'accepted']);
export type ReferenceSource = z.infer<typeof ReferenceSource>;

export const ReferenceInfo = z.object({
  source: ReferenceSource,
  rows: z.number(),
  signals: z.number(),
  /** The period it was made of, unless it came with the model. */
  from: Instant.nullable(),
  to: Instant.nullable(),
  /** Who froze it, when and why: `system` for a first period. */
  frozenAt: Instant.nullable(),
  by: z.string().nullable(),
  why: z.string().nullable(),
});
export type ReferenceInfo = z.infer<typeof ReferenceInfo>;

/** `not_monitorable`: moves so much by itself that no drift could be told. `insufficient`: too few samples. */
export const SignalStatus = z.enum(['moved', 'unsettled', 'calm', 'not_monitorable', 'insufficient']);

const WatchedRule = z.object({
  ruleId: z.string(),
  windowSeconds: z.number(),
  /** What the rule costs, also one that was made by its false discovery rate. */
  falseAlarmsPerMonth: z.number(),
  /** Of the newest window that was judged. */
  judgedAt: Instant.nullable(),
  verdict: z.enum(['suspicious', 'unsettled', 'calm', 'insufficient']).nullable(),
  summary: z.string(),
  /** Nothing could be judged since then; null while it can. */
  insufficientSince: Instant.nullable(),
  signals: z.array(
    z.object({
      name: z.string(),
      status: SignalStatus,
      psi: z.number().nullable(),
      /** The smallest shift that present traffic shows at this price: in standard deviations, of predicted classes in shares. */
      visible: z.number().nullable(),
    }),
  ),
});

const Interval = z.object({ low: z.number(), high: z.number() });

const Performance = z.object({
  from: Instant,
  to: Instant,
  /** Labels of predictions of this time, however late they came. */
  labels: z.number(),
  accuracy: z.number().nullable(),
  interval: Interval,
  /** What the version was expected to reach, on so many rows. */
  expected: z.object({ accuracy: z.number(), rows: z.number() }).nullable(),
  /** Accuracy less than expected, with what both sides leave open. */
  loss: Interval.nullable(),
  /** Of labels that are numbers, for regressions. */
  errors: z.object({ count: z.number(), absolute: z.number(), squared: z.number() }).nullable(),
  /** An estimate without labels, from how sure the model was; it cannot see that the truth has changed. */
  estimate: z.object({ accuracy: z.number(), samples: z.number(), method: z.string(), caveat: z.string() }).nullable(),
});

export const MonitoringReport = z.object({
  model: ModelName,
  version: ModelVersion,
  reference: ReferenceInfo.nullable(),
  /** While there is no reference: what a first period still needs. */
  collecting: z
    .object({ windows: z.number(), neededWindows: z.number(), samples: z.number(), neededSamples: z.number() })
    .nullable(),
  rules: z.array(WatchedRule),
  performance: Performance,
});
export type MonitoringReport = z.infer<typeof MonitoringReport>;

export const AcceptRequest = z.strictObject({
  /** Why what was seen is to be expected from now on. */
  why: z.string().trim().min(3).max(1000),
});
