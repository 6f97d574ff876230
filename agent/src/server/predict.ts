// `POST /predict/{model}`: one row by the names of its features, answered with a label or a value.
import { AppError, parseJson } from '@edgeloop/shared/errors';
import type { TensorSpec } from '@edgeloop/shared/tensors';
import type { Context } from 'hono';
import { z } from 'zod';
import type { LoadedModel, ModelLease } from '../inference/engine.ts';
import { labelAt, predictionsOf, scoreRows } from '../inference/interpretation.ts';
import { elementCount, encodeElements, isBadElement, type NamedTensor, tensorToJson } from '../inference/tensors.ts';
import { type Call, type CallDeps, handleCall } from './call.ts';

/** A plain object as it was parsed: copying it would lose names such as `__proto__`. */
const NamedFeatures = z.custom<Record<string, unknown>>(
  (value) => typeof value === 'object' && value !== null && !Array.isArray(value),
  'must be an object {name: number} or an array of numbers',
);
const PredictRequest = z.object({
  id: z.string().max(200).optional(),
  features: z.union([z.array(z.unknown()), NamedFeatures]),
});

/** Answers `{id, model, version, …}` with `label, score, scores` of a classifier, `value` or `outputs` of others. */
export function handlePredict(c: Context, deps: CallDeps): Promise<Response> {
  return handleCall(c, deps, (body, lease) => {
    refuseImage(c.req.header('content-type'), lease);
    const { id, features } = parseJson(PredictRequest, body, 'request');
    const { featureNames } = lease.model.interpretation;
    const values = Array.isArray(features) ? features : valuesByName(features, featureNames, lease.name);
    return { id: id || undefined, inputs: toInputs(values, lease.model), answer: answerOf(lease) };
  });
}

function refuseImage(contentType: string | undefined, { name, model }: ModelLease): void {
  if (!contentType?.toLowerCase().startsWith('image/')) return;
  const takesImages = Object.values(model.files.manifest.inputs).some(({ image }) => image !== undefined);
  const reason = takesImages ? 'images are not decoded by this agent' : 'its manifest declares no image input';
  throw new AppError(
    'unsupported_media_type',
    `model "${name}" can't take ${contentType}: ${reason}; send JSON features`,
  );
}

function valuesByName(features: Record<string, unknown>, names: ReadonlySet<string>, model: string): unknown[] {
  if (names.size === 0) throw noNames(model);
  const unknown = Object.keys(features).find((name) => !names.has(name));
  if (unknown !== undefined) throw featureError(unknown, `unknown feature "${unknown}"`);
  return Array.from(names, (name) => {
    if (!Object.hasOwn(features, name)) throw featureError(name, `feature "${name}" is missing`);
    return features[name];
  });
}

function noNames(model: string): AppError {
  const message = `the manifest of model "${model}" names no features; use POST /v2/models/${model}/infer`;
  return new AppError('invalid_request', message);
}

function featureError(name: string, message: string): AppError {
  return new AppError('invalid_request', message, { errors: [{ field: `features.${name}`, message }] });
}

/** Values in the order of the manifest -> tensors of one row. */
function toInputs(values: readonly unknown[], { interpretation, signature, files }: LoadedModel): NamedTensor[] {
  const { featureInputs } = interpretation;
  if (featureInputs.length < signature.inputs.length) throw noNames(files.name);
  const expected = featureInputs.reduce((sum, { features }) => sum + features.length, 0);
  if (values.length !== expected) {
    throw new AppError('invalid_request', `features has ${values.length} values, the model takes ${expected}`);
  }
  let start = 0;
  return featureInputs.map(({ spec, features }) => {
    const own = values.slice(start, start + features.length);
    start += features.length;
    return oneRow(spec, features, own);
  });
}

function oneRow(spec: TensorSpec, features: readonly string[], values: readonly unknown[]): NamedTensor {
  const notNumber = values.findIndex((value) => typeof value !== 'number' || !Number.isFinite(value));
  const data = encodeElements(spec.datatype, values);
  const at = notNumber >= 0 ? notNumber : isBadElement(data) ? data.at : undefined;
  if (at !== undefined || isBadElement(data)) {
    const name = features[at ?? 0] ?? '';
    const expected = notNumber < 0 && isBadElement(data) ? data.expected : 'a number';
    throw featureError(name, `feature "${name}" must be ${expected}`);
  }
  // ONNX files may leave a shape unsaid; rows of features are the usual one.
  const dims = spec.shape.length === 0 ? [1, -1] : spec.shape;
  const shape = dims.map((dim, i) => (i === dims.length - 1 ? features.length : dim === -1 ? 1 : dim));
  if (elementCount(shape) !== features.length) {
    throw new AppError('invalid_request', `input "${spec.name}" [${spec.shape}] takes more than one row of features`);
  }
  return { name: spec.name, datatype: spec.datatype, shape, data };
}

function answerOf(lease: ModelLease): Call['answer'] {
  const { scores } = lease.model.interpretation;
  return (id, outputs) => {
    const answered = { id, model: lease.name, version: lease.version };
    const predictions = predictionsOf(scores, outputs);
    const row = scoreRows(scores, outputs)?.[0];
    if (predictions && row) {
      // fromEntries defines names such as `__proto__` like any other.
      const byLabel = Object.fromEntries(row.map((score, place) => [labelAt(scores, place), score]));
      return { ...answered, label: predictions.predicted[0], score: predictions.scores[0], scores: byLabel };
    }
    const [first] = outputs;
    if (outputs.length === 1 && first?.data.length === 1) return { ...answered, value: tensorToJson(first).data[0] };
    return { ...answered, outputs: outputs.map((output) => ({ name: output.name, ...tensorToJson(output) })) };
  };
}
