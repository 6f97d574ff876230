// Operators that pick, cut, join and fill along one dimension or several: rows stay apart where that is none of theirs.
import { dataTypes } from '@edgeloop/shared/onnx/data-types';
import { freshSize, type Operator, type OperatorCall, type Outcome, placeOf } from '../operator-call.ts';
import { constant, numberOf, one, type Size, sameSize } from '../sizes.ts';
import {
  counted,
  fixed,
  isFixed,
  isSize,
  type TensorState,
  type Value,
  withRows,
  withValues,
} from '../tensor-state.ts';

export const gather: Operator = (call) => {
  const data = call.first();
  const indices = call.inputs[1];
  if (!indices || indices.counts) return 'it picks by the number of rows';
  const { dims: own } = data;
  const { dims: picked } = indices;
  if (!own || !picked) {
    const apart = data.axis === undefined && indices.axis === undefined;
    return apart ? [data.counts ? counted(undefined, data.type) : fixed(undefined, data.type)] : 'a shape is not known';
  }
  const axis = placeOf(call.int('axis', 0), own.length);
  const dims = own.toSpliced(axis, 1, ...picked);
  if (data.axis === undefined && indices.axis === undefined) return [pickedValues(call, data, dims)];
  if (data.counts) return 'it takes the number of rows for a value';
  if (data.axis === undefined) return [withRows(dims, axis + (indices.axis ?? 0), data.type)];
  if (indices.axis !== undefined) return 'each row picks from all rows';
  if (data.axis === axis) return 'it picks rows by their place';
  return [withRows(dims, data.axis < axis ? data.axis : data.axis + picked.length - 1, data.type)];
};

function pickedValues(call: OperatorCall, data: TensorState, dims: readonly Size[]): TensorState {
  const places = call.numbers(1);
  const { values, type } = data;
  if (values && places && data.dims?.length === 1)
    return withValues(
      dims,
      type,
      places.map((place) => values.at(place) ?? 'fixed'),
    );
  return data.counts ? counted(dims, type) : fixed(dims, type);
}

/** GatherElements and its counterpart: all inputs have the rows along the same dimension, another than the one picked from. */
export const elementsAlong: Operator = (call) => {
  const [data, ...rest] = call.inputs;
  if (!data?.dims) return 'a shape is not known';
  const axis = placeOf(call.int('axis', 0), data.dims.length);
  if (call.inputs.every((input) => input === undefined || isFixed(input)))
    return [fixed(rest[0]?.dims ?? data.dims, data.type)];
  const size = data.axis === undefined ? undefined : data.dims[data.axis];
  if (data.axis === undefined || !size) return 'not all of its inputs have the rows';
  if (data.axis === axis) return 'it picks rows by their place';
  for (const input of rest) {
    const own = input?.axis === data.axis ? input.dims?.[data.axis] : undefined;
    if (!own || !sameSize(own, size)) return 'not all of its inputs have the rows';
  }
  const result = call.node.opType === 'GatherElements' ? rest[0] : data;
  return [withRows(result?.dims ?? data.dims, data.axis, data.type)];
};

export const concat: Operator = (call) => {
  const inputs = call.inputs.filter((input) => input !== undefined);
  const [first] = inputs;
  const type = first?.type ?? 0;
  const rank = first?.dims?.length;
  const axis = placeOf(call.int('axis', 1), rank ?? 1);
  const withAxis = inputs.filter((input) => input.axis !== undefined);
  if (withAxis.length === 0) return [concatenated(inputs, axis, type)];
  if (withAxis.length < inputs.length) return 'not all of its inputs have the rows';
  const [one] = withAxis;
  if (!one?.dims || one.axis === undefined) return 'a shape is not known';
  const size = one.dims[one.axis];
  for (const { axis: own, dims } of withAxis) {
    const rows = own === one.axis ? dims?.[own] : undefined;
    if (!rows || !size || !sameSize(rows, size)) return 'the rows of its inputs lie along different dimensions';
  }
  if (one.axis === axis) return 'it puts rows behind the rows';
  return [withRows(one.dims.with(axis, total(withAxis, axis)), one.axis, type)];
};

