// The contract between the control plane and a trainer: a folder to read from, a folder to write to, and exit codes.
// The built-in trainers follow it like any other command.

import { Sha256 } from '@edgeloop/shared/identifiers';
import { Manifest } from '@edgeloop/shared/manifest';
import { z } from 'zod';

/** `job.json`. */
export const JobDescription = z.object({
  contract: z.literal(1),
  runId: z.string(),
  /** Which built-in trainer, with its parameters. */
  trainer: z.string(),
  parameters: z.record(z.string(), z.unknown()),
  seed: z.number().int(),
  dataset: z.object({ name: z.string(), version: z.number().int(), digest: Sha256 }),
  /** Seconds after which the trainer is stopped. */
  budget: z.object({ seconds: z.number() }),
  /** The column to predict. */
  target: z.string(),
  /** What the result is judged by, on the test split. */
  metric: z.literal('accuracy'),
  classes: z.array(z.string()),
});
export type JobDescription = z.infer<typeof JobDescription>;

/** `data/schema.json`. */
export const JobSchema = z.object({ features: z.array(z.string()), label: z.string(), classes: z.array(z.string()) });
export type JobSchema = z.infer<typeof JobSchema>;

/** `output/manifest.json`: how raw features go in and class scores come out. */
export const TrainedManifest = z.object({ inputs: Manifest.shape.inputs, outputs: Manifest.shape.outputs });
export type TrainedManifest = z.infer<typeof TrainedManifest>;

/** `output/failure.json`: a reason for people. */
export const TrainerFailure = z.object({ reason: z.string().max(10_000) });

/** Where things are in the job folder. */
export const jobFiles = {
  job: 'job.json',
  schema: 'data/schema.json',
  model: 'output/model.onnx',
  manifest: 'output/manifest.json',
  metrics: 'output/metrics.jsonl',
  predictions: 'output/predictions.parquet',
  failure: 'output/failure.json',
} as const;

/** What the exit code of a trainer means. */
export const exitCodes = { done: 0, badInput: 64, tryAgain: 75, outOfMemory: 137, cancelled: 143 } as const;

/** Column of `predictions.parquet` with the predicted class; the others are `scoreColumn(0)`, … in the order of the labels. */
export const predictedColumn = 'predicted';

/** Class names are no column names: a table's columns do not tell upper from lower case. */
export function scoreColumn(classIndex: number): string {
  return `score_${classIndex}`;
}
