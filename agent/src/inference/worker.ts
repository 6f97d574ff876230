// A worker thread that holds one loaded model and runs one batch at a time.
import { workerData } from 'node:worker_threads';
import { AppError, type ErrorCode, messageOf } from '@edgeloop/shared/errors';
import type { GoldenSamples } from '@edgeloop/shared/golden';
import type { ModelSignature } from '@edgeloop/shared/tensors';
import { move, transferableSymbol, valueSymbol } from 'piscina';
import { z } from 'zod';
import { proveGolden } from './golden-run.ts';
import { openSession, type Session } from './session.ts';
import type { NamedTensor } from './tensors.ts';

export type WorkerTask =
  /** Load, and run the golden samples. All `parties` workers meet at the barrier first, so that each takes one. */
  | { kind: 'warm'; barrier: Int32Array; parties: number; golden?: GoldenSamples | undefined }
  | { kind: 'run'; inputs: readonly NamedTensor[] };

/** Failures are values: a class of errors does not survive the way between threads. */
export type WorkerResult =
  | { kind: 'warmed'; signature: ModelSignature; batchable: boolean }
  | { kind: 'outputs'; outputs: NamedTensor[]; runMs: number }
  | { kind: 'failed'; code: ErrorCode; message: string };

const { path } = z.object({ path: z.string() }).parse(workerData);

let loaded: Promise<Session> | undefined;

/** A thread that replaces a crashed one was never warmed, so a run loads as well. */
function session(): Promise<Session> {
  loaded ??= openSession(path);
  return loaded;
}

/** Runs one task; piscina calls it. */
export default async function runTask(task: WorkerTask): Promise<unknown> {
  try {
    const result = task.kind === 'warm' ? await warm(task) : await run(task.inputs);
    return result.kind === 'outputs' ? transferred(result) : result;
  } catch (error) {
    const failure: WorkerResult = {
      kind: 'failed',
      code: error instanceof AppError ? error.code : 'internal',
      message: messageOf(error),
    };
    return failure;
  }
}

async function warm(task: Extract<WorkerTask, { kind: 'warm' }>): Promise<WorkerResult> {
  meet(task.barrier, task.parties);
  const { signature, batchable, run: runModel } = await session();
  if (task.golden) await proveGolden({ signature, batchable, run: runModel }, task.golden);
  return { kind: 'warmed', signature, batchable };
}

function meet(barrier: Int32Array, parties: number): void {
  const deadline = Date.now() + 60_000;
  let arrived = Atomics.add(barrier, 0, 1) + 1;
  Atomics.notify(barrier, 0);
  while (arrived < parties) {
    if (Date.now() > deadline) throw new AppError('timeout', `only ${arrived} of ${parties} worker threads started`);
    Atomics.wait(barrier, 0, arrived, 1000);
    arrived = Atomics.load(barrier, 0);
  }
}

async function run(inputs: readonly NamedTensor[]): Promise<WorkerResult> {
  const { run: runModel } = await session();
  const startedMs = performance.now();
  const outputs = await runModel(inputs);
  return { kind: 'outputs', outputs, runMs: performance.now() - startedMs };
}

/** Below this, copying a buffer is quicker than handing it over. */
const smallBytes = 16 * 1024;

function transferred(result: Extract<WorkerResult, { kind: 'outputs' }>): unknown {
  const buffers = new Set<ArrayBuffer>();
  for (const { data } of result.outputs) {
    if (Array.isArray(data) || data.byteLength < smallBytes) continue;
    if (data.buffer instanceof ArrayBuffer) buffers.add(data.buffer);
  }
  if (buffers.size === 0) return result;
  return move({ [transferableSymbol]: [...buffers], [valueSymbol]: result });
}
