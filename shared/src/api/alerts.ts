// Alert rules, alerts and where they are sent.
import { z } from 'zod';
import { Instant, ModelName, ModelVersion } from '../identifiers.ts';

const common = {
  model: ModelName,
  enabled: z.boolean().default(true),
  /** Channels to notify. */
  channels: z.array(z.string()).default([]),
};

/** Drift of inputs or outputs against the reference profile, by a threshold that knows the sample size. */
const DriftRule = z.strictObject({
  ...common,
  kind: z.literal('drift'),
  /** Length of one judged window, seconds. */
  windowSeconds: z.number().int().min(1).default(3600),
  /** Samples that a window must have to be judged. */
  minSamples: z.number().int().min(30).default(300),
  /** How many alerts a month may be false, 30 days; decides instead of `falseDiscoveryRate` when it is set. */
  falseAlarmsPerMonth: z.number().gt(0).max(1000).optional(),
  /** False discovery rate over features and devices in a window, 0 to 1: what rules were made with before. */
  falseDiscoveryRate: z.number().gt(0).max(0.5).default(0.01),
  /** Smallest PSI that counts, whatever the statistics say. */
  minPsi: z.number().min(0).default(0.1),
});

/** Accuracy from labels below a bound, with its confidence interval wholly below. */
const AccuracyRule = z.strictObject({
  ...common,
  kind: z.literal('accuracy'),
  windowSeconds: z.number().int().min(1).default(3600),
  minLabels: z.number().int().min(1).default(50),
  /** Points of accuracy (0 to 1) below the reference accuracy of the version that count as a loss. */
  maxLoss: z.number().gt(0).max(1).default(0.05),
});

export const AlertRuleSpec = z.discriminatedUnion('kind', [DriftRule, AccuracyRule]);
export type AlertRuleSpec = z.infer<typeof AlertRuleSpec>;
export const AlertRule = z.object({ id: z.string(), createdAt: Instant, spec: AlertRuleSpec });
export type AlertRule = z.infer<typeof AlertRule>;

/**
 * Counts before (in the reference) and after, bin by bin: of a numeric signal under the first edge, between the edges, over the last
 * and missing; of classes by `names`.
 */
export const ComparedHistogram = z.object({
  edges: z.array(z.number()).optional(),
  names: z.array(z.string()).optional(),
  before: z.array(z.number()),
  after: z.array(z.number()),
});
export type ComparedHistogram = z.infer<typeof ComparedHistogram>;

export const AlertStatus = z.enum(['pending', 'firing', 'resolved']);

export const Alert = z.object({
  id: z.string(),
  ruleId: z.string(),
  kind: z.enum(['drift', 'accuracy']),
  model: ModelName,
  version: ModelVersion,
  status: AlertStatus,
  startedAt: Instant,
  firedAt: Instant.nullable(),
  resolvedAt: Instant.nullable(),
  acknowledgedBy: z.string().nullable(),
  silencedUntil: Instant.nullable(),
  summary: z.string(),
  /** What moved most, strongest first. */
  features: z.array(
    z.object({
      name: z.string(),
      psi: z.number(),
      threshold: z.number(),
      /** How it changed: `higher`, `wider`, `more often missing` … */
      change: z.string().optional(),
      /** The same bins in the reference and in the window that was judged. */
      histogram: ComparedHistogram.optional(),
    }),
  ),
  /** Which devices show it: `device`, `cohort` or `fleet`. */
  scope: z.object({
    kind: z.enum(['device', 'cohort', 'fleet', 'unknown']),
    devices: z.array(z.string()),
    detail: z.string(),
    /** What seems wrong with the sensors of these devices, when it is not the whole fleet. */
    faults: z
      .array(
        z.object({
          device: z.string(),
          signal: z.string(),
          kind: z.enum(['dead', 'stuck', 'offset', 'scaled', 'noisy']),
          detail: z.string(),
        }),
      )
      .optional(),
  }),
  value: z.number().nullable(),
});
export type Alert = z.infer<typeof Alert>;

export const AlertQuery = z.object({ model: ModelName.optional(), status: AlertStatus.optional() });
export const SilenceRequest = z.strictObject({ seconds: z.number().int().min(1).max(31_536_000) });

/**
 * A webhook that receives alerts as JSON, signed as https://www.standardwebhooks.com says. Redirects are not followed, and
 * addresses that are not public are refused unless `EDGELOOP_WEBHOOK_ALLOW` names them.
 */
export const ChannelSpec = z.strictObject({
  name: z.string().min(1).max(100),
  kind: z.literal('webhook'),
  url: z.url({ protocol: /^https?$/ }),
});
/** A user and password of `url` are not shown. */
export const NotificationChannel = ChannelSpec.extend({ id: z.string(), createdAt: Instant });
export type NotificationChannel = z.infer<typeof NotificationChannel>;
/** The secret that messages are signed with, `whsec_…`; it is shown once. */
export const CreatedNotificationChannel = NotificationChannel.extend({ secret: z.string() });
export type CreatedNotificationChannel = z.infer<typeof CreatedNotificationChannel>;
