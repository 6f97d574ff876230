// Operators of convolutional networks, whose first dimension is the batch: [rows, channels, …].
import { freshSize, type Operator, type OperatorCall } from '../operator-call.ts';
import { constant, numberOf, one, product, quotient, type Size, sameSize } from '../sizes.ts';
import { fixed, isSize, type TensorState, withRows } from '../tensor-state.ts';

type DimsOf = (call: OperatorCall, dims: readonly Size[]) => Size[];

/** The rows come first, and what else it takes is none of theirs. */
export function perRow(dimsOf: DimsOf, typeOf = (call: OperatorCall) => call.first().type): Operator {
  return (call) => {
    const x = call.first();
    const reason = apart(call, x);
    if (reason !== undefined) return reason;
    // Such as places counted from the first row on.
    if (call.node.outputs.filter((name) => name !== '').length > 1) return 'it gives more than is looked at';
    const made = x.dims && dimsOf(call, x.dims);
    const state = made && x.axis !== undefined ? withRows(made, 0, typeOf(call)) : fixed(made, typeOf(call));
    return [state];
  };
}

function apart(call: OperatorCall, x: TensorState): string | undefined {
  if (x.counts || !call.restFixed()) return 'its settings depend on the rows';
  return x.axis === undefined || x.axis === 0
    ? undefined
    : 'it takes another dimension than that of the rows for the batch';
}

export const sameDims: DimsOf = (_, dims) => [...dims];

/** Settings of a window that is moved over the picture. */
interface Window {
  kernel: readonly number[];
  strides: readonly number[];
  dilations: readonly number[];
  pads: readonly number[];
}

function windowOf(call: OperatorCall, kernel: readonly number[]): Window {
  const ones = kernel.map(() => 1);
  return {
    kernel,
    strides: call.ints('strides') ?? ones,
    dilations: call.ints('dilations') ?? ones,
    pads: call.ints('pads') ?? [...kernel, ...kernel].map(() => 0),
  };
}

/** `weights` is the place of the input with the filters. */
export function convolvedDims(weights: number): DimsOf {
  return (call, dims) => {
    const filters = call.inputs[weights]?.dims;
    const kernel = call.ints('kernel_shape') ?? filters?.slice(2).map((size) => numberOf(size) ?? 0);
    return [dims[0] ?? one, filters?.[0] ?? freshSize(), ...slid(call, dims, kernel)];
  };
}

export const pooledDims: DimsOf = (call, dims) => [...dims.slice(0, 2), ...slid(call, dims, call.ints('kernel_shape'))];

export const pooledToOne: DimsOf = (_, dims) => dims.map((size, place) => (place < 2 ? size : one));

export const unknownDims: DimsOf = (_, dims) => dims.map((size, place) => (place === 0 ? size : freshSize()));

/** What is left of the dimensions from the third on. */
function slid(call: OperatorCall, dims: readonly Size[], kernel: readonly number[] | undefined): Size[] {
  const window = kernel && windowOf(call, kernel);
  return dims.slice(2).map((size, place) => {
    const length = numberOf(size);
    const steps = length === undefined || !window ? undefined : slidOver(call, length, { window, place });
    return steps === undefined || !(steps >= 0) ? freshSize() : constant(steps);
  });
}

function slidOver(
  call: OperatorCall,
  length: number,
  { window, place }: { window: Window; place: number },
): number | undefined {
  const stride = window.strides[place] ?? 1;
  const extent = ((window.kernel[place] ?? 1) - 1) * (window.dilations[place] ?? 1) + 1;
  switch (call.text('auto_pad', 'NOTSET')) {
    case 'NOTSET': {
      const room = length + (window.pads[place] ?? 0) + (window.pads[place + window.kernel.length] ?? 0) - extent;
      // Rounded up, it may count a window that begins in the padding or not, by the version.
      if (call.int('ceil_mode', 0) !== 0) return room % stride === 0 ? room / stride + 1 : undefined;
      return Math.floor(room / stride) + 1;
    }
    case 'VALID':
      return Math.floor((length - extent) / stride) + 1;
    default:
      return Math.ceil(length / stride);
  }
}

export const depthToSpace: DimsOf = (call, [rows = one, channels = one, ...rest]) => {
  const block = call.int('blocksize', 1);
  return [
    rows,
    quotient(channels, constant(block * block)) ?? freshSize(),
    ...rest.map((size) => product([size, constant(block)]) ?? freshSize()),
  ];
};

export const spaceToDepth: DimsOf = (call, [rows = one, channels = one, ...rest]) => {
  const block = call.int('blocksize', 1);
  return [
    rows,
    product([channels, constant(block * block)]) ?? freshSize(),
    ...rest.map((size) => quotient(size, constant(block)) ?? freshSize()),
  ];
};

/** Its mean and variance come from the file; those of the rows themselves would come out, too. */
export const batchNorm: Operator = (call) => {
  if (call.int('training_mode', 0) !== 0 || call.node.outputs.filter((name) => name !== '').length > 1)
    return 'it is set to train, and takes the mean of all rows';
  return perRow(sameDims)(call);
};

export const resize: Operator = (call) => {
  const x = call.first();
  const reason = x.counts || call.inputs.slice(1).some((input) => input?.axis !== undefined);
  if (reason) return 'its settings depend on the rows';
  if (!x.dims) return [fixed(undefined, x.type)];
  if (call.text('coordinate_transformation_mode', '') === 'tf_crop_and_resize')
    return 'it crops, which is not looked at';
  const dims = resizedDims(call, x.dims);
  if (x.axis === undefined)
    return dims && !dims.some(({ rows }) => rows) ? [fixed(dims, x.type)] : 'its sizes are not known';
  const [size, made] = [x.dims[x.axis], dims?.[x.axis]];
  if (!dims || !size || !made || !sameSize(size, made)) return 'it is not known whether it changes the number of rows';
  return [withRows(dims, x.axis, x.type)];
};

function resizedDims(call: OperatorCall, dims: readonly Size[]): Size[] | undefined {
  const axes = (call.ints('axes') ?? dims.map((_, place) => place)).map((axis) =>
    axis < 0 ? axis + dims.length : axis,
  );
  const resized = [...dims];
  const scales =
    call.opset < 10
      ? (call.node.attributes.get('scales')?.floats ?? call.numbers(1))
      : call.numbers(call.opset < 11 ? 1 : 2);
  const sizes = call.inputs[3]?.values;
  for (const [i, axis] of axes.entries()) {
    const [scale, size, own] = [scales?.[i], sizes?.[i], dims[axis] ?? one];
    const length = numberOf(own);
    if (scale === 1) continue;
    if (scale !== undefined)
      resized[axis] = length === undefined || own.rows ? freshSize() : constant(Math.floor(length * scale));
    else if (isSize(size)) resized[axis] = size;
    else if (own.rows) return undefined;
    else resized[axis] = freshSize();
  }
  // Keeping the aspect ratio makes other sizes of these.
  return call.text('keep_aspect_ratio_policy', 'stretch') === 'stretch' ? resized : undefined;
}
