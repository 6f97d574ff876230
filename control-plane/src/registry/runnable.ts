// A registered model, opened to be run. Only for a process of its own: a model can end its process or never return.
import { readFile } from 'node:fs/promises';
import { AppError, messageOf } from '@edgeloop/shared/errors';
import type { Manifest } from '@edgeloop/shared/manifest';
import { type ModelFile, type ModelSource, openServable } from '@edgeloop/shared/node/servable-model';
import { openPipeline } from '@edgeloop/shared/node/servable-pipeline';
import { readModelHeader } from '@edgeloop/shared/onnx/header';
import { runPipeline } from '@edgeloop/shared/pipeline/run';
import type { Pipeline } from '@edgeloop/shared/pipeline-manifest';
import type { NamedTensor } from '@edgeloop/shared/tensor-data';
import type { ModelSignature } from '@edgeloop/shared/tensors';
import { InferenceSession, type Tensor } from 'onnxruntime-node';
import * as tensors from './ort-tensors.ts';

/** A model, or the models of a pipeline as one. */
export interface RunnableModel {
  signature: ModelSignature;
  run(feeds: Record<string, Tensor>): Promise<Record<string, Tensor>>;
  release(): Promise<void>;
}

/** The model in the file at `path`, or the models of a pipeline. @throws AppError `model_rejected` with the reason */
export function openRunnable(path: string, { pipeline }: Pick<Manifest, 'pipeline'>): Promise<RunnableModel> {
  return pipeline ? openSteps(path, pipeline) : openFile(path);
}

/** Files that name other files are refused before ONNX Runtime would open those. */
async function refuseOtherFiles(file: ModelFile): Promise<void> {
  const bytes = typeof file === 'string' ? await readFile(file) : file.bytes;
  const [place] = readModelHeader(bytes).externalDataLocations;
  if (place === undefined) return;
  throw new AppError(
    'model_rejected',
    `the model keeps tensors outside of its file, at "${place}"; save it as one file with all tensors inside`,
  );
}

async function load(source: ModelSource): Promise<InferenceSession> {
  const options = {
    intraOpNumThreads: 1,
    interOpNumThreads: 1,
    executionMode: 'sequential',
    logSeverityLevel: 3,
  } as const;
  try {
    if ('path' in source) return await InferenceSession.create(source.path, options);
    return await InferenceSession.create(source.bytes, options);
  } catch (cause) {
    throw new AppError('model_rejected', `ONNX Runtime cannot load the model: ${reasonOf(cause)}`, { cause });
  }
}

async function openFile(file: ModelFile): Promise<RunnableModel> {
  await refuseOtherFiles(file);
  const { session, signature, fetches } = await openServable(file, load);
  return {
    signature,
    run: (feeds) => (fetches === undefined ? session.run(feeds) : session.run(feeds, fetches)),
    release: () => session.release(),
  };
}

async function openSteps(path: string, pipeline: Pipeline): Promise<RunnableModel> {
  const { plan, models, release } = await openPipeline(path, pipeline, openFile);
  const runModel = async (file: string, inputs: readonly NamedTensor[]): Promise<NamedTensor[]> => {
    const model = models.get(file);
    const results = await model?.run(Object.fromEntries(inputs.map((input) => [input.name, tensors.toOrt(input)])));
    return model?.signature.outputs.map((spec) => tensors.fromOrt(spec, results?.[spec.name])) ?? [];
  };
  return {
    signature: plan.signature,
    async run(feeds) {
      const inputs = plan.signature.inputs.map((spec) => tensors.fromOrt(spec, feeds[spec.name]));
      const outputs = await runPipeline(plan, inputs, { runModel, nowMs: () => performance.now() });
      return Object.fromEntries(outputs.map((output) => [output.name, tensors.toOrt(output)]));
    },
    release,
  };
}

/** In one line. */
export function reasonOf(error: unknown): string {
  return messageOf(error).replaceAll(/\s+/g, ' ').trim();
}
