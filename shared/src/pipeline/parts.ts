// Operations that take parts of tensors, of any type, or put them together.
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
import { joined, partOf, rowsOf, valuesOf, wholeNumbers } from './tensor-parts.ts';

export function slice({ input, output, axis, begin, end }: OperationStep<'slice'>, fitting: Fitting): Operation {
  const facts = fitting.factsOf(input);
  const place = axisIn(fitting, { axis, tensor: input }, facts);
  const size = place === undefined ? -1 : (facts.shape[place] ?? -1);
  const length = size === -1 ? -1 : lengthOf(size, { begin, end });
  if (length === 0) throw fitting.wrong('begin', `leaves nothing of the ${size} along axis ${axis} of "${input}"`);
  const made = { ...facts, shape: place === undefined ? [] : facts.shape.with(place, length), classNames: undefined };
  return {
    outputs: new Map([[output, made]]),
    keepsRows: place !== undefined && place > 0,
    run(read) {
      const tensor = read(input);
      const at = placeOf(axis, tensor.shape);
      return { tensors: new Map([[output, cut(tensor, at, bounds(tensor.shape[at] ?? 0, { begin, end }))]]) };
    },
  };
}

export function select({ input, output, axis, at }: OperationStep<'select'>, fitting: Fitting): Operation {
  const facts = fitting.factsOf(input);
  const place = axisIn(fitting, { axis, tensor: input }, facts);
  const size = place === undefined ? -1 : (facts.shape[place] ?? -1);
  if (size !== -1 && (at >= size || at < -size))
    throw fitting.wrong('at', `there are ${size} along axis ${axis} of "${input}" [${facts.shape}]`);
  const shape = place === undefined ? [] : facts.shape.toSpliced(place, 1);
  const most = place === 0 ? undefined : facts.most;
  return {
    outputs: new Map([[output, { datatype: facts.datatype, shape, most }]]),
    keepsRows: place !== undefined && place > 0,
    run(read) {
      const tensor = read(input);
      const { shape } = tensor;
      const along = placeOf(axis, shape);
      const size = shape[along] ?? 0;
      const begin = at < 0 ? at + size : at;
      if (begin < 0 || begin >= size) throw misfit(`[${shape}] has no place ${at} along axis ${axis}`);
      const { datatype, data } = cut(tensor, along, { begin, end: begin + 1 });
      return { tensors: new Map([[output, { datatype, data, shape: shape.toSpliced(along, 1) }]]) };
    },
  };
}

export function concat({ inputs, output, axis }: OperationStep<'concat'>, fitting: Fitting): Operation {
  const first = fitting.factsOf(inputs[0] ?? '');
  const place = axisIn(fitting, { axis, tensor: inputs[0] ?? '' }, first);
  let shape = first.shape;
  let size = 0;
  for (const [at, name] of inputs.entries()) {
    const facts = fitting.factsOf(name);
    const given = facts.shape;
    if (facts.datatype !== first.datatype)
      throw fitting.wrong(`inputs.${at}`, `"${name}" is ${facts.datatype}, the first one ${first.datatype}; cast one`);
    const own = place === undefined ? -1 : (given[place] ?? -1);
    size = own === -1 || size === -1 ? -1 : size + own;
    const free = (dims: readonly number[]) =>
      place === undefined || dims.length <= place ? dims : dims.with(place, -1);
    const common = place === undefined ? [] : commonShape(free(shape), free(given));
    if (!common)
      throw fitting.wrong(`inputs.${at}`, `"${name}" [${given}] does not fit [${shape}] beside axis ${axis}`);
    shape = common;
  }
  const made = shape.length === 0 || place === undefined ? [] : shape.with(place, size);
  return {
    outputs: new Map([[output, { datatype: first.datatype, shape: made }]]),
    keepsRows: place !== undefined && place > 0,
    run: (read) => ({ tensors: new Map([[output, together(inputs.map(read), axis)]]) }),
  };
}

