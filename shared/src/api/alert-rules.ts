// Alert rules, as data: what is judged, against what, and who is told.
import { z } from 'zod';
import { DeviceId, Instant, ModelName, ModelVersion } from '../identifiers.ts';
import { Labels, SelectorText } from '../selector.ts';
import { AlertMatch, Severity } from './alert-match.ts';
import { metrics, metricUnits } from './metrics.ts';

/** What the control plane knows of its fleet and itself beside telemetry, and its unit. */
export const fleetFigureUnits = {
  /** Of the devices that ever connected, those that are away for `overSeconds`. */
  offline_share: 'ratio',
  offline_devices: 'devices',
  /** By device: for how long it is away. */
  offline_seconds: 's',
  /** By device: how far its clock is off, either way. */
  clock_offset: 'ms',
  /** By device: how often a session of this identity was taken over by another. */
  identity_takeovers: 'takeovers',
  /** By device: for how long it follows a state that this server never gave. */
  conflicting_seconds: 's',
  /** By model and version: devices that tried the version, failed, and do not try it again. */
  quarantined_devices: 'devices',
  /** Of the disk of this server's data folder, what is free. */
  disk_free_share: 'ratio',
} as const;
export const fleetFigures = [
  'offline_share',
  'offline_devices',
  'offline_seconds',
  'clock_offset',
  'identity_takeovers',
  'conflicting_seconds',
  'quarantined_devices',
  'disk_free_share',
] as const satisfies (keyof typeof fleetFigureUnits)[];
export const FleetFigure = z.enum(fleetFigures);
export type FleetFigure = z.infer<typeof FleetFigure>;

export const ruleUnits: Readonly<Record<string, string>> = { ...metricUnits, ...fleetFigureUnits };

const common = {
  enabled: z.boolean().default(true),
  /** Channels to notify, beside those that match its alerts by themselves. */
  channels: z.array(z.string()).default([]),
  severity: Severity.default('warning'),
  /** Of its alerts, beside what they are about. */
  labels: Labels.default({}),
  /** While an alert of this rule fires, alerts that match and have no label with another value are not told. */
  inhibits: z.array(AlertMatch).max(20).default([]),
};

/** Drift of inputs or outputs against the reference profile, by a threshold that knows the sample size. */
const DriftRule = z.strictObject({
  ...common,
  model: ModelName,
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
  model: ModelName,
  kind: z.literal('accuracy'),
  windowSeconds: z.number().int().min(1).default(3600),
  minLabels: z.number().int().min(1).default(50),
  /** Points of accuracy (0 to 1) below the reference accuracy of the version that count as a loss. */
  maxLoss: z.number().gt(0).max(1).default(0.05),
});

const lookbackSeconds = (fallback: number) => z.number().int().min(10).max(31_536_000).default(fallback);

/**
 * `clear`, `clearRatio`: what the value must come back to before it counts as calm; by default the bound itself, and of ratios
 * six tenths of the way.
 */