function concatenated(inputs: readonly TensorState[], axis: number, type: number): TensorState {
  const lists = inputs.map(({ values, dims, counts }): readonly Value[] | undefined => {
    if (values || dims?.length !== 1) return values;
    const length = numberOf(dims[0] ?? one);
    return length === undefined || length > 64 ? undefined : Array<Value>(length).fill(counts ? 'counted' : 'fixed');
  });
  const [first] = inputs;
  if (first?.dims?.length === 1 && lists.every((list) => list !== undefined)) {
    const values = lists.flat();
    return withValues([constant(values.length)], type, values);
  }
  const dims = inputs.every((input) => input.dims) ? first?.dims?.with(axis, total(inputs, axis)) : undefined;
  return inputs.some(({ counts }) => counts) ? counted(dims, type) : fixed(dims, type);
}

function total(inputs: readonly TensorState[], axis: number): Size {
  const sizes = inputs.map(({ dims }) => dims?.[axis] && numberOf(dims[axis]));
  return sizes.every((size) => size !== undefined) ? constant(sizes.reduce((sum, size) => sum + size, 0)) : freshSize();
}

export const split: Operator = (call) => {
  const x = call.first();
  const { dims } = x;
  const count = call.node.outputs.length;
  if (!call.restFixed()) return 'its settings depend on the rows';
  if (!dims) return Array<TensorState>(count).fill(fixed(undefined, x.type));
  const axis = placeOf(call.int('axis', 0), dims.length);
  if (x.axis === axis) return 'it cuts along the rows';
  const given = call.setting('split', 1);
  const size = numberOf(dims[axis] ?? one);
  const even = given === null && size !== undefined && size % count === 0 ? size / count : undefined;
  return Array.from({ length: count }, (_, i) => {
    const part = given?.[i] ?? even;
    return { ...x, values: undefined, dims: dims.with(axis, part === undefined ? freshSize() : constant(part)) };
  });
};

const farEnd = 2 ** 31 - 1;

export const slice: Operator = (call) => {
  const x = call.first();
  const { dims } = x;
  if (call.inputs.slice(1).some((input) => input?.axis !== undefined)) return 'where it cuts depends on the rows';
  if (!dims) return [x.counts || !call.restFixed() ? counted(undefined, x.type) : fixed(undefined, x.type)];
  const axesGiven = call.setting('axes', 3);
  const starts = sliceSetting(call, 'starts', 1);
  const ends = sliceSetting(call, 'ends', 2);
  const axes =
    axesGiven === null ? starts?.map((_, place) => place) : axesGiven?.map((axis) => placeOf(axis, dims.length));
  if (!axes)
    return x.axis === undefined && call.restFixed()
      ? [{ ...x, dims: dims.map(freshSize), values: undefined }]
      : 'it is not known where it cuts';
  const steps = call.inputs[4] === undefined ? axes.map(() => 1) : call.numbers(4);
  const cut = [...dims];
  for (const [i, axis] of axes.entries()) {
    const part = { start: starts?.[i], end: ends?.[i], step: steps?.[i] };
    const size = cutSize(dims[axis] ?? one, part);
    if (typeof size === 'string') return size;
    cut[axis] = size;
  }
  const [start, end, step] = [call.numbers(1), call.numbers(2), steps?.[0]];
  const known = dims.length === 1 && axes.length === 1 && step === 1 && start && end;
  if (x.values && known) {
    const values = x.values.slice(start[0], end[0]);
    return [withValues([constant(values.length)], x.type, values)];
  }
  return [{ ...x, dims: cut, values: undefined }];
};

function sliceSetting(call: OperatorCall, name: string, place: number): readonly Value[] | undefined {
  return call.ints(name)?.map(constant) ?? call.inputs[place]?.values;
}

