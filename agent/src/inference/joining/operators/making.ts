// Operators that make tensors of shapes, numbers and other tensors: Shape, Constant, Expand, Tile and their like.

import { dataTypes } from '@edgeloop/shared/onnx/data-types';
import type { GraphTensor } from '@edgeloop/shared/onnx/graph';
import { freshSize, type Operator, placeOf } from '../operator-call.ts';
import { constant, isConstant, isOne, one, product, type Size, sameSize } from '../sizes.ts';
import { counted, fixed, isSize, type TensorState, type Value, withRows, withValues } from '../tensor-state.ts';

/** A constant of the file. */
export function constantState({ dims, dataType, values }: GraphTensor): TensorState {
  const sizes = dims.map(constant);
  return values ? withValues(sizes, dataType, values.map(constant)) : fixed(sizes, dataType);
}

export const constantNode: Operator = (call) => {
  const { attributes } = call.node;
  const tensor = attributes.get('value')?.tensor;
  if (tensor) return [constantState(tensor)];
  const int = attributes.get('value_int')?.int;
  if (int !== undefined) return [withValues([], dataTypes.int64, [constant(int)])];
  const ints = attributes.get('value_ints')?.ints;
  if (ints) return [withValues([constant(ints.length)], dataTypes.int64, ints.map(constant))];
  const float = attributes.get('value_float')?.float;
  if (float !== undefined) return [withValues([], dataTypes.float, [constant(float)])];
  const floats = attributes.get('value_floats')?.floats;
  if (floats) return [withValues([constant(floats.length)], dataTypes.float, floats.map(constant))];
  return [fixed(undefined, 0)];
};

export const shapeOf: Operator = (call) => {
  const { dims } = call.first();
  if (!dims) return [fixed([freshSize()], dataTypes.int64)];
  const picked = dims.slice(call.int('start', 0), call.int('end', dims.length));
  return [withValues([constant(picked.length)], dataTypes.int64, picked)];
};

export const sizeOf: Operator = (call) => {
  const { dims } = call.first();
  const size = dims && product(dims);
  return size ? [withValues([], dataTypes.int64, [size])] : [fixed([], dataTypes.int64)];
};

/** A tensor of these dimensions that holds the same for every row. */
function filled(values: readonly Value[] | undefined, type: number, value: number | undefined): TensorState | string {
  if (!values) return fixed(undefined, type);
  if (values.includes('counted')) return 'its shape depends on the number of rows in a way that is not known';
  const dims = values.map((each) => (isSize(each) ? each : freshSize()));
  const places = dims.flatMap(({ rows }, place) => (rows ? [place] : []));
  if (places.length > 1) return 'the number of rows stands twice in its shape';
  const [axis] = places;
  if (axis !== undefined) return withRows(dims, axis, type);
  const count = product(dims);
  const small = count && isConstant(count) && count.factor <= 64 && value !== undefined;
  return small ? withValues(dims, type, Array(count.factor).fill(constant(value))) : fixed(dims, type);
}

export const constantOfShape: Operator = (call) => {
  const shape = call.first();
  if (shape.axis !== undefined) return 'its shape depends on the values of the rows';
  if (shape.counts && !shape.values) return 'its shape depends on the number of rows in a way that is not known';
  const tensor = call.node.attributes.get('value')?.tensor;
  const value = tensor ? tensor.values?.[0] : 0;
  const made = filled(shape.values, tensor?.dataType ?? dataTypes.float, value);
  return typeof made === 'string' ? made : [made];
};

export const range: Operator = (call) => {
  if (!call.restFixed(0)) return 'it counts the rows, so that a row is told by its place';
  return [fixed([freshSize()], call.first().type)];
};

export const expand: Operator = (call) => {
  const x = call.first();
  const wanted = call.inputs[1]?.values;
  if (!wanted || !x.dims) {
    return x.axis === undefined && call.restFixed(0)
      ? [fixed(undefined, x.type)]
      : 'its shape is not known before a run';
  }
  if (wanted.includes('counted')) return 'its shape depends on the number of rows in a way that is not known';
  const rank = Math.max(x.dims.length, wanted.length);
  const [dims, axes]: [Size[], number[]] = [[], []];
  for (let place = 0; place < rank; place++) {
    const own = x.dims[place - rank + x.dims.length] ?? one;
    const value = wanted[place - rank + wanted.length] ?? one;
    const size = isSize(value) ? expanded(own, value) : own.rows ? own : freshSize();
    if (!size) return 'it spreads over the rows what is none of theirs';
    // A value that is not known might be as many as the rows of one request.
    if (own.rows && !isSize(value)) return 'its shape is not known before a run';
    if (size.rows) axes.push(place);
    dims.push(size);
  }
  return spread(x, dims, axes);
};

/** Of one dimension; undefined when rows would come of what is none. */
function expanded(own: Size, value: Size): Size | undefined {
  if (isOne(value) || sameSize(own, value)) return own;
  if (isOne(own)) return value;
  if (own.rows || value.rows) return undefined;
  return isConstant(own) ? own : isConstant(value) ? value : freshSize();
}

function spread(x: TensorState, dims: readonly Size[], axes: readonly number[]): ReturnType<Operator> {
  const [axis] = axes;
  if (axes.length > 1) return 'the number of rows stands twice in its shape';
  if (axis === undefined) return [x.counts ? counted(dims, x.type) : fixed(dims, x.type)];
  return x.counts ? 'it takes the number of rows for a value' : [withRows(dims, axis, x.type)];
}

export const tile: Operator = (call) => {
  const x = call.first();
  const repeats = call.inputs[1]?.values;
  if (!repeats || !x.dims) {
    return x.axis === undefined && call.restFixed(0)
      ? [fixed(undefined, x.type)]
      : 'its repeats are not known before a run';
  }
  const [dims, axes]: [Size[], number[]] = [[], []];
  for (const [place, own] of x.dims.entries()) {
    const times = repeats[place] ?? one;
    if (times === 'counted') return 'its repeats depend on the number of rows in a way that is not known';
    if (own.rows && !(isSize(times) && isOne(times))) return 'it repeats the rows';
    // Over and over is row by row only where there is one to repeat.
    if (isSize(times) && times.rows && !isOne(own)) return 'it repeats over the rows what is none of theirs';
    const size = isSize(times) ? product([own, times]) : freshSize();
    if (!size) return 'the number of rows stands twice in its shape';
    if (size.rows) axes.push(place);
    dims.push(size);
  }
  return spread(x, dims, axes);
};

export const oneHot: Operator = (call) => {
  const x = call.first();
  if (!call.restFixed()) return 'its settings depend on the rows';
  if (!x.dims)
    return x.axis === undefined && !x.counts ? [fixed(undefined, call.inputs[2]?.type ?? 0)] : 'its shape is not known';
  if (x.counts) return 'it takes the number of rows for a value';
  const [depth] = call.numbers(1) ?? [];
  const place = placeOf(call.int('axis', -1), x.dims.length + 1);
  const dims = x.dims.toSpliced(place, 0, depth === undefined ? freshSize() : constant(depth));
  const type = call.inputs[2]?.type ?? 0;
  if (x.axis === undefined) return [fixed(dims, type)];
  return [withRows(dims, x.axis >= place ? x.axis + 1 : x.axis, type)];
};