export const MetricCondition = z.discriminatedUnion('is', [
  z.strictObject({ is: z.literal('above'), bound: z.number(), clear: z.number().optional() }),
  z.strictObject({ is: z.literal('below'), bound: z.number(), clear: z.number().optional() }),
  /** So many times what it was before: for a new version, what the version before it had. */
  z.strictObject({
    is: z.literal('above_past'),
    ratio: z.number().gt(1),
    clearRatio: z.number().gt(0).optional(),
    lookbackSeconds: lookbackSeconds(86_400),
    /** A smaller difference does not count, in the metric's unit. */
    minDifference: z.number().min(0).default(0),
  }),
  z.strictObject({
    is: z.literal('below_past'),
    ratio: z.number().gt(0).lt(1),
    clearRatio: z.number().gt(0).optional(),
    lookbackSeconds: lookbackSeconds(86_400),
    minDifference: z.number().min(0).default(0),
  }),
  /**
   * An anomaly: so many robust deviations away from what devices of its kind show now, from what is usual for itself at this hour of the day
   * or week, or from both. Judged are whole stretches of `overSeconds`. `alike`: devices are of a kind by their value of this label; all that the rule asks of when it is unset.
   */
  z.strictObject({
    is: z.literal('unlike'),
    of: z.enum(['peers', 'past', 'both']).default('both'),
    deviations: z.number().gt(0).max(1000).default(8),
    side: z.enum(['above', 'below', 'either']).default('either'),
    alike: z.string().min(1).max(63).optional(),
    lookbackSeconds: lookbackSeconds(2_419_200),
    minDifference: z.number().min(0).default(0),
  }),
  /** Nothing came for `overSeconds`, and for longer than it ever paused in the time looked back on. */
  z.strictObject({ is: z.literal('absent'), lookbackSeconds: lookbackSeconds(604_800) }),
]);
export type MetricCondition = z.infer<typeof MetricCondition>;

/** Any metric of `GET /metrics/query`, or a figure of the fleet. */
export const MetricRule = z.strictObject({
  ...common,
  kind: z.literal('metric'),
  /** For people. */
  name: z.string().min(1).max(200).optional(),
  metric: z.enum([...metrics, ...fleetFigures]),
  model: ModelName.optional(),
  version: ModelVersion.optional(),
  selector: SelectorText.optional(),
  device: DeviceId.optional(),
  /** Of `signal_mean` and its like, `missing_rate`, `categories`: which signal. */
  signal: z.string().min(1).max(500).optional(),
  /** Of metrics that are quantiles. */
  quantile: z.coerce.number().min(0).max(1).default(0.95),
  /** One alert for each value: as in `GET /metrics/query`; `offline_share` and `offline_devices` group by a key of devices' labels. */
  groupBy: z.string().min(1).max(63).optional(),
  /** The value is of so much time up to now. */
  overSeconds: z.number().int().min(1).max(604_800).default(300),
  /** Where that has too little evidence, of so much. */
  widenToSeconds: z.number().int().min(1).max(2_592_000).optional(),
  condition: MetricCondition,
  /** Requests, labels or devices that the value must be made of; below it nothing is decided. */
  minEvidence: z.number().int().min(0).default(20),
  /** How long it must hold before the alert fires, and how long it must be calm before it ends. */
  forSeconds: z.number().int().min(0).max(604_800).default(60),
  calmSeconds: z.number().int().min(0).max(604_800).default(300),
});
export type MetricRule = z.infer<typeof MetricRule>;

export const AlertRuleSpec = z.discriminatedUnion('kind', [DriftRule, AccuracyRule, MetricRule]);
export type AlertRuleSpec = z.infer<typeof AlertRuleSpec>;
export const AlertRule = z.object({ id: z.string(), createdAt: Instant, spec: AlertRuleSpec });
export type AlertRule = z.infer<typeof AlertRule>;

/** Also how its last evaluation went; null: not looked at since this process began. Of metric rules only. */
export const ListedAlertRule = AlertRule.extend({
  evaluation: z
    .object({
      at: Instant,
      /** Groups that were judged, and how many of them had too little evidence. */
      groups: z.number().int(),
      insufficient: z.number().int(),
      /** Alerts that were not opened since the rule has as many as it may. */
      leftOut: z.number().int(),
      milliseconds: z.number(),
      /** Why it could not be evaluated. */
      error: z.string().nullable(),
    })
    .nullable()
    .optional(),
});
export type ListedAlertRule = z.infer<typeof ListedAlertRule>;

/** `create=true`: where there is no rule with this id, one is made. */
export const RuleReplaceQuery = z.object({ create: z.enum(['true', 'false']).optional() });
export const RuleId = z
  .string()
  .regex(/^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$/, 'must be 1 to 100 letters, digits, ".", "_" or "-"');
