// Rows of named features -> tensors, with errors that name the row and the feature.
import { AppError } from '@edgeloop/shared/errors';
import type { FeatureInput } from '@edgeloop/shared/meaning/interpretation';
import { elementCount, encodeElements, isBadElement, type NamedTensor } from '@edgeloop/shared/tensor-data';
import type { TensorSpec } from '@edgeloop/shared/tensors';
import type { LoadedModel } from '../../inference/engine.ts';
import { suggestion } from './names.ts';

/** One row as it was sent: by name, or in the order of the manifest. */
export type FeatureRow = Record<string, unknown> | readonly unknown[];

/** Where a row stands in the request, as errors tell it: `features` or `rows.3`, and `row 3: ` before the reason. */
interface Place {
  field: string;
  prefix: string;
}

const wide = new Set(['INT64', 'UINT64']);

/** Tensors with a row for each row. Throws `invalid_request` naming what is wrong with which feature. */
export function featureTensors(rows: readonly FeatureRow[], model: LoadedModel, single: boolean): NamedTensor[] {
  const { featureInputs, featureNames } = model.interpretation;
  const values = rows.map((row, at) => {
    const place = single ? { field: 'features', prefix: '' } : { field: `rows.${at}`, prefix: `row ${at + 1}: ` };
    return isList(row) ? inOrder(row, featureNames.size, place) : byName(row, featureNames, place);
  });
  const ends: number[] = [];
  for (const { features } of featureInputs) ends.push((ends.at(-1) ?? 0) + features.length);
  return featureInputs.map((input, i) => {
    const own = values.map((row) => row.slice((ends[i] ?? 0) - input.features.length, ends[i]));
    return tensorOfRows(input, own, single);
  });
}

function isList(row: FeatureRow): row is readonly unknown[] {
  return Array.isArray(row);
}

function inOrder(values: readonly unknown[], expected: number, { field, prefix }: Place): readonly unknown[] {
  if (values.length === expected) return values;
  throw new AppError('invalid_request', `${prefix}${field} has ${values.length} values, the model takes ${expected}`);
}

function byName(features: Record<string, unknown>, names: ReadonlySet<string>, place: Place): unknown[] {
  const unknown = Object.keys(features).find((name) => !names.has(name));
  if (unknown !== undefined) throw featureError(place, unknown, unknownFeature(unknown, names));
  return Array.from(names, (name) => {
    if (!Object.hasOwn(features, name)) throw featureError(place, name, `feature "${name}" is missing`);
    return features[name];
  });
}

/** The reason, with the name that was probably meant. */
export function unknownFeature(name: string, known: Iterable<string>): string {
  return `unknown feature "${name}"${suggestion(name, known)}`;
}

function featureError({ field, prefix }: Place, name: string, reason: string): AppError {
  const message = `${prefix}${reason}`;
  return new AppError('invalid_request', message, { errors: [{ field: `${field}.${name}`, message }] });
}

function tensorOfRows(
  { spec, features }: FeatureInput,
  rows: readonly (readonly unknown[])[],
  single: boolean,
): NamedTensor {
  const flat = rows.flat();
  const wrong = flat.findIndex((value) => !isPlausible(spec, value));
  const data = encodeElements(spec.datatype, flat);
  const at = wrong >= 0 ? wrong : isBadElement(data) ? data.at : -1;
  if (at >= 0 || isBadElement(data)) {
    const [row, name] = [Math.floor(at / features.length), features[at % features.length] ?? ''];
    const expected =
      wrong < 0 && isBadElement(data) ? data.expected : spec.datatype === 'BYTES' ? 'a text' : 'a number';
    const place = single ? { field: 'features', prefix: '' } : { field: `rows.${row}`, prefix: `row ${row + 1}: ` };
    throw featureError(place, name, `feature "${name}" must be ${expected}, not ${shown(flat[at])}`);
  }
  return { name: spec.name, datatype: spec.datatype, shape: shapeOf(spec, rows.length, features.length), data };
}

/** NaN and its like are numbers to the protocol, but nothing that a person would send as a feature. */
function isPlausible({ datatype }: TensorSpec, value: unknown): boolean {
  if (datatype === 'BYTES') return typeof value === 'string';
  if (typeof value === 'number') return Number.isFinite(value);
  return (datatype === 'BOOL' && typeof value === 'boolean') || (wide.has(datatype) && typeof value === 'string');
}

function shown(value: unknown): string {
  const text = JSON.stringify(value) ?? 'nothing';
  return text.length > 60 ? `${text.slice(0, 60)}…` : text;
}

function shapeOf({ name, shape }: TensorSpec, rows: number, width: number): number[] {
  // ONNX files may leave a shape unsaid; rows of features are the usual one.
  const dims = shape.length === 0 ? [-1, -1] : shape;
  // The first dimension that is free counts the rows; a lone row fills any other with 1.
  const free = dims.findIndex((dim, i) => dim === -1 && i < dims.length - 1);
  const full = dims.map((dim, i) => (i === dims.length - 1 ? width : i === free ? rows : dim === -1 ? 1 : dim));
  if (elementCount(full) === rows * width) return full;
  const one = elementCount(full.with(free >= 0 ? free : dims.length - 1, 1)) === width || free < 0;
  throw new AppError(
    'invalid_request',
    rows > 1 && one
      ? `input "${name}" [${shape}] takes one row at a time, the request has ${rows}`
      : `input "${name}" [${shape}] takes more than one row of features`,
  );
}
