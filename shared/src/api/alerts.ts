// Alerts and silences.
import { z } from 'zod';
import { Instant, ModelName, ModelVersion } from '../identifiers.ts';
import { AlertKind, AlertMatch, Severity } from './alert-match.ts';

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

/** Whether what the alert says is of now. `insufficient`: since `since` too little came in to judge, numbers are of `numbersAt`. */
export const AlertEvidence = z.object({
  state: z.enum(['fresh', 'insufficient']),
  since: Instant,
  numbersAt: Instant,
  detail: z.string(),
});
export type AlertEvidence = z.infer<typeof AlertEvidence>;

/** How it ended. What the alert says of its cause stays as it was. */
export const AlertResolution = z.object({
  /** `gone`: what it was about is no longer there. `accepted`: somebody said that it is the new normal. */
  kind: z.enum(['calm', 'replaced', 'rule_disabled', 'rule_deleted', 'gone', 'accepted']),
  summary: z.string(),
});
export type AlertResolution = z.infer<typeof AlertResolution>;

/** Ids of what led to it, of what it caused, and of what ended it. */
export const AlertLinks = z.object({
  /** Rollouts that brought the version. */
  causedBy: z.array(z.string()),
  runs: z.array(z.string()),
  /** Rollouts of those runs. */
  rollouts: z.array(z.string()),
  /** Rollouts of what answers instead. */
  resolvedBy: z.array(z.string()),
});
export type AlertLinks = z.infer<typeof AlertLinks>;

export const Alert = z.object({
  id: z.string(),
  ruleId: z.string(),
  kind: AlertKind,
  /** Null where it is about no single model or version. */
  model: ModelName.nullable(),
  version: ModelVersion.nullable(),
  severity: Severity,
  /** Of its rule, and of what it is about: `device`, `site`, … */
  labels: z.record(z.string(), z.string()),
  status: AlertStatus,
  startedAt: Instant,
  firedAt: Instant.nullable(),
  resolvedAt: Instant.nullable(),
  acknowledgedBy: z.string().nullable(),
  acknowledgedAt: Instant.nullable(),
  /** What they wrote. */
  note: z.string().nullable(),
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
  /** What the value is held against, and what it was before, where the rule asks. */
  bound: z.number().nullable(),
  baseline: z.number().nullable(),
  evidence: AlertEvidence,
  resolution: AlertResolution.nullable(),
  links: AlertLinks,
});
export type Alert = z.infer<typeof Alert>;

/**
 * Whether the sensors of single devices are wrong, not the world: then nothing is to be learned from it. One device alone, or
 * several that are dead, stuck or noisy; an offset that several share may be a change of what they look at.
 */
export function isSensorFault({ kind, devices, faults = [] }: Alert['scope']): boolean {
  if (kind === 'device') return faults.length > 0;
  if (kind === 'fleet' || devices.length === 0) return false;
  const broken = new Set(
    faults.filter((fault) => ['dead', 'stuck', 'noisy'].includes(fault.kind)).map(({ device }) => device),
  );
  return devices.every((device) => broken.has(device));
}

/** Its value over time, oldest first; older ones more thinly. */
export const AlertHistory = z.array(
  z.object({ at: Instant, value: z.number().nullable(), bound: z.number().nullable() }),
);
export type AlertHistory = z.infer<typeof AlertHistory>;

/** Also what keeps it from being told. */
export const ListedAlert = Alert.extend({
  /** Ids of silences. */
  silencedBy: z.array(z.string()),
  /** Id of a firing alert that explains it. */
  inhibitedBy: z.string().nullable(),
});
export type ListedAlert = z.infer<typeof ListedAlert>;
export const AlertDetail = ListedAlert.extend({ history: AlertHistory });
export type AlertDetail = z.infer<typeof AlertDetail>;

export const AlertQuery = z.object({
  model: ModelName.optional(),
  status: AlertStatus.optional(),
  severity: Severity.optional(),
  rule: z.string().optional(),
});
export const AckRequest = z.strictObject({ note: z.string().max(2000).optional() });
export const SilenceRequest = z.strictObject({ seconds: z.number().int().min(1).max(31_536_000) });

/** No notifications of alerts that match, until then. */
export const SilenceSpec = z.strictObject({
  match: AlertMatch,
  seconds: z.number().int().min(1).max(31_536_000),
  /** When it begins, at once when unset. */
  startsAt: Instant.optional(),
  comment: z.string().max(2000).default(''),
});
export const Silence = z.object({
  id: z.string(),
  match: AlertMatch,
  comment: z.string(),
  createdBy: z.string(),
  createdAt: Instant,
  startsAt: Instant,
  endsAt: Instant,
  status: z.enum(['pending', 'active', 'expired']),
});
export type Silence = z.infer<typeof Silence>;

/** One step of what led to an alert and what came of it. */
export const ChainStep = z.object({
  at: Instant.nullable(),
  what: z.enum(['rollout', 'alert_began', 'alert_fired', 'acknowledged', 'run', 'alert_resolved']),
  role: z.enum(['cause', 'alert', 'consequence', 'end']),
  id: z.string(),
  summary: z.string(),
});
export const AlertChain = z.object({ alertId: z.string(), steps: z.array(ChainStep) });
export type AlertChain = z.infer<typeof AlertChain>;
