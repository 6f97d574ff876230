// What a run does in each stage. Every stage can be done again: it finds what an earlier attempt has left for good.
import { copyFile, open } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import type { DatasetVersion } from '@edgeloop/shared/api/data';
import { DatasetBuild } from '@edgeloop/shared/api/data';
import type { Model } from '@edgeloop/shared/api/models';
import type { PipelineSpec } from '@edgeloop/shared/api/training';
import { AppError } from '@edgeloop/shared/errors';
import { Sha256 } from '@edgeloop/shared/identifiers';
import { z } from 'zod';
import { writeParquet } from '../../data/tables.ts';
import type { TrainingDeps } from '../dependencies.ts';
import { championOf } from '../evaluation/champion.ts';
import { type Champion, Evaluated, evaluate } from '../evaluation/evaluate.ts';
import { type AllJobs, fileDigest } from '../jobs/all-jobs.ts';
import { prepareJobFolder } from '../jobs/job-folder.ts';
import { jobFiles } from '../jobs/trainer-contract.ts';
import { builtInTrainer, runTrainerJob, type TrainerOutcome } from '../jobs/trainer-job.ts';
import type { RunRecorder } from './run-recorder.ts';
import type { RunEvent, Stage } from './run-state.ts';
import type { RunChange, StoredRun } from './run-store.ts';

interface StageContext {
  run: StoredRun;
  recorder: RunRecorder;
  /** Aborted when the run is cancelled and when the control plane stops. */
  signal: AbortSignal;
}
export interface StageResult {
  event: RunEvent;
  change: RunChange;
}
export type StageWork = (context: StageContext) => Promise<StageResult>;

export interface StageDeps extends TrainingDeps {
  jobs: AllJobs;
}

const Trained = z.object({ digest: Sha256 });
const defaultEvaluationLimits = { timeoutMs: 300_000, maxRssBytes: 2 * 1024 ** 3 };
const minRecentRows = 300;
const maxAttempts = 3;
const retryPauseMs = 2000;

export function createStages(deps: StageDeps): Record<Stage, StageWork> {
  return {
    data: (context) => chooseData(deps, context),
    training: (context) => trainModel(deps, context),
    evaluation: (context) => evaluateModel(deps, context),
    registration: (context) => registerModel(deps, context),
    release: (context) => releaseModel(deps, context),
  };
}

async function chooseData({ data }: StageDeps, { run: { spec }, recorder }: StageContext): Promise<StageResult> {
  const newest = await data.newest(spec.dataset);
  const labelled = spec.refreshFromField ? await data.labelledSince(spec.model, 0) : 0;
  const version = labelled > 0 ? await refresh(data, spec, newest) : newest;
  if (version === undefined)
    throw new AppError(
      'not_found',
      `dataset "${spec.dataset}" has no version: import one, then run the pipeline again`,
    );
  const { rows, dataset, digest } = version;
  if (rows.train === 0 || rows.test === 0)
    throw new AppError(
      'invalid_request',
      `version ${version.version} of dataset "${dataset}" has ${rows.train} rows to train and ${rows.test} to test; both are needed`,
    );
  const field = version.lineage.field;
  const origin = labelled > 0 && field !== null ? `, with ${field.rows} labelled samples from the field` : '';
  recorder.line(`dataset ${dataset}:${version.version}, ${rows.train + rows.validation + rows.test} rows${origin}`);
  return {
    event: { kind: 'finished', stage: 'data', verdict: 'go_on' },
    change: { dataset: { name: dataset, version: version.version, digest } },
  };
}

function refresh(
  data: StageDeps['data'],
  spec: PipelineSpec,
  base: DatasetVersion | undefined,
): Promise<DatasetVersion> {
  const from = base === undefined ? {} : { base: base.version };
  return data.build('system', spec.dataset, DatasetBuild.parse({ ...from, fromField: { model: spec.model } }));
}

async function trainModel(deps: StageDeps, context: StageContext): Promise<StageResult> {
  const { run, recorder, signal } = context;
  const metrics: Record<string, number> = {};
  for (let attempt = 1; ; attempt++) {
    const outcome = await attemptTraining(deps, context, metrics);
    if (outcome.kind === 'done') break;
    if (outcome.kind === 'stopped') throw new AppError('unavailable', 'training was stopped');
    if (!outcome.retry || attempt === maxAttempts) throw new AppError('invalid_request', outcome.reason);
    recorder.line(`${outcome.reason}; attempt ${attempt + 1} of ${maxAttempts} follows`);
    await delay(retryPauseMs * attempt, undefined, { signal });
  }
  const model = join(deps.jobs.folderOf(run.id), jobFiles.model);
  const digest = await fileDigest(model);
  if (digest === undefined)
    throw new AppError('invalid_request', `the trainer ended well but wrote no ${jobFiles.model}`);
  await syncFile(model);
  await deps.jobs.note(run.id, 'trained', { digest });
  return { event: { kind: 'finished', stage: 'training', verdict: 'go_on' }, change: { metrics } };
}

async function attemptTraining(
  { data, jobs }: StageDeps,
  { run, recorder, signal }: StageContext,
  metrics: Record<string, number>,
): Promise<TrainerOutcome> {
  const { spec, id, seed } = run;
  if (run.dataset === null) throw new AppError('internal', `run ${id} trains without a dataset`);
  const folder = jobs.folderOf(id);
  await prepareJobFolder(folder, {
    runId: id,
    trainer: spec.trainer,
    seed,
    budgetSeconds: spec.timeoutSeconds,
    dataset: await data.version(run.dataset.name, run.dataset.version),
    files: await data.files(run.dataset.name, run.dataset.version),
  });
  await recorder.forgetSteps();
  return runTrainerJob({
    runId: id,
    folder,
    pidPath: jobs.pidPathOf(id),
    command: builtInTrainer(folder),
    timeoutMs: spec.timeoutSeconds * 1000,
    signal,
    onLine: (text) => recorder.line(text),
    onStep: (step) => {
      metrics[step.name] = step.value;
      recorder.step(step);
    },
  });
}

