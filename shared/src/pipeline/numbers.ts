// Operations that make numbers of numbers, place by place or along one axis.
import type { OperationStep } from '../pipeline-manifest.ts';
import type { Tensor } from '../tensor-data.ts';
import {
  axisIn,
  commonShape,
  type Fitting,
  lanesOf,
  misfit,
  numeric,
  type Operation,
  placeOf,
  type TensorFacts,
} from './operation.ts';
import { castTo, floats, valuesOf, wholeNumbers } from './tensor-parts.ts';

export function softmax({ input, output, axis = -1 }: OperationStep<'softmax'>, fitting: Fitting): Operation {
  const facts = numeric(fitting, 'input', input);
  const place = axisIn(fitting, { axis, tensor: input }, facts);
  return single({ input, output, facts: { ...facts, datatype: 'FP32' }, keepsRows: standsApart(place) }, (tensor) => {
    const values = valuesOf(tensor);
    const result = floats(tensor.shape);
    const { outer, size, inner } = lanesOf(tensor.shape, placeOf(axis, tensor.shape));
    for (let lane = 0; lane < outer * inner; lane++) {
      const start = Math.floor(lane / inner) * size * inner + (lane % inner);
      let highest = Number.NEGATIVE_INFINITY;
      for (let i = 0; i < size; i++) highest = Math.max(highest, values[start + i * inner] ?? 0);
      let sum = 0;
      for (let i = 0; i < size; i++) sum += Math.exp((values[start + i * inner] ?? 0) - highest);
      for (let i = 0; i < size; i++) {
        const at = start + i * inner;
        result.data[at] = Math.exp((values[at] ?? 0) - highest) / sum;
      }
    }
    return result;
  });
}

export function sigmoid({ input, output }: OperationStep<'sigmoid'>, fitting: Fitting): Operation {
  const facts = { ...numeric(fitting, 'input', input), datatype: 'FP32' } as const;
  return single({ input, output, facts, keepsRows: true }, (tensor) => {
    const result = floats(tensor.shape);
    const values = valuesOf(tensor);
    for (let at = 0; at < values.length; at++) result.data[at] = 1 / (1 + Math.exp(-(values[at] ?? 0)));
    return result;
  });
}

export function threshold({ input, output, from }: OperationStep<'threshold'>, fitting: Fitting): Operation {
  const { shape, most } = numeric(fitting, 'input', input);
  return single({ input, output, facts: { datatype: 'BOOL', shape, most }, keepsRows: true }, (tensor) => ({
    datatype: 'BOOL',
    shape: tensor.shape,
    data: Uint8Array.from(valuesOf(tensor), (value) => (value >= from ? 1 : 0)),
  }));
}

export function argmax({ input, output, axis = -1 }: OperationStep<'argmax'>, fitting: Fitting): Operation {
  const facts = numeric(fitting, 'input', input);
  const place = axisIn(fitting, { axis, tensor: input }, facts);
  const shape = place === undefined ? [] : facts.shape.toSpliced(place, 1);
  const most = place === 0 ? undefined : facts.most;
  const made: TensorFacts = { datatype: 'INT64', shape, most };
  return single({ input, output, facts: made, keepsRows: standsApart(place) }, (tensor) => {
    const at = placeOf(axis, tensor.shape);
    const values = valuesOf(tensor);
    const { outer, size, inner } = lanesOf(tensor.shape, at);
    if (size === 0) throw misfit(`[${tensor.shape}] has nothing along axis ${axis}`);
    const places = Array.from({ length: outer * inner }, (_, lane) => {
      const start = Math.floor(lane / inner) * size * inner + (lane % inner);
      let best = 0;
      for (let i = 1; i < size; i++) {
        const [value = 0, highest = 0] = [values[start + i * inner], values[start + best * inner]];
        if (value > highest || (Number.isNaN(highest) && !Number.isNaN(value))) best = i;
      }
      return best;
    });
    return wholeNumbers(places, tensor.shape.toSpliced(at, 1));
  });
}

export function topK({ input, k, outputs }: OperationStep<'top-k'>, fitting: Fitting): Operation {
  const facts = numeric(fitting, 'input', input);
  const width = facts.shape.at(-1);
  if (width !== undefined && width !== -1 && width < k)
    throw fitting.wrong('k', `"${input}" [${facts.shape}] has ${width} values along its last axis`);
  const shape = facts.shape.length === 0 ? [] : [...facts.shape.slice(0, -1), k];
  const most = facts.shape.length > 1 ? facts.most : undefined;
  const { values: valuesName, places: placesName } = outputs;
  const made: [string, TensorFacts][] = [];
  if (valuesName !== undefined) made.push([valuesName, { datatype: 'FP32', shape, most }]);
  if (placesName !== undefined) made.push([placesName, { datatype: 'INT64', shape, most }]);
  if (made.length === 0) throw fitting.wrong('outputs', 'name "values", "places" or both');
  return {
    outputs: new Map(made),
    keepsRows: facts.shape.length > 1,
    run(read) {
      const tensor = read(input);
      const values = valuesOf(tensor);
      const { outer, size } = lanesOf(tensor.shape, placeOf(-1, tensor.shape));
      if (size < k) throw misfit(`[${tensor.shape}] has fewer than ${k} values along its last axis`);
      const best: number[] = [];
      for (let row = 0; row < outer; row++) {
        const places = Array.from({ length: size }, (_, place) => place);
        const rank = (place: number): number => {
          const value = values[row * size + place] ?? Number.NaN;
          return Number.isNaN(value) ? Number.NEGATIVE_INFINITY : value;
        };
        // Infinities differ by no number, so they are compared and not subtracted.
        places.sort((a, b) => (rank(a) === rank(b) ? a - b : rank(a) < rank(b) ? 1 : -1));
        best.push(...places.slice(0, k));
      }
      const shape = [...tensor.shape.slice(0, -1), k];
      const result = floats(shape);
      for (const [at, place] of best.entries()) result.data[at] = values[Math.floor(at / k) * size + place] ?? 0;
      return {
        tensors: new Map<string, Tensor>([
          ...(valuesName === undefined ? [] : [[valuesName, result] as const]),
          ...(placesName === undefined ? [] : [[placesName, wholeNumbers(best, shape)] as const]),
        ]),
      };
    },
  };
}

