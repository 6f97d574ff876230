// Hands requests of one model version to its free workers: at once while one is free, else from a bounded queue.
import { AppError } from '@edgeloop/shared/errors';
import { type BatchPolicy, batchKey, joinInputs, planBatch, splitOutputs, type Waiting } from './batching.ts';
import type { RunResult } from './pool.ts';
import { type NamedTensor, sizeBytes } from './tensors.ts';

export interface BatcherOptions {
  /** Runs on a worker; at most `instances` at once. */
  run(inputs: readonly NamedTensor[]): Promise<RunResult>;
  instances: number;
  policy: BatchPolicy;
  /** Whether requests may share a run at all. */
  batchable: boolean;
  /** Bounds of what waits while all workers are busy. */
  maxQueued: number;
  maxQueuedBytes: number;
}

export interface InferenceResult {
  outputs: NamedTensor[];
  /** Milliseconds waited for a worker. */
  queueMs: number;
  /** Milliseconds inside ONNX Runtime, of the run that this request was part of. */
  runMs: number;
}

export interface Batcher {
  /** Inputs must have been checked. Throws `unavailable` when the queue is full, and what the run throws. */
  submit(inputs: readonly NamedTensor[]): Promise<InferenceResult>;
  /** Requests waiting for a worker. */
  depth(): number;
  /** Runs of the model so far, by rows in them. */
  runs(): ReadonlyMap<number, number>;
}

interface Request extends Waiting {
  inputs: readonly NamedTensor[];
  bytes: number;
  resolve(result: InferenceResult): void;
  reject(error: unknown): void;
}

/** A batcher with nothing in it; it owns no threads and needs no end. */
export function createBatcher(options: BatcherOptions): Batcher {
  const { instances, policy } = options;
  let batchable = options.batchable && policy.maxBatch > 1;
  const queue: Request[] = [];
  const runs = new Map<number, number>();
  let queuedBytes = 0;
  let running = 0;
  let timer: NodeJS.Timeout | undefined;

  const pump = (): void => {
    while (running < instances) {
      const plan = planBatch(queue, policy, performance.now());
      if (plan.kind === 'wait' && timer === undefined) timer = setTimeout(onTimer, Math.ceil(plan.waitMs));
      if (plan.kind !== 'run') return;
      void runBatch(take(plan.places));
    }
  };

  const onTimer = (): void => {
    timer = undefined;
    pump();
  };

  const take = (places: readonly number[]): Request[] => {
    const taken = places.flatMap((place) => queue[place] ?? []);
    for (const place of places.toReversed()) queue.splice(place, 1);
    for (const request of taken) queuedBytes -= request.bytes;
    return taken;
  };

  const runCounted = async (inputs: readonly NamedTensor[], rows: number): Promise<RunResult> => {
    const result = await options.run(inputs);
    runs.set(rows, (runs.get(rows) ?? 0) + 1);
    return result;
  };

  const runBatch = async (requests: readonly Request[]): Promise<void> => {
    running++;
    const startedMs = performance.now();
    try {
      if (requests.length === 1 || !(await runTogether(requests, startedMs))) await runEach(requests, startedMs);
    } finally {
      running--;
      pump();
    }
  };

  /** False when the requests must run each on its own: the run failed, or gave no row for each row. */
  const runTogether = async (requests: readonly Request[], startedMs: number): Promise<boolean> => {
    const rows = requests.map((request) => request.rows);
    const joined = joinInputs(requests.map(({ inputs }) => inputs));
    let result: RunResult;
    try {
      result = await runCounted(joined, joined[0]?.shape[0] ?? 0);
    } catch {
      // One bad request must not fail its neighbours; alone, each gets its own outcome and error.
      return false;
    }
    const parts = splitOutputs(result.outputs, rows);
    if (!parts) {
      batchable = false;
      return false;
    }
    for (const [i, request] of requests.entries()) {
      request.resolve({ outputs: parts[i] ?? [], queueMs: startedMs - request.enqueuedAtMs, runMs: result.runMs });
    }
    return true;
  };

  const runEach = async (requests: readonly Request[], startedMs: number): Promise<void> => {
    for (const { inputs, rows, enqueuedAtMs, resolve, reject } of requests) {
      try {
        const { outputs, runMs } = await runCounted(inputs, rows);
        resolve({ outputs, queueMs: startedMs - enqueuedAtMs, runMs });
      } catch (error) {
        reject(error);
      }
    }
  };

  return {
    submit(inputs) {
      const bytes = inputs.reduce((sum, input) => sum + sizeBytes(input), 0);
      const full = queue.length >= options.maxQueued || queuedBytes + bytes > options.maxQueuedBytes;
      if (running >= instances && full) {
        const message = `the model is busy and its queue is full (${queue.length} requests); try again`;
        return Promise.reject(new AppError('unavailable', message, { retryAfterSeconds: 1 }));
      }
      return new Promise((resolve, reject) => {
        const key = batchable ? batchKey(inputs) : undefined;
        const rows = inputs[0]?.shape[0] ?? 1;
        queue.push({ key, rows, enqueuedAtMs: performance.now(), inputs, bytes, resolve, reject });
        queuedBytes += bytes;
        pump();
      });
    },
    depth: () => queue.length,
    runs: () => runs,
  };
}
