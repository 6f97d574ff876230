// Trees, linear models and what prepares features for them (`ai.onnx.ml`), on tables: [rows, features].
import { dataTypes } from '@edgeloop/shared/onnx/data-types';
import { freshSize, type Operator, type OperatorCall } from '../operator-call.ts';
import { constant, one, type Size } from '../sizes.ts';
import { isFixed, type TensorState, withRows } from '../tensor-state.ts';

/** A table with the rows first; anything else is not looked at. */
function table(call: OperatorCall): { rows: Size; x: TensorState } | string {
  const x = call.first();
  if (x.axis !== 0 || x.dims?.length !== 2) return 'it takes a table with the rows first, and this is none';
  return call.restFixed() ? { rows: x.dims[0] ?? one, x } : 'its settings depend on the rows';
}

/** A label and scores for each row. */
export const classifier: Operator = (call) => {
  const found = table(call);
  if (typeof found === 'string') return found;
  const texts = ['classlabels_strings', 'classlabels_string'].some(
    (name) => (call.node.attributes.get(name)?.texts.length ?? 0) > 0,
  );
  const label = withRows([found.rows], 0, texts ? dataTypes.string : dataTypes.int64);
  return [label, withRows([found.rows, freshSize()], 0, dataTypes.float)];
};

export const regressor: Operator = (call) => {
  const found = table(call);
  if (typeof found === 'string') return found;
  const targets = call.node.attributes.get('n_targets')?.int ?? call.node.attributes.get('targets')?.int;
  const width = targets === undefined ? freshSize() : constant(targets);
  return [withRows([found.rows, width], 0, call.node.opType === 'TreeEnsemble' ? found.x.type : dataTypes.float)];
};

/** Each feature for itself, or each row for itself. */
export const prepared: Operator = (call) => {
  const found = table(call);
  if (typeof found === 'string') return found;
  const { opType } = call.node;
  const type = opType === 'Scaler' || opType === 'Normalizer' ? dataTypes.float : found.x.type;
  return [{ ...found.x, type, values: undefined }];
};

/** Each element for itself, by a table of the file. */
export const looked: Operator = (call) => {
  const x = call.first();
  if (x.counts) return 'it takes the number of rows for a value';
  return [{ ...x, type: lookedType(call), values: undefined }];
};

function lookedType({ node }: OperatorCall): number {
  const has = (name: string): boolean => node.attributes.has(name);
  if (has('values_strings') || (has('cats_int64s') && node.opType === 'CategoryMapper')) return dataTypes.string;
  if (has('values_floats')) return dataTypes.float;
  return has('values_int64s') ? dataTypes.int64 : 0;
}

export const encodedCategory: Operator = (call) => {
  const x = call.first();
  if (x.counts || !x.dims) return 'its shape is not known';
  const { attributes } = call.node;
  const count = Math.max(
    attributes.get('cats_int64s')?.ints.length ?? 0,
    attributes.get('cats_strings')?.texts.length ?? 0,
  );
  return [{ ...x, dims: [...x.dims, constant(count)], type: dataTypes.float, values: undefined }];
};

/** Features by their place, along the last dimension. */
export const extracted: Operator = (call) => {
  const x = call.first();
  const places = call.inputs[1];
  if (x.axis !== 0 || x.dims?.length !== 2 || !places || !isFixed(places)) return 'it picks rows by their place';
  return [withRows([x.dims[0] ?? one, freshSize()], 0, x.type)];
};

/** Columns beside each other. */
export const featureVector: Operator = (call) => {
  const inputs = call.inputs.filter((input) => input !== undefined);
  if (inputs.some(({ axis, dims }) => axis !== 0 || dims?.length !== 2)) return 'it takes tables with the rows first';
  return [withRows([inputs[0]?.dims?.[0] ?? one, freshSize()], 0, dataTypes.float)];
};

/** Served as the table of scores that it takes. */
export const mappedScores: Operator = (call) => [call.first()];