async function syncFile(path: string): Promise<void> {
  const file = await open(path, 'r+');
  try {
    await file.sync();
  } finally {
    await file.close();
  }
}

const outputLost: StageResult = { event: { kind: 'output_lost' }, change: {} };

async function evaluateModel(deps: StageDeps, { run, recorder, signal }: StageContext): Promise<StageResult> {
  const { jobs, data } = deps;
  const folder = jobs.folderOf(run.id);
  const trained = await jobs.noted(run.id, 'trained', Trained);
  if (trained === undefined || run.dataset === null) return outputLost;
  if ((await fileDigest(join(folder, jobFiles.model))) !== trained.digest) return outputLost;
  const { name, version } = run.dataset;
  const { schema } = await data.version(name, version);
  const evaluated = await evaluate({
    folder,
    dataset: { features: schema.features, files: await data.files(name, version) },
    recent: await recentRows(deps, run),
    champion: await findChampion(deps, run),
    rule: run.spec.evaluation,
    limits: deps.evaluationLimits ?? defaultEvaluationLimits,
    signal,
  });
  await jobs.note(run.id, 'evaluated', evaluated);
  const { evaluation } = evaluated;
  recorder.line(`${evaluation.won ? 'won' : 'not won'}: ${evaluation.detail}`);
  const metrics: Record<string, number> = { ...run.metrics, accuracy: evaluation.challenger };
  if (evaluation.champion !== null) metrics.champion_accuracy = evaluation.champion;
  return {
    event: { kind: 'finished', stage: 'evaluation', verdict: evaluation.won ? 'go_on' : 'rejected' },
    change: { evaluation, metrics },
  };
}

/**
 * A model that answers to a change of the field is watched against the field as it became: what the alert called a
 * drift is its normal. Too few rows make no reference; the dataset's do then.
 */
async function recentRows({ data, jobs }: StageDeps, { id, model, cause }: StoredRun): Promise<string | undefined> {
  if (cause.kind !== 'alert') return undefined;
  const rows = await data.heldOutField(model, cause.since);
  if (rows.labels.length < minRecentRows) return undefined;
  const path = join(jobs.folderOf(id), 'recent.parquet');
  await writeParquet(path, rows);
  return path;
}

async function findChampion({ registry, blobs, deployed }: StageDeps, run: StoredRun): Promise<Champion | undefined> {
  const model = await knownModel(registry, run.model);
  if (model === undefined) return undefined;
  const version = championOf(model.versions, { deployed: await deployed(run.model), runId: run.id });
  if (version === undefined) return undefined;
  const detail = await registry.version(run.model, version);
  return { detail, path: blobs.path(detail.digest) };
}

async function knownModel(registry: StageDeps['registry'], name: string): Promise<Model | undefined> {
  try {
    return await registry.model(name);
  } catch (error) {
    if (error instanceof AppError && error.code === 'not_found') return undefined;
    throw error;
  }
}

async function registerModel(deps: StageDeps, { run, recorder }: StageContext): Promise<StageResult> {
  const evaluated = await deps.jobs.noted(run.id, 'evaluated', Evaluated);
  if (evaluated === undefined) return outputLost;
  const version = (await registeredBy(deps, run)) ?? (await register(deps, run, evaluated));
  recorder.line(`registered as version ${version} of model "${run.model}"`);
  const verdict = run.spec.release === undefined ? 'complete' : 'go_on';
  return { event: { kind: 'finished', stage: 'registration', verdict }, change: { registeredVersion: version } };
}

/** The version that this run has registered before. */
async function registeredBy({ registry }: StageDeps, run: StoredRun): Promise<number | undefined> {
  const model = await knownModel(registry, run.model);
  return model?.versions.find(({ lineage }) => lineage.runId === run.id)?.version;
}

async function register({ registry, jobs }: StageDeps, run: StoredRun, evaluated: Evaluated): Promise<number> {
  const { evaluation, manifest, reference, golden } = evaluated;
  const folder = jobs.folderOf(run.id);
  // The registry takes the file over; the job folder keeps its own for another attempt.
  const path = join(folder, 'artifact.onnx');
  await copyFile(join(folder, jobFiles.model), path);
  const parent = evaluation.championVersion === null ? {} : { parent: evaluation.championVersion };
  const dataset = run.dataset === null ? {} : { dataset: run.dataset };
  const { version } = await registry.register('system', {
    model: run.model,
    files: { path },
    manifest: { task: 'classification', ...run.spec.manifest, ...manifest, monitoring: { reference } },
    golden,
    lineage: { source: 'training', runId: run.id, pipeline: run.pipeline, ...dataset, ...parent },
    metrics: { accuracy: evaluation.challenger },
    createModel: true,
  });
  return version;
}

async function releaseModel({ release }: StageDeps, { run, recorder }: StageContext): Promise<StageResult> {
  const { spec, registeredVersion } = run;
  if (spec.release === undefined || registeredVersion === null)
    throw new AppError('internal', `run ${run.id} has nothing to release`);
  const rolloutId = run.rolloutId ?? (await release(run.model, registeredVersion, spec.release, run.id));
  recorder.line(`rollout ${rolloutId} releases version ${registeredVersion}`);
  return { event: { kind: 'finished', stage: 'release', verdict: 'complete' }, change: { rolloutId } };
}
