// The worker threads of one loaded model version. Piscina owns the threads; nothing here ever ends a busy one, since
// ending a thread inside ONNX Runtime aborts the whole process.
import { fileURLToPath } from 'node:url';
import { sourceExecArgv } from '@edgeloop/shared/bounded-process';
import { AppError, messageOf } from '@edgeloop/shared/errors';
import type { GoldenSamples } from '@edgeloop/shared/golden';
import type { ModelSignature } from '@edgeloop/shared/tensors';
import { Piscina } from 'piscina';
import type { NamedTensor } from './tensors.ts';
import type { WorkerResult, WorkerTask } from './worker.ts';

export interface PoolOptions {
  /** The ONNX file. */
  path: string;
  /** Threads, each with a copy of the model. */
  instances: number;
  /** A thread died; piscina starts another one. */
  onCrash(error: Error): void;
}

export interface RunResult {
  outputs: NamedTensor[];
  /** Milliseconds inside ONNX Runtime. */
  runMs: number;
}

export interface Pool {
  instances: number;
  /** Loads the model in every thread and runs the golden samples there. Throws `model_rejected`. */
  warm(golden: GoldenSamples | undefined): Promise<{ signature: ModelSignature; batchable: boolean }>;
  run(inputs: readonly NamedTensor[]): Promise<RunResult>;
  /** Waits until every thread is idle, then ends them. */
  close(): Promise<void>;
}

const extension = import.meta.url.endsWith('.ts') ? 'ts' : 'js';
const workerFile = fileURLToPath(new URL(`./worker.${extension}`, import.meta.url));

/** Starts the threads; they load nothing before `warm`. */
export function createPool({ path, instances, onCrash }: PoolOptions): Pool {
  // The Linux library uploads telemetry unless this is in the environment of the process before it is loaded.
  process.env.ORT_DISABLE_TELEMETRY = '1';
  const piscina = new Piscina<WorkerTask, WorkerResult>({
    filename: workerFile,
    minThreads: instances,
    maxThreads: instances,
    workerData: { path },
    execArgv: sourceExecArgv(import.meta.url),
  });
  piscina.on('error', onCrash);
  const busy = new Set<Promise<WorkerResult>>();

  const runTask = async (task: WorkerTask): Promise<WorkerResult> => {
    const running = piscina.run(task);
    busy.add(running);
    try {
      return await running;
    } catch (cause) {
      throw new AppError('internal', `the model's worker thread died: ${messageOf(cause)}`, { cause });
    } finally {
      busy.delete(running);
    }
  };

  return {
    instances,
    async warm(golden) {
      const barrier = new Int32Array(new SharedArrayBuffer(4));
      const task: WorkerTask = { kind: 'warm', barrier, parties: instances, golden };
      const results = await Promise.all(Array.from({ length: instances }, () => runTask(task)));
      return results.map((result) => expectKind(result, 'warmed')).at(-1) ?? nothingWarmed();
    },
    run: async (inputs) => expectKind(await runTask({ kind: 'run', inputs }), 'outputs'),
    async close() {
      while (busy.size > 0) await Promise.allSettled(busy);
      await piscina.destroy();
    },
  };
}

function expectKind<K extends WorkerResult['kind']>(result: WorkerResult, kind: K): Extract<WorkerResult, { kind: K }> {
  if (isKind(result, kind)) return result;
  if (result.kind === 'failed') throw new AppError(result.code, result.message);
  throw new AppError('internal', `a worker thread answered ${result.kind} instead of ${kind}`);
}

function isKind<K extends WorkerResult['kind']>(
  result: WorkerResult,
  kind: K,
): result is Extract<WorkerResult, { kind: K }> {
  return result.kind === kind;
}

function nothingWarmed(): never {
  throw new AppError('internal', 'a pool needs at least one worker thread');
}
