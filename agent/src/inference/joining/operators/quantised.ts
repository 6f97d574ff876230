// Operators on integers that stand for floats. Their scales come from the file; those that are taken from the values
// themselves (DynamicQuantizeLinear) would be those of all rows together.
import { dataTypes } from '@edgeloop/shared/onnx/data-types';
import { type Operator, placeOf } from '../operator-call.ts';
import { isOne, numberOf, one } from '../sizes.ts';
import { broadcast } from './elementwise.ts';
import { multiplied } from './matrices.ts';
import { convolvedDims, perRow } from './pictures.ts';

/** QuantizeLinear and DequantizeLinear: a scale for all, or one for each place along another dimension than that of the rows. */
export const rescaled: Operator = (call) => {
  const x = call.first();
  const [, scale, zero] = call.inputs;
  if (x.counts || !call.restFixed()) return 'its scale depends on the rows';
  const type = call.node.opType === 'DequantizeLinear' ? (scale?.type ?? 0) : (zero?.type ?? dataTypes.uint8);
  if (x.axis !== undefined) {
    const dims = scale?.dims;
    const single = dims?.length === 0 || (dims?.length === 1 && isOne(dims[0] ?? one));
    const along = placeOf(call.int('axis', 1), x.dims?.length ?? 0);
    if (!dims || dims.length > 1 || (!single && along === x.axis)) return 'its scale lies along the rows';
  }
  return [{ ...x, type, values: undefined }];
};

/** QLinearAdd and QLinearMul: two inputs, each with scale and zero point, then those of the result. */
export const quantisedPair: Operator = (call) => {
  const [a, aScale, aZero, b, ...rest] = call.inputs;
  if (!a || !b || [aScale, aZero, ...rest].some((each) => each && (each.axis !== undefined || each.counts)))
    return 'its scale depends on the rows';
  return broadcast([a, b], a.type);
};

export const quantisedProduct: Operator = (call) => {
  const [a, aScale, aZero, b, ...rest] = call.inputs;
  const settings = [aScale, aZero, ...rest];
  if (!a || !b || settings.some((each) => each && (each.axis !== undefined || each.counts)))
    return 'its scale depends on the rows';
  // Only the matrix of weights may have one for each column.
  if ([aScale, aZero, rest[2], rest[3]].some((each) => each && !isSingle(each.dims)))
    return 'it has a scale for each place';
  return multiplied(a, b, rest[3]?.type ?? a.type);
};

function isSingle(dims: readonly Parameters<typeof numberOf>[0][] | undefined): boolean {
  return dims?.every((size) => numberOf(size) === 1) ?? false;
}

export const integerProduct: Operator = (call) => {
  const [a, b, aZero, bZero] = call.inputs;
  if (!a || !b || [aZero, bZero].some((each) => each && (each.axis !== undefined || each.counts)))
    return 'its zero point depends on the rows';
  if (aZero && !isSingle(aZero.dims)) return 'it has a zero point for each place';
  return multiplied(a, b, dataTypes.int32);
};

/** QLinearConv: the filters come fourth. */
export const quantisedConv = perRow(convolvedDims(3), (call) => call.inputs[7]?.type ?? call.first().type);
export const integerConv = perRow(convolvedDims(1), () => dataTypes.int32);
