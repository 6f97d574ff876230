// What a step of a pipeline is once it fits the tensors that it reads.
import { AppError } from '../app-error.ts';
import type { Tensor } from '../tensor-data.ts';
import type { Datatype } from '../tensors.ts';

/** What is known of a tensor before anything runs. */
export interface TensorFacts {
  datatype: Datatype;
  /** -1 is a free dimension. No dimensions: a single value, or a shape that the model's file does not say. */
  shape: readonly number[];
  /** There are never more rows than this. */
  most?: number | undefined;
  /** What the model's file calls the classes whose scores these are. */
  classNames?: readonly string[] | undefined;
}

/** How a step finds out whether it fits. */
export interface Fitting {
  factsOf(tensor: string): TensorFacts;
  /** `model_rejected` naming a field of the step. */
  wrong(field: string, reason: string): AppError;
}

export interface Made {
  tensors: ReadonlyMap<string, Tensor>;
  /** There was more than the step may give. */
  isCut?: boolean;
}

export interface Operation {
  /** By the names of tensors. */
  outputs: ReadonlyMap<string, TensorFacts>;
  /** Each row of the outputs depends on the same row of the inputs alone. */
  keepsRows: boolean;
  /** Throws `invalid_request` for tensors that do not fit each other. */
  run(read: (tensor: string) => Tensor): Made;
}

export function misfit(reason: string): AppError {
  return new AppError('invalid_request', reason);
}

/** The facts of a tensor that holds numbers. */
export function numeric(fitting: Fitting, field: string, tensor: string): TensorFacts {
  const facts = fitting.factsOf(tensor);
  if (facts.datatype === 'BYTES') throw fitting.wrong(field, `takes numbers, and "${tensor}" holds texts`);
  return facts;
}

/** The place of an axis that counts from the end when negative; undefined where the rank is not known. */
export function axisIn(
  fitting: Fitting,
  { axis, tensor }: { axis: number; tensor: string },
  { shape }: TensorFacts,
): number | undefined {
  if (shape.length === 0) return axis >= 0 ? axis : undefined;
  const place = axis < 0 ? axis + shape.length : axis;
  if (place >= 0 && place < shape.length) return place;
  throw fitting.wrong('axis', `"${tensor}" [${shape}] has no axis ${axis}`);
}

/** The same of a tensor that is there. */
export function placeOf(axis: number, shape: readonly number[]): number {
  const place = axis < 0 ? axis + shape.length : axis;
  if (place >= 0 && place < shape.length) return place;
  throw misfit(`[${shape}] has no axis ${axis}`);
}

/** A tensor as lanes along an axis: value `i` of a lane is at `outer * size * inner + i * inner + at`. */
export function lanesOf(shape: readonly number[], place: number): { outer: number; size: number; inner: number } {
  const product = (dims: readonly number[]): number => dims.reduce((count, dim) => count * dim, 1);
  return { outer: product(shape.slice(0, place)), size: shape[place] ?? 1, inner: product(shape.slice(place + 1)) };
}

/** A shape that is both of these; undefined when there is none. */
export function commonShape(a: readonly number[], b: readonly number[]): number[] | undefined {
  // Of no dimensions it is not known.
  if (a.length === 0 || b.length === 0) return [...(a.length === 0 ? b : a)];
  const fits = a.length === b.length && a.every((dim, i) => dim === b[i] || dim === -1 || b[i] === -1);
  return fits ? a.map((dim, i) => (dim === -1 ? (b[i] ?? -1) : dim)) : undefined;
}