function together(tensors: readonly Tensor[], axis: number): Tensor {
  const [first] = tensors;
  if (!first) throw misfit('there is nothing to put together');
  const at = placeOf(axis, first.shape);
  for (const { shape } of tensors)
    if (shape.length !== first.shape.length || shape.some((dim, i) => i !== at && dim !== first.shape[i]))
      throw misfit(`[${shape}] does not fit [${first.shape}] beside axis ${axis}`);
  const { outer } = lanesOf(first.shape, at);
  const parts = Array.from({ length: outer }, (_, row) =>
    tensors.map(({ shape, data }) => {
      const { size, inner } = lanesOf(shape, at);
      return partOf(data, row * size * inner, (row + 1) * size * inner);
    }),
  ).flat();
  const length = tensors.reduce((sum, { shape }) => sum + (shape[at] ?? 0), 0);
  return { datatype: first.datatype, shape: first.shape.with(at, length), data: joined(first.datatype, parts) };
}

export function filter({ scores, from, most, keep, found }: OperationStep<'filter'>, fitting: Fitting): Operation {
  const { shape: scored } = numeric(fitting, 'scores', scores);
  if (scored.length > 2) throw fitting.wrong('scores', `"${scores}" [${scored}] must be [rows] or [rows, classes]`);
  const outputs = new Map<string, TensorFacts>();
  for (const [tensor, name] of Object.entries(keep)) {
    const facts = fitting.factsOf(tensor);
    if (facts.shape.length > 0 && scored.length > 0 && !commonShape(facts.shape.slice(0, 1), scored.slice(0, 1)))
      throw fitting.wrong(`keep.${tensor}`, `[${facts.shape}] has other rows than "${scores}" [${scored}]`);
    outputs.set(name, { ...facts, shape: facts.shape.length === 0 ? [] : [-1, ...facts.shape.slice(1)], most });
  }
  if (outputs.size === 0) throw fitting.wrong('keep', 'name a tensor whose rows are to be kept');
  if (found !== undefined) outputs.set(found, { datatype: 'INT64', shape: [1] });
  return {
    outputs,
    keepsRows: false,
    run(read) {
      const tensor = read(scores);
      const rows = tensor.shape[0] ?? 0;
      if (tensor.shape.length === 0) throw misfit(`"${scores}" is a single value and has no rows`);
      const best = highestOf(tensor, rows);
      const passed = Array.from(best.keys()).filter((row) => (best[row] ?? Number.NaN) >= from);
      const kept = passed
        .toSorted((a, b) => (best[b] ?? 0) - (best[a] ?? 0) || a - b)
        .slice(0, most)
        .sort((a, b) => a - b);
      const tensors = new Map<string, Tensor>();
      for (const [source, name] of Object.entries(keep)) {
        const given = read(source);
        if (given.shape[0] !== rows)
          throw misfit(`"${source}" [${given.shape}] has other rows than the ${rows} scores`);
        tensors.set(name, rowsOf(given, kept));
      }
      if (found !== undefined) tensors.set(found, wholeNumbers([passed.length]));
      return { tensors, isCut: passed.length > kept.length };
    },
  };
}

function highestOf(tensor: Tensor, rows: number): Float64Array {
  const values = valuesOf(tensor);
  const width = rows === 0 ? 0 : values.length / rows;
  return Float64Array.from({ length: rows }, (_, row) => {
    let highest = Number.NEGATIVE_INFINITY;
    for (let i = 0; i < width; i++) highest = Math.max(highest, values[row * width + i] ?? Number.NaN);
    return highest;
  });
}

interface Span {
  begin: number;
  end?: number | undefined;
}

function bounds(size: number, { begin, end = size }: Span): { begin: number; end: number } {
  const within = (place: number): number => Math.min(size, Math.max(0, place < 0 ? place + size : place));
  return { begin: within(begin), end: Math.max(within(begin), within(end)) };
}

function lengthOf(size: number, span: Span): number {
  const { begin, end } = bounds(size, span);
  return end - begin;
}

function cut({ datatype, shape, data }: Tensor, at: number, { begin, end }: { begin: number; end: number }): Tensor {
  const { outer, size, inner } = lanesOf(shape, at);
  const parts = Array.from({ length: outer }, (_, row) => {
    const start = row * size * inner;
    return partOf(data, start + begin * inner, start + end * inner);
  });
  return { datatype, shape: shape.with(at, end - begin), data: joined(datatype, parts) };
}
