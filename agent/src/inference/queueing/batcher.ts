// The requests of one model version: takes them in, hands them to worker threads when the dispatcher says so, and
// answers them. Requests that wait while the threads are busy are run together by the thread that takes them.
import { AppError } from '@edgeloop/shared/errors';
import type { ModelSignature } from '@edgeloop/shared/tensors';
import type { Lane } from '../hosts/lane.ts';
import { toSharedMs } from '../ring/shared-clock.ts';
import { checkData, type NamedTensor, sizeBytes } from '../tensors.ts';
import type { Ending } from '../worker/job.ts';
import { createBatchSize } from './batch-size.ts';
import { createEstimates } from './estimates.ts';
import type { HangUp } from './hang-up.ts';
import { createRequestQueue, type Queued } from './request-queue.ts';
import { createStatistics, type ModelStatistics } from './statistics.ts';

export interface BatcherOptions {
  /** What the rings call the model. */
  id: number;
  signature: ModelSignature;
  /** Whether requests may share a run at all. */
  batchable: boolean;
  policy: BatchPolicy;
  maxQueued: number;
  /** Room for so many more bytes of waiting inputs; shared by all models. */
  bytesFree(): number;
  /** Something waits: hand it to a thread. */
  pump(): void;
}

interface BatchPolicy {
  /** Most rows in one run; a request with more rows runs alone. */
  maxBatch: number;
  /** How long the first request may wait for company while a worker is free. */
  maxDelayMs: number;
}

export interface InferenceResult {
  outputs: NamedTensor[];
  /** Milliseconds waited for a worker. */
  queueMs: number;
  /** Milliseconds inside ONNX Runtime, of the run that this request was part of. */
  runMs: number;
}

export interface RunOptions {
  /** When the caller goes, a request that has not begun to run is dropped. */
  caller?: HangUp | undefined;
  /** Milliseconds of `performance.now()`. Work that has not begun by then is dropped with `timeout`. */
  deadline?: number | undefined;
  /** Among waiting requests of one model the lowest number runs first; 0 (the default) is the highest priority. */
  priority?: number | undefined;
}

export interface Batcher {
  /**
   * Inputs must be in the order of the signature and fit it. Throws `unavailable` when the queue is full or the caller
   * has left, `timeout` when the deadline passed before it ran, and what the run throws.
   */
  submit(inputs: readonly NamedTensor[], options?: RunOptions): Promise<InferenceResult>;
  /** Requests waiting for a worker. */
  depth(): number;
  /** Runs of the model so far, by rows in them. */
  runs(): ReadonlyMap<number, number>;
  statistics(): ModelStatistics;
  /** Most rows of a run, as found so far; 1 when requests can't share a run. */
  maxBatch(): number;
}

/** What the dispatcher needs of a batcher. */
export interface Dispatchable {
  batcher: Batcher;
  lanes: readonly Lane[];
  /** Threads that hold the model from now on; without any, nothing waits. */
  setLanes(lanes: readonly Lane[]): void;
  /** Milliseconds until the waiting may be handed over: 0 now, undefined when nothing waits. */
  dueInMs(): number | undefined;
  /** Hands as many requests to the thread as make one run. The estimated time of them; 0 when it took none. */
  dispatch(lane: Lane): number;
  stopBatching(): void;
  waitingBytes(): number;
}

interface Request extends Queued {
  inputs: readonly NamedTensor[];
  deadline: number | undefined;
  resolve(result: InferenceResult): void;
  reject(error: AppError): void;
  /** Set while it is in a thread's ring. */
  flight: { lane: Lane; handle: number; costMs: number } | undefined;
  /** Takes back timers and listeners. */
  tidy(): void;
}

/** Timers beyond fire at once. */
const longestTimerMs = 2 ** 31 - 1;

