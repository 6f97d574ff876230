// Opens the models of a pipeline and checks that it fits them, in every program in the same way. They lie beside each other in
// the folder of a version, or in one file; see `model-bundle.ts`.
import { readdirSync, statSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { AppError, messageOf } from '../app-error.ts';
import { reject } from '../meaning/rejection.ts';
import { type Plan, planPipeline } from '../pipeline/plan.ts';
import { fieldOf } from '../pipeline/wiring.ts';
import type { Pipeline } from '../pipeline-manifest.ts';
import type { ModelSignature } from '../tensors.ts';
import { type BundledFile, bundledFiles, readBundled } from './model-bundle.ts';
import type { ModelFile } from './servable-model.ts';

interface OpenedModel {
  signature: ModelSignature;
  release(): Promise<void>;
}

export interface OpenedPipeline<Model> {
  plan: Plan;
  /** By the names of their files. */
  models: ReadonlyMap<string, Model>;
  release(): Promise<void>;
}

/** The files that steps name, each once. */
export function filesOf({ steps }: Pipeline): string[] {
  return [...new Set(steps.flatMap((step) => ('model' in step ? [step.model] : [])))];
}

/**
 * `path`: a folder, or one file with all. `open` opens one model. Throws `model_rejected` naming the step or the file, and what
 * `open` throws.
 */
export async function openPipeline<Model extends OpenedModel>(
  path: string,
  pipeline: Pipeline,
  open: (file: ModelFile) => Promise<Model>,
): Promise<OpenedPipeline<Model>> {
  const place = placeOf(path);
  checkFiles(pipeline, place.names);
  const models = new Map<string, Model>();
  const release = async (): Promise<void> => {
    for (const model of models.values()) await model.release();
  };
  try {
    for (const name of filesOf(pipeline)) models.set(name, await named(name, () => open(place.file(name))));
    const signatures = new Map([...models].map(([name, { signature }]) => [name, signature]));
    return { plan: planPipeline(pipeline, signatures), models, release };
  } catch (error) {
    await release();
    throw error;
  }
}

/** Refuses files that are missing, and those that no step names. */
export function checkFiles(pipeline: Pipeline, names: readonly string[]): void {
  const there = names.length === 0 ? 'there is none' : `there are ${names.map((name) => `"${name}"`).join(', ')}`;
  const wanted = filesOf(pipeline);
  if (wanted.length === 0) throw reject('pipeline.steps', 'none of them is a model');
  for (const [at, step] of pipeline.steps.entries())
    if ('model' in step && !names.includes(step.model))
      throw reject(fieldOf(at, 'model'), `step "${step.name}" needs the file "${step.model}"; ${there}`);
}

interface Place {
  names: string[];
  file(name: string): ModelFile;
}

function placeOf(path: string): Place {
  if (statSync(path).isDirectory()) {
    return {
      names: readdirSync(path).filter((name) => name.endsWith('.onnx')),
      file: (name) => join(path, name),
    };
  }
  const files = bundledFiles(path);
  if (!files) throw new AppError('model_rejected', 'the manifest has a pipeline, and there is only one model');
  const models = new Map<string, BundledFile>(files.map((file) => [file.name, file]));
  return {
    names: [...models.keys()].filter((name) => name.endsWith('.onnx')),
    file(name) {
      const found = models.get(name);
      if (!found) throw new AppError('internal', `there is no file "${name}" in ${path}`);
      return { bytes: readBundled(path, found), folder: dirname(path) };
    },
  };
}

async function named<T>(name: string, open: () => Promise<T>): Promise<T> {
  try {
    return await open();
  } catch (error) {
    if (!(error instanceof AppError)) throw error;
    throw new AppError(error.code, `${name}: ${messageOf(error)}`, { cause: error, errors: error.errors });
  }
}
