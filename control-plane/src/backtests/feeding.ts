// Captured rows as the inputs of a model, one request each, as a device would have made them. Pure.
import type { Manifest } from '@edgeloop/shared/manifest';
import type { FeatureInput, Interpretation } from '@edgeloop/shared/meaning/interpretation';
import { unansweredBy } from '@edgeloop/shared/meaning/missing-values';
import { predictionsOf } from '@edgeloop/shared/meaning/predictions';
import { elementCount, encodeElements, isBadElement, type NamedTensor, numbersOf } from '@edgeloop/shared/tensor-data';
import type { ModelSignature, TensorSpec } from '@edgeloop/shared/tensors';

/** Names along a captured row. */
export type Layout = readonly string[];

/** A feature that rows of this layout do not have and the model cannot be without; undefined: they can be asked. */
export function lackingFeature({ inputs }: Pick<Manifest, 'inputs'>, layout: Layout): string | undefined {
  const known = new Set(layout);
  return Object.values(inputs)
    .flatMap(({ features = [], defaults = {} }) => features.filter((name) => !Object.hasOwn(defaults, name)))
    .find((name) => !known.has(name));
}

/** The inputs of a request; a text: why the model does not take the row. */
type Feed = (row: Float32Array) => NamedTensor[] | string;

/** Undefined and a reason when no row of features can be all that the model is given. */
export function unfeedable(interpretation: Interpretation, { inputs }: ModelSignature): string | undefined {
  const { featureInputs, constants } = interpretation;
  if (featureInputs.length === 0) return 'it takes no named features, and samples hold nothing else';
  const given = new Set([...featureInputs.map(({ spec }) => spec.name), ...constants.keys()]);
  const other = inputs.find(({ name }) => !given.has(name));
  if (other !== undefined) return `its input "${other.name}" has no named features, and samples hold nothing else`;
  const texts = featureInputs.find(({ spec }) => spec.datatype === 'BYTES');
  if (texts !== undefined) return `its input "${texts.spec.name}" takes texts, and samples hold numbers`;
  const joined = featureInputs.find(({ spec }) => rowsAtOnce(spec) !== 1);
  if (joined !== undefined)
    return `its input "${joined.spec.name}" takes ${rowsAtOnce(joined.spec)} rows at a time, and samples are rows alone`;
  return undefined;
}

/** Reads rows of `layout`. */
export function feedOf({ featureInputs, constants }: Interpretation, layout: Layout): Feed {
  const places = new Map(layout.map((name, at) => [name, at]));
  const beside = [...constants.values()];
  return (row) => {
    const tensors: NamedTensor[] = [];
    for (const input of featureInputs) {
      const values = input.features.map((name) => givenValue(input, name, row[places.get(name) ?? -1] ?? Number.NaN));
      const missing = values.indexOf(undefined);
      if (missing >= 0)
        return `feature "${input.features[missing]}" is missing, and input "${input.spec.name}" takes no missing values`;
      const data = encodeElements(input.spec.datatype, values);
      if (isBadElement(data))
        return `feature "${input.features[data.at]}" must be ${data.expected} (${input.spec.datatype})`;
      tensors.push({ name: input.spec.name, datatype: input.spec.datatype, shape: shapeOf(input), data });
    }
    const own = new Set(tensors.map(({ name }) => name));
    return [...tensors, ...beside.filter(({ name }) => !own.has(name))];
  };
}

function givenValue({ missing: { defaults, otherwise } }: FeatureInput, name: string, value: number): unknown {
  if (!Number.isNaN(value)) return value;
  if (defaults.has(name)) return defaults.get(name);
  return otherwise === 'refuse' ? undefined : 'NaN';
}

function shapeOf({ spec: { shape }, features }: FeatureInput): number[] {
  const dims = shape.length === 0 ? [1, -1] : shape;
  return dims.map((dim, at) => (at === dims.length - 1 ? features.length : Math.max(dim, 1)));
}

function rowsAtOnce({ shape }: TensorSpec): number {
  return elementCount(shape.slice(0, -1).map((dim) => Math.max(dim, 1)));
}

/** Numbers of one answer that are compared. */
const mostNumbers = 16;

/** A class or numbers; `refused`: a device would not have answered, `none`: there is nothing in it. */
export type Reading = { class: string } | { numbers: number[] } | { refused: string } | { none: string };

export function readingOf(interpretation: Interpretation, outputs: readonly NamedTensor[], row: Float32Array): Reading {
  if (mayHaveMadeNothing(interpretation, row)) {
    const silent = unansweredBy(outputs, 0, 1);
    if (silent !== undefined) return { refused: `a feature is missing, and its output "${silent.name}" is NaN` };
  }
  if (interpretation.scores !== undefined) {
    const found = predictionsOf(interpretation.scores, outputs, 1)?.predicted[0];
    return found === undefined ? { none: 'its outputs name no class' } : { class: found };
  }
  const numbers = outputs.flatMap((output) => Array.from(numbersOf(output) ?? []).slice(0, mostNumbers));
  return numbers.length === 0 ? { none: 'its outputs hold no numbers' } : { numbers: numbers.slice(0, mostNumbers) };
}

function mayHaveMadeNothing({ featureInputs }: Interpretation, row: Float32Array): boolean {
  return featureInputs.some(({ missing }) => missing.otherwise === 'try') && row.some(Number.isNaN);
}

/** Names of the numbers of an answer. */
export function namesOf({ labels }: Interpretation, { outputs }: ModelSignature, count: number): string[] {
  if (labels?.length === count) return [...labels];
  const [only] = outputs;
  if (count === 1 && only !== undefined) return [only.name];
  return Array.from({ length: count }, (_, at) => `value ${at + 1}`);
}