/** A batcher with nothing in it; it owns no threads and needs no end. */
export function createBatcher(options: BatcherOptions): Dispatchable {
  const { id, policy, signature, maxQueued } = options;
  const queue = createRequestQueue<Request>();
  const statistics = createStatistics(Date.now);
  const batchSize = createBatchSize(policy.maxBatch);
  let batchable = options.batchable && policy.maxBatch > 1;
  let lanes: readonly Lane[] = [];
  const estimates = createEstimates(signature, batchable);

  const cap = (): number => (batchable ? batchSize.cap() : 1);

  const rowsOf = (inputs: readonly NamedTensor[]): number => {
    const rows = batchable ? (inputs[0]?.shape[0] ?? 0) : 0;
    return inputs.every(({ shape }) => shape[0] === rows) ? rows : 0;
  };

  const drop = (request: Request, kind: 'expired' | 'cancelled'): void => {
    const { flight } = request;
    if (flight === undefined ? !queue.remove(request) : !flight.lane.thread.cancel(flight.handle)) return;
    if (flight) flight.lane.plannedMs -= flight.costMs;
    statistics.dropped(kind);
    finish(
      request,
      kind === 'expired' ? expired() : new AppError('unavailable', 'the caller left before the request ran'),
    );
  };

  const finish = (request: Request, error: AppError): void => {
    request.tidy();
    statistics.failed(performance.now() - request.enqueuedAtMs);
    request.reject(error);
  };

  /** The ways to drop a request early; each costs something, so only those that were asked for. */
  const watch = (request: Request, { caller, deadline }: RunOptions): void => {
    const leave = (): void => drop(request, 'cancelled');
    caller?.notify(leave);
    const waitMs = deadline === undefined ? longestTimerMs : deadline - performance.now();
    const timer = waitMs < longestTimerMs ? setTimeout(() => drop(request, 'expired'), waitMs) : undefined;
    request.tidy = () => {
      caller?.forget(leave);
      clearTimeout(timer);
    };
  };

  const settle = (request: Request, ending: Ending): void => {
    const { flight } = request;
    if (flight) flight.lane.plannedMs = Math.max(0, flight.lane.plannedMs - flight.costMs);
    request.flight = undefined;
    switch (ending.kind) {
      case 'failed':
        finish(request, ending.error);
        break;
      case 'expired':
        statistics.dropped('expired');
        finish(request, expired());
        break;
      case 'lost':
        queue.add(request);
        options.pump();
        break;
      case 'done':
        succeed(request, ending);
    }
  };

  const succeed = (request: Request, { outputs, outcome }: Extract<Ending, { kind: 'done' }>): void => {
    const { inputMs, runMs, outputMs, runRows, startedAtMs } = outcome;
    const rows = Math.max(request.rows, 1);
    if (runRows > 0) estimates.learnTime(runRows, runMs);
    if (runRows > 0 && batchable) batchSize.observe(runRows, runMs);
    estimates.learnOutputs(rows, outputs);
    request.tidy();
    const queueMs = Math.max(0, startedAtMs - toSharedMs(request.enqueuedAtMs));
    const totalMs = performance.now() - request.enqueuedAtMs;
    statistics.succeeded(rowsServed(request), totalMs, { queueMs, inputMs, runMs, outputMs, runRows });
    request.resolve({ outputs, queueMs, runMs });
  };

  const hand = (lane: Lane, request: Request): number | undefined => {
    const rows = Math.max(request.rows, 1);
    const costMs = estimates.runMs(rows);
    const handle = lane.thread.submit({
      model: id,
      inputs: request.inputs,
      rows: batchable ? request.rows : 0,
      maxRows: cap(),
      deadline: request.deadline,
      outputs: signature.outputs,
      outputBytes: estimates.outputBytes(rows),
      settle: (ending) => settle(request, ending),
    });
    if (handle === undefined) return undefined;
    request.flight = { lane, handle, costMs };
    lane.plannedMs += costMs;
    return costMs;
  };

  const batcher: Batcher = {
    submit(inputs, run = {}) {
      return new Promise<InferenceResult>((resolve, reject) => {
        for (const input of inputs) checkData(input);
        const refusal = refuse(run);
        if (refusal) return reject(refusal);
        const request: Request = {
          inputs,
          rows: rowsOf(inputs),
          bytes: inputs.reduce((sum, input) => sum + sizeBytes(input), 0),
          priority: run.priority ?? 0,
          deadline: run.deadline,
          enqueuedAtMs: performance.now(),
          flight: undefined,
          resolve,
          reject,
          tidy: () => undefined,
        };
        if (queue.length() > 0 && request.bytes > options.bytesFree()) {
          statistics.dropped('rejected');
          return reject(busy());
        }
        if (run.caller || run.deadline !== undefined) watch(request, run);
        queue.add(request);
        options.pump();
      });
    },
    depth: () => queue.length(),
    runs: statistics.runs,
    statistics: statistics.snapshot,
    maxBatch: cap,
  };

  const refuse = ({ caller, deadline }: RunOptions): AppError | undefined => {
    if (caller?.gone) {
      statistics.dropped('cancelled');
      return new AppError('unavailable', 'the caller left before the request ran');
    }
    if (deadline !== undefined && deadline <= performance.now()) {
      statistics.dropped('expired');
      return expired();
    }
    if (lanes.length === 0) return abandoned();
    if (queue.length() < maxQueued) return undefined;
    statistics.dropped('rejected');
    return busy();
  };

  const busy = (): AppError => {
    const waitMs = estimates.runMs(queue.rows()) / Math.max(lanes.length, 1);
    const message = `the model is busy and its queue is full (${queue.length()} requests); try again`;
    const retryAfterSeconds = Math.min(30, Math.max(1, Math.ceil(waitMs / 1000)));
    return new AppError('unavailable', message, { retryAfterSeconds });
  };

  return {
    batcher,
    get lanes() {
      return lanes;
    },
    setLanes(next) {
      lanes = next;
      if (lanes.length > 0) return;
      for (let request = queue.shift(); request; request = queue.shift()) finish(request, abandoned());
    },
    dueInMs() {
      if (queue.length() === 0) return undefined;
      if (policy.maxDelayMs === 0 || !batchable || queue.rows() >= cap()) return 0;
      return Math.max(0, (queue.oldestMs() ?? 0) + policy.maxDelayMs - performance.now());
    },
    dispatch(lane) {
      let planned = 0;
      let rows = 0;
      for (let request = queue.first(); request; request = queue.first()) {
        if (rows > 0 && rows + Math.max(request.rows, 1) > cap()) break;
        const costMs = hand(lane, request);
        if (costMs === undefined) {
          lane.full = true;
          break;
        }
        queue.shift();
        planned += costMs;
        rows += Math.max(request.rows, 1);
      }
      return planned;
    },
    stopBatching() {
      batchable = false;
    },
    waitingBytes: queue.bytes,
  };
}

function abandoned(): AppError {
  const message = 'nothing runs the model at this moment; it died and could not be started again';
  return new AppError('unavailable', message, { retryAfterSeconds: 1 });
}

function expired(): AppError {
  return new AppError('timeout', 'the deadline passed before the request ran; allow more time or send fewer requests');
}

/** Rows that an answer counts for: the first dimension, whether requests can share runs or not. */
function rowsServed({ inputs }: Request): number {
  return inputs[0]?.shape[0] ?? 1;
}
