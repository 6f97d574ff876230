// Pipelines and their runs.
import { z } from 'zod';
import { Instant, ModelName, ModelVersion } from '../identifiers.ts';
import { Manifest } from '../manifest.ts';
import { RolloutPlan } from './rollouts.ts';

export const TrainerSpec = z.discriminatedUnion('kind', [
  z.strictObject({ kind: z.literal('softmax'), parameters: z.record(z.string(), z.unknown()).default({}) }),
  z.strictObject({ kind: z.literal('mlp'), parameters: z.record(z.string(), z.unknown()).default({}) }),
]);
export type TrainerSpec = z.infer<typeof TrainerSpec>;

export const PipelineSpec = z.strictObject({
  name: ModelName,
  /** The model that the pipeline makes versions of. */
  model: ModelName,
  dataset: ModelName,
  /** Before training, build a new dataset version from the newest one and the labelled field samples of the model. */
  refreshFromField: z.boolean().default(true),
  trainer: TrainerSpec,
  seed: z.number().int().min(0).default(1),
  /** Parts of the manifest that the trainer cannot know: capture, batching, … */
  manifest: Manifest.pick({ description: true, batching: true, instances: true, capture: true }).partial().default({}),
  evaluation: z
    .strictObject({
      /** Points of accuracy (0 to 1) by which the challenger must beat the champion on the same held-out rows. */
      minGain: z.number().min(-1).max(1).default(0),
      /** Confidence of the paired comparison, 0.5 to 1. */
      confidence: z.number().min(0.5).lt(1).default(0.95),
      /** Held-out rows without which nothing is decided. */
      minRows: z.number().int().min(1).default(50),
    })
    .prefault({}),
  trigger: z
    .strictObject({
      onDrift: z.boolean().default(false),
      onAccuracy: z.boolean().default(false),
      /** Labelled field samples of the degraded period that must be there before a triggered run starts. */
      minLabels: z.number().int().min(0).default(200),
      cooldownSeconds: z.number().int().min(0).default(3600),
    })
    .prefault({}),
  /** Rollout of a challenger that wins; without it the version is only registered. */
  release: RolloutPlan.optional(),
  timeoutSeconds: z.number().int().min(1).max(604_800).default(3600),
});
export type PipelineSpec = z.infer<typeof PipelineSpec>;
export const Pipeline = z.object({ spec: PipelineSpec, createdAt: Instant, updatedAt: Instant });
export type Pipeline = z.infer<typeof Pipeline>;

export const RunCause = z.discriminatedUnion('kind', [
  z.object({ kind: z.literal('manual'), by: z.string() }),
  z.object({ kind: z.literal('alert'), alertId: z.string() }),
]);
export type RunCause = z.infer<typeof RunCause>;

export const runStatuses = [
  'queued',
  'waiting_for_labels',
  'running',
  'succeeded',
  'rejected',
  'failed',
  'cancelled',
] as const;

/** `rejected`: trained and evaluated well, but the challenger did not beat the champion. */
export const RunStatus = z.enum(runStatuses);
export type RunStatus = z.infer<typeof RunStatus>;

export const Evaluation = z.object({
  rows: z.number().int(),
  challenger: z.number(),
  champion: z.number().nullable(),
  championVersion: ModelVersion.nullable(),
  /** Challenger minus champion with the bounds of its confidence interval. */
  gain: z.object({ value: z.number(), low: z.number(), high: z.number() }).nullable(),
  won: z.boolean(),
  detail: z.string(),
});
export type Evaluation = z.infer<typeof Evaluation>;

export const Run = z.object({
  id: z.string(),
  pipeline: ModelName,
  model: ModelName,
  status: RunStatus,
  stage: z.enum(['queued', 'data', 'training', 'evaluation', 'registration', 'release', 'done']),
  cause: RunCause,
  seed: z.number().int(),
  trainer: TrainerSpec,
  dataset: z.object({ name: z.string(), version: z.number().int(), digest: z.string() }).nullable(),
  metrics: z.record(z.string(), z.number()),
  evaluation: Evaluation.nullable(),
  registeredVersion: ModelVersion.nullable(),
  rolloutId: z.string().nullable(),
  error: z.string().nullable(),
  createdAt: Instant,
  startedAt: Instant.nullable(),
  endedAt: Instant.nullable(),
});
export type Run = z.infer<typeof Run>;
export const RunStep = z.object({ step: z.number().int(), name: z.string(), value: z.number() });
export type RunStep = z.infer<typeof RunStep>;
export const RunDetail = Run.extend({ steps: z.array(RunStep) });
export type RunDetail = z.infer<typeof RunDetail>;
export const RunQuery = z.object({ pipeline: ModelName.optional(), model: ModelName.optional() });
export const RunLog = z.object({ lines: z.array(z.object({ at: Instant, text: z.string() })) });
export const RunStart = z.strictObject({ seed: z.number().int().min(0).optional() });
