// What a request was about, in a few numbers that the journal can hold however large its tensors are.
import type { Manifest } from '@edgeloop/shared/manifest';
import type { FeatureInput, Interpretation } from '@edgeloop/shared/meaning/interpretation';
import { type NamedTensor, numbersOf } from '@edgeloop/shared/tensor-data';
import type { Summaries } from '../record.ts';
import { wantsFeatures } from '../record-sampling.ts';
import { answerSummaries } from './answer.ts';
import { pictureSummaries } from './picture.ts';
import { soundSummary } from './sound.ts';
import { tensorSummary } from './tensor.ts';

/** A model, as far as a summary needs it. */
export interface Summarised {
  interpretation: Interpretation;
  manifest: Manifest;
}

export interface Summarisable {
  inputs: readonly NamedTensor[];
  outputs: readonly NamedTensor[];
  rows: number;
  /** Of the picture before it was made to fit. */
  picture?: { width: number; height: number } | undefined;
}

/** Of more features without a reference, the tensor is told and not each of them. */
export const mostNamedFeatures = 256;
const mostRows = 64;
/** Digits that are told. */
const precision = 5;

export function summariesOf(model: Summarised, request: Summarisable): Summaries {
  const { inputs, outputs, rows } = request;
  const told = inputs.map((input) => inputSummary(model, input, request));
  const all = [...told, answerSummaries(model, inputs, outputs, rows)];
  const summaries = all.flatMap((each) => each.summaries);
  return {
    summaries: summaries.map((each) => ({ ...each, values: each.values.map(rounded) })),
    texts: Object.assign({}, ...all.map(({ texts }) => texts)),
  };
}

function inputSummary(
  { interpretation, manifest }: Summarised,
  input: NamedTensor,
  { picture: original }: Summarisable,
): Summaries {
  const isThis = ({ spec }: { spec: { name: string } }) => spec.name === input.name;
  const name = `input:${input.name}`;
  const features = interpretation.featureInputs.find(isThis);
  if (features !== undefined) return featureSummary(manifest, interpretation.featureInputs, features, input);
  const picture = interpretation.pictures.find(isThis);
  if (picture !== undefined) return told('picture', name, pictureSummaries(picture, input, original));
  const sound = interpretation.sounds.find(isThis);
  if (sound !== undefined) return told('sound', name, soundSummary(sound.sampleRate, input));
  // What the server fills in says nothing of the world.
  const isOurs = interpretation.constants.has(input.name) || interpretation.states.has(input.name);
  return isOurs ? none : told('tensor', name, tensorSummary(input));
}

const none: Summaries = { summaries: [], texts: {} };

function told(of: string, name: string, values: number[] | undefined): Summaries {
  return values === undefined ? none : { summaries: [{ of, name, values }], texts: {} };
}

/** Nothing of features that are recorded as they are. */
function featureSummary(
  manifest: Manifest,
  all: readonly FeatureInput[],
  { features }: FeatureInput,
  input: NamedTensor,
): Summaries {
  const width = features.length;
  if (width > mostNamedFeatures) return told('tensor', `input:${input.name}`, tensorSummary(input));
  if (wantsFeatures(manifest) && all.every(({ spec }) => spec.datatype !== 'BYTES')) return none;
  const rows = Math.min(mostRows, Math.floor(input.data.length / width));
  const column = <T>(values: ArrayLike<T>, at: number) =>
    Array.from({ length: rows }, (_, row) => values[row * width + at]);
  if (Array.isArray(input.data)) {
    const { data } = input;
    return {
      summaries: [],
      texts: Object.fromEntries(features.map((name, at) => [name, column(data, at).map(String)])),
    };
  }
  const values = numbersOf(input);
  if (values === undefined) return none;
  return {
    summaries: features.map((name, at) => ({
      ...{ of: 'values', name },
      values: column(values, at).map((value = Number.NaN) => value),
    })),
    texts: {},
  };
}

function rounded(value: number): number {
  return Number.isFinite(value) ? Number(value.toPrecision(precision)) : Number.NaN;
}