export function scale(
  { input, output, scale: factor, mean, std, axis = -1 }: OperationStep<'scale'>,
  fitting: Fitting,
): Operation {
  const facts = numeric(fitting, 'input', input);
  const place = axisIn(fitting, { axis, tensor: input }, facts);
  const size = place === undefined ? -1 : (facts.shape[place] ?? -1);
  for (const [field, { length }] of Object.entries({ mean, std }))
    if (length > 1 && size !== -1 && length !== size)
      throw fitting.wrong(field, `${length} values for ${size} along axis ${axis} of "${input}" [${facts.shape}]`);
  const isWide = mean.length > 1 || std.length > 1;
  return single(
    { input, output, facts: { ...facts, datatype: 'FP32' }, keepsRows: !isWide || standsApart(place) },
    (tensor) => {
      const result = floats(tensor.shape);
      const values = valuesOf(tensor);
      const { size, inner } = isWide
        ? lanesOf(tensor.shape, placeOf(axis, tensor.shape))
        : { size: 1, inner: values.length };
      for (const { length } of [mean, std])
        if (length > 1 && length !== size) throw misfit(`${length} values for ${size} of [${tensor.shape}]`);
      for (let at = 0; at < values.length; at++) {
        const channel = Math.floor(at / inner) % size;
        const [middle = 0, width = 1] = [mean[mean.length === 1 ? 0 : channel], std[std.length === 1 ? 0 : channel]];
        result.data[at] = ((values[at] ?? 0) * factor - middle) / width;
      }
      return result;
    },
  );
}

export function cast({ input, output, to }: OperationStep<'cast'>, fitting: Fitting): Operation {
  const facts = { ...numeric(fitting, 'input', input), datatype: to };
  return single({ input, output, facts, keepsRows: true }, (tensor) => castTo(to, tensor));
}

export function average({ inputs, output, weights }: OperationStep<'average'>, fitting: Fitting): Operation {
  if (weights && weights.length !== inputs.length)
    throw fitting.wrong('weights', `${weights.length} weights for ${inputs.length} inputs`);
  const total = weights ? weights.reduce((sum, weight) => sum + weight, 0) : inputs.length;
  if (!(total > 0)) throw fitting.wrong('weights', 'one of them must be more than 0');
  let facts = numeric(fitting, 'inputs.0', inputs[0] ?? '');
  for (const [at, name] of inputs.entries()) {
    const { shape: given, classNames } = numeric(fitting, `inputs.${at}`, name);
    const shape = commonShape(facts.shape, given);
    if (!shape) throw fitting.wrong(`inputs.${at}`, `"${name}" [${given}] is not of one shape with [${facts.shape}]`);
    facts = { datatype: 'FP32', shape, most: facts.most, classNames: facts.classNames ?? classNames };
  }
  return {
    outputs: new Map([[output, facts]]),
    keepsRows: true,
    run(read) {
      const tensors = inputs.map(read);
      const shape = tensors[0]?.shape ?? [];
      const other = tensors.find((each) => each.shape.join() !== shape.join());
      if (other) throw misfit(`its inputs are [${shape}] and [${other.shape}], which is not one shape`);
      const sums = new Float64Array(tensors[0]?.data.length ?? 0);
      for (const [at, tensor] of tensors.entries()) {
        const values = valuesOf(tensor);
        const weight = weights?.[at] ?? 1;
        for (let i = 0; i < sums.length; i++) sums[i] = (sums[i] ?? 0) + weight * (values[i] ?? 0);
      }
      const result = floats(shape);
      for (let i = 0; i < sums.length; i++) result.data[i] = (sums[i] ?? 0) / total;
      return { tensors: new Map([[output, result]]) };
    },
  };
}

interface Single {
  input: string;
  output: string;
  facts: TensorFacts;
  keepsRows: boolean;
}

function single({ input, output, facts, keepsRows }: Single, make: (tensor: Tensor) => Tensor): Operation {
  return {
    outputs: new Map([[output, facts]]),
    keepsRows,
    run: (read) => ({ tensors: new Map([[output, make(read(input))]]) }),
  };
}

/** Rows are along the first axis; along another one, each is by itself. */
function standsApart(place: number | undefined): boolean {
  return place !== undefined && place > 0;
}
