// Rows of named features -> tensors, with errors that name the row and the feature.
import { AppError } from '@edgeloop/shared/errors';
import type { FeatureInput } from '@edgeloop/shared/meaning/interpretation';
import { unansweredBy } from '@edgeloop/shared/meaning/missing-values';
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

/** A feature without a value: what was recorded of the row says so, whatever the model got in its place. */
export interface MissingFeature {
  row: number;
  /** Among the names of all features. */
  column: number;
  name: string;
  input: FeatureInput;
}

export interface FeatureTensors {
  tensors: NamedTensor[];
  missing: MissingFeature[];
}

const wide = new Set(['INT64', 'UINT64']);

/** Tensors with a row for each row. Throws `invalid_request` naming what is wrong with which feature. */
export function featureTensors(rows: readonly FeatureRow[], model: LoadedModel, single: boolean): FeatureTensors {
  const { featureInputs, featureNames } = model.interpretation;
  const values = rows.map((row, at) => {
    const place = placeOf(at, single);
    return isList(row) ? inOrder(row, featureNames.size, place) : byName(row, featureNames, place);
  });
  const missing: MissingFeature[] = [];
  let start = 0;
  const tensors = featureInputs.map((input) => {
    const [from, end] = [start, start + input.features.length];
    start = end;
    const own = values.map((row, at) => filled(row.slice(from, end), { input, from, row: at, single, missing }));
    return tensorOfRows(input, own, single);
  });
  return { tensors, missing };
}

function placeOf(row: number, single: boolean): Place {
  return single ? { field: 'features', prefix: '' } : { field: `rows.${row}`, prefix: `row ${row + 1}: ` };
}

function isList(row: FeatureRow): row is readonly unknown[] {
  return Array.isArray(row);
}

function inOrder(values: readonly unknown[], expected: number, { field, prefix }: Place): readonly unknown[] {
  if (values.length === expected) return values;
  throw new AppError('invalid_request', `${prefix}${field} has ${values.length} values, the model takes ${expected}`);
}

/** Undefined where the row does not name the feature. */
function byName(features: Record<string, unknown>, names: ReadonlySet<string>, place: Place): unknown[] {
  const unknown = Object.keys(features).find((name) => !names.has(name));
  if (unknown !== undefined) throw featureError(place, unknown, unknownFeature(unknown, names));
  return Array.from(names, (name) => (Object.hasOwn(features, name) ? features[name] : undefined));
}

interface Filling {
  input: FeatureInput;
  /** Place of the input's first feature among all. */
  from: number;
  row: number;
  single: boolean;
  /** Is told what had no value. */
  missing: MissingFeature[];
}

/** The values, with a default or NaN in the place of those that are missing. */
function filled(values: readonly unknown[], { input, from, row, single, missing }: Filling): readonly unknown[] {
  const { spec, features } = input;
  const { defaults, otherwise } = input.missing;
  if (!values.some((value) => isMissing(value, spec))) return values;
  return values.map((value, at) => {
    const name = features[at] ?? '';
    if (!isMissing(value, spec)) return value;
    missing.push({ row, column: from + at, name, input });
    if (defaults.has(name)) return defaults.get(name);
    if (value !== undefined && otherwise !== 'refuse') return 'NaN';
    const reason = `feature "${name}" is missing`;
    if (value === undefined) throw featureError(placeOf(row, single), name, reason);
    throw featureError(placeOf(row, single), name, `${reason} (${value}), ${withoutValue(input, name)}`);
  });
}

function withoutValue({ spec }: FeatureInput, name: string): string {
  return `and input "${spec.name}" (${spec.datatype}) takes no missing values; ${remedy(spec, name)}`;
}

function remedy({ name, datatype }: TensorSpec, feature: string): string {
  const value = datatype === 'BYTES' ? 'a text' : 'a number';
  return `send ${value}, or give it one in the manifest: inputs.${name}.defaults.${feature}`;
}

/** "NaN" is how the protocol of tensors spells it. */
function isMissing(value: unknown, { datatype }: TensorSpec): boolean {
  return value === undefined || value === null || (value === 'NaN' && datatype.startsWith('FP'));
}

/** Throws `invalid_request` when the model makes nothing of a missing value, and the manifest does not allow that. */
export function checkAnswered(
  { missing, rows, single }: { missing: readonly MissingFeature[]; rows: number; single: boolean },
  outputs: readonly NamedTensor[],
): void {
  for (const { row, name, input } of missing) {
    if (input.missing.otherwise !== 'try' || input.missing.defaults.has(name)) continue;
    const output = unansweredBy(outputs, row, rows);
    if (!output) continue;
    const reason = `feature "${name}" is missing, and the model makes nothing of that: its output "${output.name}" is NaN`;
    throw featureError(placeOf(row, single), name, `${reason}; ${remedy(input.spec, name)}`);
  }
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
    throw featureError(placeOf(row, single), name, `feature "${name}" must be ${expected}, not ${shown(flat[at])}`);
  }
  return { name: spec.name, datatype: spec.datatype, shape: shapeOf(spec, rows.length, features.length), data };
}

/** Infinity is a number to the protocol, but nothing that a person would send as a feature. */
function isPlausible({ datatype }: TensorSpec, value: unknown): boolean {
  if (datatype === 'BYTES') return typeof value === 'string';
  if (typeof value === 'number') return Number.isFinite(value);
  if (value === 'NaN') return datatype.startsWith('FP');
  return (datatype === 'BOOL' && typeof value === 'boolean') || (wide.has(datatype) && typeof value === 'string');
}

function shown(value: unknown): string {
  const text = JSON.stringify(value) ?? 'nothing';
  return text.length > 60 ? `${text.slice(0, 60)}…` : text;
}

function shapeOf({ name, shape }: TensorSpec, rows: number, width: number): number[] {
  // ONNX files may leave a shape unsaid; rows of features are the usual one.
  const dims = shape.length === 0 ? [-1, -1] : shape;
  // The first dimension that is free counts the rows, or windows of as many rows as the fixed ones have; any other is 1.
  const free = dims.findIndex((dim, i) => dim === -1 && i < dims.length - 1);
  const window = elementCount(dims.slice(0, -1).map((dim) => Math.max(dim, 1)));
  const windows = free < 0 ? 1 : rows / window;
  if (rows % window === 0 && windows * window === rows) {
    return dims.map((dim, i) => (i === dims.length - 1 ? width : i === free ? windows : dim === -1 ? 1 : dim));
  }
  const takes = window === 1 ? 'one row' : `${window} rows`;
  const more = free < 0 ? '' : ', or a multiple of that';
  throw new AppError(
    'invalid_request',
    `input "${name}" [${shape}] takes ${takes} at a time${more}, the request has ${rows}`,
  );
}
