// A request as a worker is to run it, and how it ended.
import type { AppError } from '@edgeloop/shared/errors';
import type { NamedTensor } from '@edgeloop/shared/tensor-data';
import type { TensorSpec } from '@edgeloop/shared/tensors';
import type { SlotOutcome } from '../ring/ring.ts';

export interface Job {
  model: number;
  inputs: readonly NamedTensor[];
  /** 0 when it must run alone. */
  rows: number;
  maxRows: number;
  /** Of `performance.now()`; undefined for none. */
  deadline: number | undefined;
  outputs: readonly TensorSpec[];
  /** Bytes that outputs of so many rows took before; 0 when not known yet. */
  outputBytes: number;
  settle(ending: Ending): void;
}

export type Ending =
  | { kind: 'done'; outputs: NamedTensor[]; outcome: SlotOutcome }
  | { kind: 'failed'; error: AppError }
  | { kind: 'expired' }
  /** The thread died or was held up before it began the job, or does not hold its model; it may run elsewhere. */
  | { kind: 'lost' };
