// Operators that look along some dimensions (sums, softmax, normalising): rows stay apart where these are not theirs.
import { dataTypes } from '@edgeloop/shared/onnx/data-types';
import { type Operator, type OperatorCall, placeOf } from '../operator-call.ts';
import { one } from '../sizes.ts';
import { counted, fixed, type TensorState, withValues } from '../tensor-state.ts';
import { productOf } from '../values.ts';

/** Along one dimension; the shape stays. `otherwise` where the file does not say which. */
export function alongOne(otherwise: number): Operator {
  return (call) => {
    const x = call.first();
    const axis = placeOf(call.int('axis', otherwise), x.dims?.length ?? 0);
    if (x.axis !== undefined && x.axis === axis) return 'it works along the rows';
    return shaped(call, x);
  };
}

/** Along one dimension and all behind it. */
function fromOneOn(otherwise: number): Operator {
  return (call) => {
    const x = call.first();
    const axis = placeOf(call.int('axis', otherwise), x.dims?.length ?? 0);
    if (x.axis !== undefined && x.axis >= axis) return 'it works along the rows';
    return shaped(call, x);
  };
}

/** Before opset 13, all dimensions from the axis on counted as one. */
export const softmax: Operator = (call) => (call.opset < 13 ? fromOneOn(1) : alongOne(-1))(call);

export const layerNorm = fromOneOn(-1);

/** Each output as the input, as far as it is one of the same shape. */
function shaped(call: OperatorCall, x: TensorState): readonly TensorState[] | string {
  if (!call.restFixed()) return 'its settings depend on the rows';
  const outputs = call.node.outputs.filter((name) => name !== '').length;
  return outputs > 1 ? 'it gives more than is looked at' : [{ ...x, values: undefined }];
}

export const cumulated: Operator = (call) => {
  const x = call.first();
  const [axis] = call.numbers(1) ?? [];
  if (!call.restFixed() || (axis === undefined && x.axis !== undefined))
    return 'it is not known along which dimension it works';
  if (x.axis !== undefined && placeOf(axis ?? 0, x.dims?.length ?? 0) === x.axis) return 'it works along the rows';
  return [{ ...x, values: undefined }];
};

export const reduced: Operator = (call) => {
  const x = call.first();
  if (!call.restFixed()) return 'its axes depend on the rows';
  const axes = call.setting('axes', 1);
  const none = axes === null || axes?.length === 0;
  if (none && call.int('noop_with_empty_axes', 0) !== 0) return [{ ...x, values: undefined }];
  const { dims } = x;
  if (!dims || axes === undefined)
    return x.axis === undefined ? [{ ...x, dims: undefined, values: undefined }] : 'its axes are not known';
  const gone = new Set(none ? dims.keys() : axes?.map((axis) => placeOf(axis, dims.length)));
  if (x.axis !== undefined && gone.has(x.axis)) return 'it works along the rows';
  const keeps = call.int('keepdims', 1) !== 0;
  if (x.values && call.node.opType === 'ReduceProd') {
    const kept = keeps ? dims.map(() => one) : [];
    return [withValues(kept, x.type, [productOf(x.values)])];
  }
  return [without(x, gone, keeps)];
};

export const best: Operator = (call) => {
  const x = call.first();
  const { dims } = x;
  if (!dims) return [x.counts ? counted(undefined, dataTypes.int64) : fixed(undefined, dataTypes.int64)];
  const axis = placeOf(call.int('axis', 0), dims.length);
  if (x.axis === axis) return 'it compares the rows with each other';
  return [{ ...without(x, new Set([axis]), call.int('keepdims', 1) !== 0), type: dataTypes.int64 }];
};

function without(x: TensorState, gone: ReadonlySet<number>, keeps: boolean): TensorState {
  const { dims = [], axis } = x;
  const left = keeps
    ? dims.map((size, place) => (gone.has(place) ? one : size))
    : dims.filter((_, place) => !gone.has(place));
  const before = keeps ? 0 : [...gone].filter((place) => place < (axis ?? 0)).length;
  return { ...x, dims: left, axis: axis === undefined ? undefined : axis - before, values: undefined };
}

/** Over these dimensions together; before opset 9 they could not be said. */
export const meanVariance: Operator = (call) => {
  const x = call.first();
  const axes = (call.ints('axes') ?? [0, 2, 3]).map((axis) => placeOf(axis, x.dims?.length ?? 0));
  if (x.axis !== undefined && axes.includes(x.axis)) return 'it works along the rows';
  return [{ ...x, values: undefined }];
};
