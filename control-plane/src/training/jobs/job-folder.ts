// The folder that a trainer is started in: made anew for every attempt, with copies of the dataset's files, so that no
// trainer can damage what is stored.
import { constants } from 'node:fs';
import { copyFile, mkdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { type DatasetVersion, type Split, splits } from '@edgeloop/shared/api/data';
import { AppError, parseJson } from '@edgeloop/shared/errors';
import { readIfPresent } from '@edgeloop/shared/node/durable-files';
import { type JobDescription, type JobSchema, jobFiles, TrainedManifest, TrainerFailure } from './trainer-contract.ts';

export interface JobMaterial {
  runId: string;
  trainer: { kind: string; parameters: Record<string, unknown> };
  seed: number;
  budgetSeconds: number;
  dataset: DatasetVersion;
  /** Parquet files of the dataset version. */
  files: Record<Split, string>;
}

/** Empties `folder` and puts `job.json` and `data/` into it. */
export async function prepareJobFolder(folder: string, material: JobMaterial): Promise<void> {
  const { dataset, trainer } = material;
  await rm(folder, { recursive: true, force: true });
  await mkdir(join(folder, 'data'), { recursive: true });
  await mkdir(join(folder, 'output'));
  const job: JobDescription = {
    contract: 1,
    runId: material.runId,
    trainer: trainer.kind,
    parameters: trainer.parameters,
    seed: material.seed,
    dataset: { name: dataset.dataset, version: dataset.version, digest: dataset.digest },
    budget: { seconds: material.budgetSeconds },
    target: dataset.schema.label,
    metric: 'accuracy',
    classes: dataset.schema.classes,
  };
  const schema: JobSchema = dataset.schema;
  await writeFile(join(folder, jobFiles.job), JSON.stringify(job, null, 2));
  await writeFile(join(folder, jobFiles.schema), JSON.stringify(schema, null, 2));
  for (const split of splits) {
    // A clone where the file system can; never a link, through which a trainer could write into the stored file.
    const path = join(folder, 'data', `${split}.parquet`);
    await copyFile(material.files[split], path, constants.COPYFILE_FICLONE);
  }
}

/** @throws AppError `invalid_request` when the trainer left none or a wrong one */
export async function readTrainedManifest(folder: string): Promise<TrainedManifest> {
  const text = await readIfPresent(join(folder, jobFiles.manifest));
  if (text === undefined) throw new AppError('invalid_request', `the trainer wrote no ${jobFiles.manifest}`);
  return parseJson(TrainedManifest, text, jobFiles.manifest);
}

/** Why the trainer says that it failed, if it says so. */
export async function readFailure(folder: string): Promise<string | undefined> {
  try {
    return parseJson(TrainerFailure, await readFile(join(folder, jobFiles.failure), 'utf8'), jobFiles.failure).reason;
  } catch {
    return undefined; // Without a readable reason its exit code has to do.
  }
}