function cutSize(
  size: Size,
  { start, end, step }: { start: Value | undefined; end: Value | undefined; step: number | undefined },
): Size | string {
  const [from, to] = [start, end].map((value) => (isSize(value) ? numberOf(value) : undefined));
  const whole = from === 0 && step === 1 && ((to ?? 0) >= farEnd || (isSize(end) && sameSize(end, size)));
  if (whole) return size;
  if (size.rows) return 'it cuts along the rows';
  if ([start, end].some((value) => value === 'counted' || (isSize(value) && value.rows)))
    return 'it cuts by the number of rows';
  const length = numberOf(size);
  if (length === undefined || from === undefined || to === undefined || step === undefined || step < 1)
    return freshSize();
  const [first, last] = [from, to].map((place) => Math.min(length, Math.max(0, place < 0 ? place + length : place)));
  return constant(Math.max(0, Math.ceil(((last ?? 0) - (first ?? 0)) / step)));
}

export const pad: Operator = (call) => {
  const x = call.first();
  if (!call.restFixed()) return 'its settings depend on the rows';
  const { dims } = x;
  const pads = call.setting('pads', 1);
  const axesGiven = call.inputs[3] === undefined ? null : call.numbers(3);
  if (!dims || !pads || axesGiven === undefined)
    return x.axis === undefined ? [fixed(dims?.map(freshSize), x.type)] : 'it is not known where it fills up';
  const axes = axesGiven?.map((axis) => placeOf(axis, dims.length)) ?? dims.map((_, place) => place);
  const filled = [...dims];
  for (const [i, axis] of axes.entries()) {
    const added = (pads[i] ?? 0) + (pads[i + axes.length] ?? 0);
    const touched = pads[i] !== 0 || pads[i + axes.length] !== 0;
    if (axis === x.axis && touched) return 'it adds rows, or takes some away';
    const length = numberOf(dims[axis] ?? one);
    if (touched) filled[axis] = length === undefined ? freshSize() : constant(length + added);
  }
  return [{ ...x, dims: filled, values: undefined }];
};

export const topK: Operator = (call) => {
  const x = call.first();
  if (!x.dims || !call.restFixed()) return 'how many it takes is not known';
  const axis = placeOf(call.int('axis', -1), x.dims.length);
  if (axis === x.axis) return 'it compares the rows with each other';
  const [k] = call.numbers(1) ?? [];
  const dims = x.dims.with(axis, k === undefined ? freshSize() : constant(k));
  return [
    { ...x, dims, values: undefined },
    { ...x, dims, values: undefined, type: dataTypes.int64 },
  ];
};

/** Indices into what a row has of its own. */
export const gatherNd: Operator = (call): Outcome => {
  const [data, indices] = call.inputs;
  if (!data?.dims || !indices?.dims || data.counts || indices.counts) return 'a shape is not known';
  if (data.axis === undefined && indices.axis === undefined) return [fixed(undefined, data.type)];
  const [rows, own] = [data.dims[0], indices.dims[0]];
  if (call.int('batch_dims', 0) < 1 || data.axis !== 0 || indices.axis !== 0 || !rows || !own || !sameSize(rows, own))
    return 'each row picks from all rows';
  const width = numberOf(indices.dims.at(-1) ?? one);
  if (width === undefined) return 'a shape is not known';
  const rest = data.dims.slice(call.int('batch_dims', 0) + width);
  return [withRows([...indices.dims.slice(0, -1), ...rest], 0, data.type)];
};

/** Above or below the diagonal of the last two dimensions. */
export const trilu: Operator = (call) => {
  const x = call.first();
  if (!call.restFixed()) return 'its settings depend on the rows';
  if (x.axis !== undefined && x.axis >= (x.dims?.length ?? 0) - 2) return 'it cuts along the rows';
  return [{ ...x, values: undefined }];
};
