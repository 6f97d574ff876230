// The control plane's own word on a trained model: it runs the ONNX file itself, on rows that training did not see.
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Split } from '@edgeloop/shared/api/data';
import type { ModelVersionDetail } from '@edgeloop/shared/api/models';
import { Evaluation, type PipelineSpec } from '@edgeloop/shared/api/training';
import { AppError, parse } from '@edgeloop/shared/errors';
import { GoldenSamples } from '@edgeloop/shared/golden';
import { labelsOf } from '@edgeloop/shared/meaning/interpretation';
import { runBounded, sourceExecArgv } from '@edgeloop/shared/node/bounded-process';
import { ReferenceProfile } from '@edgeloop/shared/profile';
import { z } from 'zod';
import { readTrainedManifest } from '../jobs/job-folder.ts';
import { jobFiles, TrainedManifest } from '../jobs/trainer-contract.ts';
import { judge, type Rival } from './judgement.ts';
import { type Measurement, MeasurementAnswer, type MeasurementInput } from './measurement.ts';
import type { Classifier } from './scoring.ts';

/** Largest difference between a score of the ONNX file and the trainer's own, and least share of equal classes. */
const parityBounds = { maxDifference: 1e-3, sameClass: 0.999 } as const;

export interface EvaluationLimits {
  timeoutMs: number;
  maxRssBytes: number;
}

/** The version that the challenger must beat, and where its file lies. */
export interface Champion {
  detail: Pick<ModelVersionDetail, 'version' | 'manifest' | 'io'>;
  path: string;
}

/** Everything that registering the model needs to know. */
export const Evaluated = z.object({
  evaluation: Evaluation,
  manifest: TrainedManifest,
  reference: ReferenceProfile,
  golden: GoldenSamples,
});
export type Evaluated = z.infer<typeof Evaluated>;

export interface EvaluateInput {
  /** A job folder in which a trainer is done. */
  folder: string;
  /** The dataset as it is stored: what lies in the job folder was in the trainer's hands. */
  dataset: { features: readonly string[]; files: Record<Split, string> };
  /** Parquet file of recent field rows, when the model answers to a change of the field. */
  recent: string | undefined;
  champion: Champion | undefined;
  rule: PipelineSpec['evaluation'];
  limits: EvaluationLimits;
  signal: AbortSignal;
}

const extension = import.meta.url.endsWith('.ts') ? 'ts' : 'js';
const modulePath = fileURLToPath(new URL(`./evaluation-process.${extension}`, import.meta.url));

/** @throws AppError `model_rejected` when the file cannot be evaluated, or does not do what the trainer said */
export async function evaluate(input: EvaluateInput): Promise<Evaluated> {
  const { folder, champion } = input;
  const { features, files } = input.dataset;
  const manifest = await readTrainedManifest(folder);
  const challenger = classifierOf(manifest, join(folder, jobFiles.model), features);
  if ('reason' in challenger) throw new AppError('model_rejected', `output/manifest.json: ${challenger.reason}`);
  const known = champion && rivalClassifierOf(champion, features);
  const measurement = await measure(input, {
    challenger,
    champion: known === undefined || 'reason' in known ? null : known,
    files,
    recent: input.recent ?? null,
    predictions: join(folder, jobFiles.predictions),
  });
  requireParity(measurement);
  const rival = rivalOf(measurement, { champion, reason: known && 'reason' in known ? known.reason : undefined });
  const { reference, golden } = measurement;
  return { evaluation: judge(rival, input.rule), manifest, reference, golden };
}

/** The model as a classifier over the dataset's features, or the reason why it is none. */
function classifierOf(
  { inputs, outputs }: TrainedManifest,
  path: string,
  known: readonly string[],
): Classifier | { reason: string } {
  const [first, ...others] = Object.entries(inputs);
  const features = first?.[1].features;
  if (first === undefined || others.length > 0 || features === undefined)
    return { reason: 'its manifest does not name the features of one input' };
  const missing = features.find((name) => !known.includes(name));
  if (missing !== undefined) return { reason: `it takes the feature "${missing}", which the dataset does not have` };
  return { path, input: first[0], features, outputs };
}

/** A champion without class names, or of several models, cannot be compared, which is no fault of the challenger. */
function rivalClassifierOf({ detail, path }: Champion, known: readonly string[]): Classifier | { reason: string } {
  const { manifest, io } = detail;
  if (manifest.pipeline !== undefined) return { reason: 'it is a pipeline of several models' };
  if (labelsOf({ ...manifest, task: 'classification' }, io) === undefined) {
    return { reason: 'neither its manifest nor its file names the classes' };
  }
  return classifierOf(manifest, path, known);
}

async function measure({ limits, signal }: EvaluateInput, input: MeasurementInput): Promise<Measurement> {
  const result = await runBounded({
    modulePath,
    input,
    ...limits,
    env: { ORT_DISABLE_TELEMETRY: '1' },
    execArgv: sourceExecArgv(import.meta.url),
    signal,
  });
  if (!result.ok) throw new AppError('model_rejected', `the evaluation of the model ${result.detail}`);
  const answer = parse(MeasurementAnswer, result.output, 'measurement', 'internal');
  if ('refused' in answer) throw new AppError('model_rejected', `the model cannot be evaluated: ${answer.refused}`);
  return answer.measurement;
}

function requireParity({ parity }: Measurement): void {
  const { maxDifference, sameClass } = parity;
  if (maxDifference <= parityBounds.maxDifference && sameClass >= parityBounds.sameClass) return;
  throw new AppError(
    'model_rejected',
    `the exported model is not the one that was trained: scores differ by up to ${maxDifference.toPrecision(3)} ` +
      `(allowed ${parityBounds.maxDifference}), ${(sameClass * 100).toFixed(2)} % of the classes agree ` +
      `(needed ${parityBounds.sameClass * 100} %)`,
  );
}

function rivalOf(
  measurement: Measurement,
  { champion, reason }: { champion: Champion | undefined; reason: string | undefined },
): Rival {
  if (champion === undefined) return { kind: 'majority', counts: measurement.majority };
  const { version } = champion.detail;
  if (measurement.champion !== null) return { kind: 'champion', version, counts: measurement.champion };
  return { kind: 'incomparable', version, reason: reason ?? 'it was not measured', challenger: measurement.majority };
}
