// Operators whose output at a place depends on their inputs at that place.
import { dataTypes } from '@edgeloop/shared/onnx/data-types';
import { freshSize, type Operator, type OperatorCall, type Outcome } from '../operator-call.ts';
import { constant, isOne, numberOf, one, type Size, sameSize } from '../sizes.ts';
import {
  counted,
  fixed,
  isFloat,
  isInteger,
  isSize,
  type TensorState,
  type Value,
  withRows,
  withValues,
} from '../tensor-state.ts';
import { combined } from '../values.ts';

type TypeOf = (call: OperatorCall) => number;

const firstType: TypeOf = (call) => call.first().type;
const truth: TypeOf = () => dataTypes.bool;

/** One input that matters, of any shape. */
export function unary(typeOf: TypeOf = firstType): Operator {
  return (call) => {
    if (!call.restFixed()) return 'its settings depend on the rows';
    return [{ ...call.first(), type: typeOf(call), values: undefined }];
  };
}

/** The same elements; `typeOf` when they become others of the same worth. */
export function same(typeOf: TypeOf = firstType): Operator {
  return (call) => {
    const { values, ...x } = call.first();
    const type = typeOf(call);
    const whole = isFloat(x.type) && isInteger(type) ? values?.map(truncated) : values;
    return [{ ...x, type, values: whole }];
  };
}

function truncated(value: Value): Value {
  const number = isSize(value) ? numberOf(value) : undefined;
  return number === undefined ? value : constant(Math.trunc(number));
}

/** Inputs of shapes that fit each other; `from` is the first of them. */
export function joint(typeOf: TypeOf = firstType): Operator {
  return (call) => {
    const inputs = call.inputs.filter((input) => input !== undefined);
    const values = combined(call.node.opType, inputs);
    return broadcast(inputs, typeOf(call), values);
  };
}

export const compared = joint(truth);
export const truthOf = unary(truth);
export const cast = same((call) => call.int('to', 0));
export const castLike = same((call) => call.inputs[1]?.type ?? 0);
export const chosen = joint((call) => call.inputs[1]?.type ?? 0);

/** The same, unless it is set to train; and which elements it kept. */
export const dropout: Operator = (call) => {
  const x = call.first();
  const trains = call.inputs[2] === undefined ? false : call.numbers(2)?.[0] !== 0;
  if (trains || !call.restFixed()) return 'it draws at random';
  return [x, { ...x, type: dataTypes.bool, values: undefined }];
};

/** Integers by a number that may be 0 (or -1) end the process; nobody could try what the rows do to each other. */
export const divided: Operator = (call) => {
  const [a, b] = call.inputs;
  const apart = a?.axis === undefined && b?.axis === undefined;
  const divisors = call.numbers(1);
  if (apart || isFloat(call.first().type) || divisors?.every((each) => each !== 0 && each !== -1)) return joint()(call);
  return 'it divides integers, and some of them end the process';
};

/** With values where they are known. */
export function broadcast(inputs: readonly TensorState[], type: number, values?: readonly Value[]): Outcome {
  const counts = inputs.some((input) => input.counts);
  const dims = broadcastDims(inputs);
  if (inputs.every(({ axis }) => axis === undefined)) {
    if (values && dims) return [withValues(dims, type, values)];
    return [counts ? counted(dims, type) : fixed(dims, type)];
  }
  if (counts) return 'it takes the number of rows for a value';
  if (!dims) return 'the shape of one of its inputs is not known';
  const places = inputs.map(
    (input) => input.axis !== undefined && input.axis + dims.length - (input.dims?.length ?? 0),
  );
  const place = places.find((each) => each !== false);
  if (place === undefined || places.some((each) => each !== false && each !== place))
    return 'the rows of its inputs lie along different dimensions';
  const size = dims[place];
  for (const { dims: own = [], axis } of inputs) {
    const at = own[place - dims.length + own.length];
    const fits = axis === undefined ? at === undefined || isOne(at) : at && size && sameSize(at, size);
    if (!fits) return 'one of its inputs does not have the rows of the others';
  }
  return [withRows(dims, place, type)];
}

function broadcastDims(inputs: readonly TensorState[]): Size[] | undefined {
  const rank = Math.max(0, ...inputs.map(({ dims }) => dims?.length ?? 0));
  if (inputs.some(({ dims }) => dims === undefined)) return undefined;
  return Array.from({ length: rank }, (_, place) =>
    inputs.map(({ dims = [] }) => dims[place - rank + dims.length] ?? one).reduce(fitted, one),
  );
}

function fitted(a: Size, b: Size): Size {
  if (isOne(b) || sameSize(a, b)) return a;
  if (isOne(a)) return b;
  // A size that is not known may be 1, or as the other: what has the rows, or is known, tells it.
  if (a.rows || b.rows) return a.rows ? a : b;
  if (a.names.length === 0 || b.names.length === 0) return a.names.length === 0 ? a : b;
  return freshSize();
}
