// What the next run of a model will take: time, for sharing threads fairly, and room for its outputs in shared memory.
import type { ModelSignature } from '@edgeloop/shared/tensors';
import { aligned } from '../ring/arena.ts';
import { recordBytes, type ShapedData } from '../ring/records.ts';
import { elementBytes } from '../typed-arrays.ts';

export interface Estimates {
  /** Milliseconds. */
  runMs(rows: number): number;
  /** What the outputs of so many rows may take. Too little is no fault: what does not fit comes by message. */
  outputBytes(rows: number): number;
  learnTime(rows: number, runMs: number): void;
  learnOutputs(rows: number, outputs: readonly ShapedData[]): void;
}

const firstGuessMs = 1;
const smoothing = 0.2;
/** Dimensions, and what alignment adds. */
const headerPerTensor = 72;

export function createEstimates(signature: ModelSignature, batchable: boolean): Estimates {
  let msPerRow = firstGuessMs;
  let bytesPerRow = declaredBytes(signature, batchable);
  return {
    runMs: (rows) => msPerRow * rows,
    outputBytes: (rows) => aligned(bytesPerRow * rows + headerPerTensor * signature.outputs.length),
    learnTime(rows, runMs) {
      msPerRow += smoothing * (runMs / rows - msPerRow);
    },
    learnOutputs(rows, outputs) {
      bytesPerRow = Math.max(bytesPerRow, Math.ceil((recordBytes(outputs) ?? 0) / rows));
    },
  };
}

/** For one row (for a run, when requests don't share it) as far as the file says; 0 when it doesn't. */
function declaredBytes({ outputs }: ModelSignature, batchable: boolean): number {
  let bytes = 0;
  for (const { datatype, shape } of outputs) {
    const dims = batchable ? shape.slice(1) : shape;
    if (datatype === 'BYTES' || dims.includes(-1)) return 0;
    bytes += aligned(dims.reduce((product, dim) => product * dim, elementBytes(datatype) ?? 0));
  }
  return bytes;
}
