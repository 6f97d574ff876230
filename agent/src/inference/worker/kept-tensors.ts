// Tensors that are kept from run to run, by their number of rows: to make them anew for each costs more than a small run.

import { elementCount } from '@edgeloop/shared/tensor-data';
import type { Datatype, TensorSpec } from '@edgeloop/shared/tensors';
import { elementBytes, viewOf } from '../typed-arrays.ts';
import { type OrtTensors, type Session, toOrt } from './session.ts';

/** Tensors over kept buffers, for runs of one shape. */
export interface PreparedTensors {
  shapes: readonly (readonly number[])[];
  feeds: OrtTensors;
  /** The bytes of `feeds`. */
  inputs: Uint8Array[];
  /** Outputs with room allocated; undefined when their shapes are not known before the run. */
  fetches: OrtTensors | undefined;
  /** A run was seen to fill `fetches`. */
  fetchesFill: boolean;
}

/** Larger tensors are made anew for each run: kept, they would add up over many models. */
const keptAtMostBytes = 2 * 1024 * 1024;
const shapesKept = 64;

export interface KeptTensors {
  /** For inputs of these shapes; `preallocate` for the outputs too. */
  of(shapes: readonly (readonly number[])[], preallocate: boolean): PreparedTensors;
}

/** None yet. `rowed`: outputs have as many rows as inputs. */
export function createKeptTensors(session: Session, rowed: boolean): KeptTensors {
  const prepared = new Map<number, PreparedTensors>();
  let keptBytes = 0;

  return {
    of(shapes, preallocate) {
      const key = shapes[0]?.[0] ?? 0;
      const known = prepared.get(key);
      if (known && sameShapes(known.shapes, shapes)) return known;
      const fresh = allocate(session, shapes, { preallocate, rowed });
      const bytes = fresh.inputs.reduce((sum, { byteLength }) => sum + byteLength, 0);
      if (bytes > keptAtMostBytes) return fresh;
      if (prepared.size >= shapesKept || keptBytes + bytes > keptAtMostBytes) {
        prepared.clear();
        keptBytes = 0;
      }
      keptBytes += bytes;
      prepared.set(key, fresh);
      return fresh;
    },
  };
}

function sameShapes(a: readonly (readonly number[])[], b: readonly (readonly number[])[]): boolean {
  return a.length === b.length && a.every((shape, i) => sameShape(shape, b[i] ?? []));
}

function sameShape(a: readonly number[], b: readonly number[]): boolean {
  return a.length === b.length && a.every((dim, i) => dim === b[i]);
}

function allocate(
  session: Session,
  shapes: readonly (readonly number[])[],
  { preallocate, rowed }: { preallocate: boolean; rowed: boolean },
): PreparedTensors {
  const inputs: Uint8Array[] = [];
  const feeds: OrtTensors = {};
  for (const [i, { name, datatype }] of session.signature.inputs.entries()) {
    const shape = shapes[i] ?? [];
    const { tensor, bytes } = emptyTensor(datatype, shape);
    Object.defineProperty(feeds, name, { value: tensor, enumerable: true, configurable: true, writable: true });
    inputs.push(bytes);
  }
  const rows = rowed ? shapes[0]?.[0] : undefined;
  const fetches = preallocate ? outputsFor(session.signature.outputs, rows) : undefined;
  return { shapes, feeds, inputs, fetches, fetchesFill: false };
}

function emptyTensor(datatype: Datatype, shape: readonly number[]) {
  const count = elementCount(shape);
  const buffer = new ArrayBuffer(count * (elementBytes(datatype) ?? 0));
  const data = datatype === 'BYTES' ? new Array<string>(count).fill('') : viewOf(datatype, buffer);
  return { tensor: toOrt({ datatype, shape, data }), bytes: new Uint8Array(buffer) };
}

/** Undefined when the shape of an output is not known before the run, or too large to keep. */
function outputsFor(outputs: readonly TensorSpec[], rows: number | undefined): OrtTensors | undefined {
  const fetches: OrtTensors = {};
  let bytes = 0;
  for (const { name, datatype, shape: declared } of outputs) {
    const shape = rows === undefined ? declared : [rows, ...declared.slice(1)];
    // A shape of no dimensions may be a scalar as well as one that the file does not say.
    if (datatype === 'BYTES' || shape.length === 0 || shape.includes(-1)) return undefined;
    bytes += elementCount(shape) * (elementBytes(datatype) ?? 0);
    if (bytes > keptAtMostBytes) return undefined;
    const { tensor } = emptyTensor(datatype, shape);
    Object.defineProperty(fetches, name, { value: tensor, enumerable: true, configurable: true, writable: true });
  }
  return fetches;
}
