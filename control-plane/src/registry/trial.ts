// Loads an uploaded model and runs it. Only for a process of its own: a model can end its process or never return.
import { readFile } from 'node:fs/promises';
import { AppError, messageOf } from '@edgeloop/shared/errors';
import type { GoldenSamples } from '@edgeloop/shared/golden';
import { mismatch } from '@edgeloop/shared/golden-match';
import { readModelHeader } from '@edgeloop/shared/onnx/header';
import type { ModelSignature, TensorSpec } from '@edgeloop/shared/tensors';
import { InferenceSession, type Tensor } from 'onnxruntime-node';
import { elementCount, toJson, toOrt, zeros } from './json-tensors.ts';
import { tensorSpec } from './signature.ts';

/** Values in a tensor of zeros: larger ones are not tried. */
const maxZeros = 64 * 1024 * 1024;

/**
 * The signature of the model at `path`, once it has run: on its golden samples, which it must reproduce, or else once
 * on zeros where its shapes allow.
 * @throws AppError `model_rejected` with the reason
 */
export async function tryModel(path: string, golden: GoldenSamples): Promise<ModelSignature> {
  const opset = await checkedOpset(path);
  const session = await load(path);
  const inputs = session.inputMetadata.map((metadata) => tensorSpec('input', metadata));
  const outputs = session.outputMetadata.map((metadata) => tensorSpec('output', metadata));
  const signature = { inputs, outputs, opset };
  if (golden.samples.length === 0) await runOnZeros(session, signature);
  else await reproduce(session, signature, golden);
  return signature;
}

/** Files that name other files are refused before ONNX Runtime would open those. */
async function checkedOpset(path: string): Promise<number> {
  const { opset, externalDataLocations } = readModelHeader(await readFile(path));
  const [place] = externalDataLocations;
  if (place === undefined) return opset;
  throw new AppError(
    'model_rejected',
    `the model keeps tensors outside of its file, at "${place}"; save it as one file with all tensors inside`,
  );
}

async function load(path: string): Promise<InferenceSession> {
  try {
    return await InferenceSession.create(path, {
      intraOpNumThreads: 1,
      interOpNumThreads: 1,
      executionMode: 'sequential',
      logSeverityLevel: 3,
    });
  } catch (cause) {
    throw new AppError('model_rejected', `ONNX Runtime cannot load the model: ${reasonOf(cause)}`, { cause });
  }
}

async function reproduce(session: InferenceSession, signature: ModelSignature, golden: GoldenSamples): Promise<void> {
  for (const [at, sample] of golden.samples.entries()) {
    const reason = await failureOf(session, signature, { sample, tolerance: golden.tolerance });
    if (reason !== undefined) throw new AppError('model_rejected', `golden sample ${at}: ${reason}`);
  }
}

interface Expected {
  sample: GoldenSamples['samples'][number];
  tolerance: GoldenSamples['tolerance'];
}

async function failureOf(
  session: InferenceSession,
  signature: ModelSignature,
  { sample, tolerance }: Expected,
): Promise<string | undefined> {
  const expected = Object.entries(sample.outputs);
  if (expected.length === 0) return 'it names no outputs, so it proves nothing';
  try {
    const results = await session.run(feedsOf(sample.inputs, signature.inputs));
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

/** Free dimensions are tried as 1. Only where no more than the first one is free must that work. */
async function runOnZeros(session: InferenceSession, { inputs }: ModelSignature): Promise<void> {
  const shapes = inputs.map(({ shape }) => shape.map((dim) => (dim === -1 ? 1 : dim)));
  if (shapes.reduce((sum, shape) => sum + elementCount(shape), 0) > maxZeros) return;
  const feeds = Object.fromEntries(inputs.map(({ name, datatype }, i) => [name, zeros(datatype, shapes[i] ?? [])]));
  try {
    await session.run(feeds);
  } catch (cause) {
    if (inputs.some(({ shape }) => shape.slice(1).includes(-1))) return;
    throw new AppError('model_rejected', `the model failed to run on zeros: ${reasonOf(cause)}`, { cause });
  }
}

function namesOf(specs: readonly TensorSpec[]): string {
  return specs.map((spec) => `"${spec.name}"`).join(', ');
}

function reasonOf(error: unknown): string {
  return messageOf(error).replaceAll(/\s+/g, ' ').trim();
}
