// Loads an uploaded model and runs it. Only for a process of its own: a model can end its process or never return.
import { AppError } from '@edgeloop/shared/errors';
import type { GoldenSamples } from '@edgeloop/shared/golden';
import { mismatch } from '@edgeloop/shared/golden-match';
import type { Manifest } from '@edgeloop/shared/manifest';
import { interpret } from '@edgeloop/shared/meaning/interpretation';
import type { ModelSignature, TensorSpec } from '@edgeloop/shared/tensors';
import type { Tensor } from 'onnxruntime-node';
import { elementCount, toJson, toOrt, zeros } from './json-tensors.ts';
import { openRunnable, type RunnableModel, reasonOf } from './runnable.ts';

/** Values in a tensor of zeros: larger ones are not tried. */
const maxZeros = 64 * 1024 * 1024;

export interface Tried {
  path: string;
  manifest: Manifest;
  golden: GoldenSamples;
}

/**
 * The signature of the model at `path`, once its manifest fits it as every agent will have it, and it has run: on its golden
 * samples, which it must reproduce, or else once on zeros where its shapes allow.
 * @throws AppError `model_rejected` with the reason, and the fields of the manifest that do not fit
 */
export async function tryModel({ path, manifest, golden }: Tried): Promise<ModelSignature> {
  const model = await openRunnable(path, manifest);
  interpret(manifest, model.signature);
  if (golden.samples.length === 0) await runOnZeros(model);
  else await reproduce(model, golden);
  return model.signature;
}

async function reproduce(model: RunnableModel, golden: GoldenSamples): Promise<void> {
  for (const [at, sample] of golden.samples.entries()) {
    const reason = await failureOf(model, { sample, tolerance: golden.tolerance });
    if (reason !== undefined) throw new AppError('model_rejected', `golden sample ${at}: ${reason}`);
  }
}

interface Expected {
  sample: GoldenSamples['samples'][number];
  tolerance: GoldenSamples['tolerance'];
}

async function failureOf(model: RunnableModel, { sample, tolerance }: Expected): Promise<string | undefined> {
  const { signature } = model;
  const expected = Object.entries(sample.outputs);
  if (expected.length === 0) return 'it names no outputs, so it proves nothing';
  try {
    const results = await model.run(feedsOf(sample.inputs, signature.inputs));
    for (const [name, tensor] of expected) {
      const spec = signature.outputs.find((output) => output.name === name);
      if (spec === undefined) return `the model has no output "${name}"; it has ${namesOf(signature.outputs)}`;
      const reason = mismatch(name, tensor, toJson(spec, results[name]), tolerance);
      if (reason !== undefined) return reason;
    }
    return undefined;
  } catch (error) {
    return reasonOf(error);
  }
}

function feedsOf(given: Expected['sample']['inputs'], specs: readonly TensorSpec[]): Record<string, Tensor> {
  for (const name of Object.keys(given)) {
    if (!specs.some((spec) => spec.name === name)) {
      throw new AppError('model_rejected', `the model has no input "${name}"; it has ${namesOf(specs)}`);
    }
  }
  const feeds: Record<string, Tensor> = {};
  for (const { name, datatype } of specs) {
    const tensor = given[name];
    if (tensor === undefined) throw new AppError('model_rejected', `input "${name}" is missing`);
    if (tensor.datatype !== datatype) {
      throw new AppError(
        'model_rejected',
        `input "${name}" has datatype ${tensor.datatype}, the model takes ${datatype}`,
      );
    }
    feeds[name] = toOrt(name, tensor);
  }
  return feeds;
}

/**
 * Free dimensions are tried as 1. That the model fails on zeros is no fault of it, and agents hold none against it either; that
 * it ends its process or never returns is.
 */
async function runOnZeros(model: RunnableModel): Promise<void> {
  const { inputs } = model.signature;
  const shapes = inputs.map(({ shape }) => shape.map((dim) => (dim === -1 ? 1 : dim)));
  if (shapes.reduce((sum, shape) => sum + elementCount(shape), 0) > maxZeros) return;
  const feeds = Object.fromEntries(inputs.map(({ name, datatype }, i) => [name, zeros(datatype, shapes[i] ?? [])]));
  try {
    await model.run(feeds);
  } catch {
    // Zeros may be no input for it.
  }
}

function namesOf(specs: readonly TensorSpec[]): string {
  return specs.map((spec) => `"${spec.name}"`).join(', ');
}
