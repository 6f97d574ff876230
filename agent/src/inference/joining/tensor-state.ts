// What is known of a tensor before a run, with regard to the rows of the requests that share it.
import { dataTypes } from '@edgeloop/shared/onnx/data-types';
import type { Size } from './sizes.ts';

/** An element whose value is not known: the same for any number of rows, or not. */
export type Value = Size | 'fixed' | 'counted';

export interface TensorState {
  /** Undefined when not even their number is known; never where `axis` is known. */
  readonly dims: readonly Size[] | undefined;
  /**
   * The dimension along which the rows lie, one behind the other, each a block of the same size that depends on its own row
   * alone. Undefined when nothing in the tensor depends on the rows' values; no dimension has the number of rows then.
   */
  readonly axis: number | undefined;
  /** `TensorProto.DataType`; 0 when not known. */
  readonly type: number;
  /** Its elements, where it is small and of integers; without `axis`. */
  readonly values: readonly Value[] | undefined;
  /** Its values depend on the number of rows. */
  readonly counts: boolean;
}

const valuesAtMost = 64;
const integers = new Set<number>([
  dataTypes.int8,
  dataTypes.int16,
  dataTypes.int32,
  dataTypes.int64,
  dataTypes.uint8,
  dataTypes.uint16,
  dataTypes.uint32,
  dataTypes.uint64,
]);
const floats = new Set<number>([dataTypes.float, dataTypes.double, dataTypes.float16]);

export function isFloat(type: number): boolean {
  return floats.has(type);
}

export function isInteger(type: number): boolean {
  return integers.has(type);
}

/** A tensor whose values are the same for all rows and any number of them. */
export function fixed(dims: readonly Size[] | undefined, type: number): TensorState {
  return { dims, axis: undefined, type, values: undefined, counts: false };
}

export function withRows(dims: readonly Size[], axis: number, type: number): TensorState {
  return { dims, axis, type, values: undefined, counts: false };
}

export function withValues(dims: readonly Size[], type: number, values: readonly Value[]): TensorState {
  const counts = values.some(isCounted);
  return { dims, axis: undefined, type, values: values.length <= valuesAtMost ? values : undefined, counts };
}

/** Of unknown values that depend on the number of rows. */
export function counted(dims: readonly Size[] | undefined, type: number): TensorState {
  return { dims, axis: undefined, type, values: undefined, counts: true };
}

export function isCounted(value: Value): boolean {
  return value === 'counted' || (value !== 'fixed' && value.rows);
}

export function isSize(value: Value | undefined): value is Size {
  return value !== undefined && value !== 'fixed' && value !== 'counted';
}

/** Whether nothing of it depends on the rows or their number. */
export function isFixed({ axis, counts }: TensorState): boolean {
  return axis === undefined && !counts;
}
