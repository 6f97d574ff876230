// The built-in trainer as a program of its own, so that training can neither block nor end the control plane, and is
// stopped like any other command. Reads and writes the job folder of the trainer contract.
import { closeSync, mkdirSync, openSync, readFileSync, renameSync, writeFileSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { type Split, splits } from '@edgeloop/shared/api/data';
import { AppError, messageOf, parse, parseJson } from '@edgeloop/shared/errors';
import type { LabelledRows } from '../../data/rows.ts';
import { readParquet, writeParquet } from '../../data/tables.ts';
import {
  exitCodes,
  JobDescription,
  JobSchema,
  jobFiles,
  predictedColumn,
  scoreColumn,
} from '../jobs/trainer-contract.ts';
import { exportNetwork } from './export.ts';
import { predict, predictedClasses, type TrainedNetwork } from './network.ts';
import { TrainerSpec } from './parameters.ts';
import { type TrainingStep, train } from './train.ts';

const folder = process.env.EDGELOOP_JOB_DIR ?? process.cwd();
const path = (name: string) => join(folder, name);
let stopping = false;

interface Material {
  job: JobDescription;
  schema: JobSchema;
  rows: Record<Split, LabelledRows>;
}

async function readMaterial(): Promise<Material> {
  const job = parseJson(JobDescription, readFileSync(path(jobFiles.job), 'utf8'), jobFiles.job);
  const schema = parseJson(JobSchema, readFileSync(path(jobFiles.schema), 'utf8'), jobFiles.schema);
  const read = (split: Split) => readParquet(path(`data/${split}.parquet`), split);
  const [training, validation, test] = [await read(splits[0]), await read(splits[1]), await read(splits[2])];
  return { job, schema, rows: { train: training, validation, test } };
}

/** Class indexes of the rows' labels. */
function classIndexes({ labels, features }: LabelledRows, { schema }: Material): Int32Array {
  if (features.join('\0') !== schema.features.join('\0'))
    throw new AppError('invalid_request', 'data: the columns are not the features of data/schema.json');
  const indexOf = new Map(schema.classes.map((name, index) => [name, index]));
  return Int32Array.from(labels, (label) => {
    const index = indexOf.get(label);
    if (index === undefined) throw new AppError('invalid_request', `data: the label "${label}" is not in classes`);
    return index;
  });
}

/** Appends each measurement to the metrics at once, and prints a line an epoch. */
function createReporter(file: number) {
  let epoch: TrainingStep[] = [];
  const print = () => {
    const [first] = epoch;
    const values = epoch.map(({ name, value }) => `${name} ${value.toFixed(4)}`).join(', ');
    if (first !== undefined) process.stdout.write(`epoch ${first.step}: ${values}\n`);
    epoch = [];
  };
  const onStep = (step: TrainingStep) => {
    writeSync(file, `${JSON.stringify(step)}\n`);
    if (step.step !== epoch[0]?.step) print();
    epoch.push(step);
  };
  return { onStep, print };
}

async function trainNetwork(material: Material): Promise<TrainedNetwork | 'stopped'> {
  const { job, schema, rows } = material;
  const spec = parse(TrainerSpec, { kind: job.trainer, parameters: job.parameters }, 'trainer');
  const validation = { rows: rows.validation.values, labels: classIndexes(rows.validation, material) };
  const metrics = openSync(path(jobFiles.metrics), 'w');
  const reporter = createReporter(metrics);
  try {
    const result = await train({
      ...spec,
      rows: rows.train.values,
      labels: classIndexes(rows.train, material),
      ...(validation.labels.length === 0 ? {} : { validation }),
      featureCount: schema.features.length,
      classCount: schema.classes.length,
      seed: job.seed,
      onStep: reporter.onStep,
      shouldStop: () => stopping,
    });
    reporter.print();
    if (result.outcome === 'stopped') return 'stopped';
    process.stdout.write(`trained ${result.epochs} epochs, kept epoch ${result.bestEpoch}\n`);
    return result.network;
  } finally {
    closeSync(metrics);
  }
}

async function writeResults(network: TrainedNetwork, { schema, rows }: Material): Promise<void> {
  const { features, classes } = schema;
  const names = { featureNames: features, labels: classes, inputName: 'features', scores: 'scores' };
  writeFileSync(path(`${jobFiles.model}.new`), exportNetwork(network, names));
  const manifest = { inputs: { features: { features } }, outputs: { labels: classes, scores: 'scores' } };
  writeFileSync(path(jobFiles.manifest), JSON.stringify(manifest));
  const scores = predict(network, rows.test.values);
  const predicted = Array.from(predictedClasses(scores, classes.length), (index) => classes[index] ?? '');
  await writeParquet(
    path(jobFiles.predictions),
    { features: classes.map((_, i) => scoreColumn(i)), values: scores, labels: predicted, splits: [] },
    predictedColumn,
  );
  renameSync(path(`${jobFiles.model}.new`), path(jobFiles.model));
}

async function run(): Promise<number> {
  mkdirSync(path('output'), { recursive: true });
  const material = await readMaterial();
  const { job, rows } = material;
  const counts = `${rows.train.labels.length}/${rows.validation.labels.length}/${rows.test.labels.length}`;
  process.stdout.write(
    `training ${job.trainer} on ${job.dataset.name}:${job.dataset.version}, ${counts} rows to train/validate/test, ` +
      `${material.schema.features.length} features, ${job.classes.length} classes, seed ${job.seed}\n`,
  );
  const network = await trainNetwork(material);
  if (network === 'stopped') return exitCodes.cancelled;
  await writeResults(network, material);
  return exitCodes.done;
}

const shortages = ['ENOSPC', 'ENOMEM', 'EMFILE', 'ENFILE', 'EAGAIN'];

/** Bad input stays bad; a machine that is short of something may have it later; anything else is a defect. */
function exitCodeOf(error: unknown): number {
  if (error instanceof AppError && error.code === 'invalid_request') return exitCodes.badInput;
  const short = error instanceof Error && 'code' in error && shortages.includes(String(error.code));
  return short ? exitCodes.tryAgain : 1;
}

function report(error: unknown): number {
  process.stderr.write(`${error instanceof AppError ? error.message : messageOf(error)}\n`);
  try {
    writeFileSync(path(jobFiles.failure), JSON.stringify({ reason: messageOf(error) }));
  } catch (unwritten) {
    process.stderr.write(`${jobFiles.failure} could not be written: ${messageOf(unwritten)}\n`);
  }
  return exitCodeOf(error);
}

process.on('SIGTERM', () => {
  stopping = true;
});
// Nobody waits for the result of a trainer whose control plane is gone.
const parent = process.ppid;
setInterval(() => {
  if (process.ppid !== parent) stopping = true;
}, 500).unref();
run().then(
  (code) => process.exit(stopping ? exitCodes.cancelled : code),
  (error: unknown) => process.exit(report(error)),
);
