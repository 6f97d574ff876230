// The requests of one model version: takes them in, hands them to worker threads when the dispatcher says so, and
// answers them. Requests that wait while the threads are busy are run together by the thread that takes them.
import type { AppError } from '@edgeloop/shared/errors';
import { checkData, type NamedTensor, sizeBytes } from '@edgeloop/shared/tensor-data';
import type { ModelSignature } from '@edgeloop/shared/tensors';
import type { Lane } from '../hosts/lane.ts';
import { toSharedMs } from '../ring/shared-clock.ts';
import type { Ending } from '../worker/job.ts';
import { type BatchSize, createBatchSize } from './batch-size.ts';
import type { Dispatchable } from './dispatcher.ts';
import { createEstimates, type Estimates } from './estimates.ts';
import type { HangUp } from './hang-up.ts';
import { Abandoned, busy, callerLeft, expired } from './refusals.ts';
import { createRequestQueue, type Queued } from './request-queue.ts';
import type { RunHistory } from './run-history.ts';
import type { QuickModel } from './standing.ts';
import type { ModelStatistics, StatisticsRecorder } from './statistics.ts';

export interface BatcherOptions {
  /** What the rings call the model. */
  id: number;
  signature: ModelSignature;
  /** Whether requests may share a run at all. */
  batchable: boolean;
  /** Goes on counting where the former arrangement of the same version ended. */
  statistics: StatisticsRecorder;
  /** Learns from each run. */
  history: RunHistory;
  /** Undefined when it never runs in this thread. */
  quick?: QuickModel | undefined;
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
  /** Rows of that run, of one of its requests; 0 of the others, and where nothing was run. */
  runRows: number;
  /** Of a model whose answers are kept: whether this was one of them, and how long it took to look and to keep. */
  cache?: { hit: boolean; tookMs: number };
}

export interface RunOptions {
  /** When the caller goes, a request that has not begun to run is dropped. */
  caller?: HangUp | undefined;
  /** Milliseconds of `performance.now()`. Work that has not begun by then is dropped with `timeout`. */
  deadline?: number | undefined;
  /** Among waiting requests of one model the lowest number runs first; 0 (the default) is the highest priority. */
  priority?: number | undefined;
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

/** Until a request has timers or listeners to take back. */
const nothing = (): void => undefined;

/** Empty at first; it owns no threads and needs no end. */
export class ModelBatcher implements Dispatchable {
  lanes: readonly Lane[] = [];
  readonly #options: BatcherOptions;
  readonly #queue = createRequestQueue<Request>();
  readonly #statistics: StatisticsRecorder;
  readonly #batchSize: BatchSize;
  readonly #estimates: Estimates;
  #batchable: boolean;
  /** Requests in the hands of other threads. */
  #elsewhere = 0;
  #runsHere = 0;

  constructor(options: BatcherOptions) {
    const { signature, policy } = options;
    this.#options = options;
    this.#statistics = options.statistics;
    this.#batchable = options.batchable && policy.maxBatch > 1;
    this.#batchSize = createBatchSize(policy.maxBatch);
    this.#estimates = createEstimates(signature, this.#batchable);
  }

  /**
   * Inputs must be in the order of the signature and fit it. Throws `unavailable` when the queue is full or the caller
   * has left, `timeout` when the deadline passed before it ran, and what the run throws.
   */
  submit(inputs: readonly NamedTensor[], run: RunOptions = {}): Promise<InferenceResult> {
    return new Promise<InferenceResult>((resolve, reject) => {
      for (const input of inputs) checkData(input);
      const refusal = this.#refuse(run);
      if (refusal) return reject(refusal);
      const request: Request = {
        inputs,
        rows: this.#batchable ? commonRows(inputs) : 0,
        bytes: inputs.reduce((sum, input) => sum + sizeBytes(input), 0),
        priority: run.priority ?? 0,
        deadline: run.deadline,
        enqueuedAtMs: performance.now(),
        flight: undefined,
        resolve,
        reject,
        tidy: nothing,
      };
      if (this.#queue.length() > 0 && request.bytes > this.#options.bytesFree()) {
        this.#statistics.dropped('rejected');
        return reject(this.#busy());
      }
      if (run.caller || run.deadline !== undefined) this.#watch(request, run);
      this.#queue.add(request);
      this.#options.pump();
    });
  }

  /** Requests waiting for a worker. */
  depth(): number {
    return this.#queue.length();
  }

  /** Runs of the model so far, by rows in them. */
  runs(): ReadonlyMap<number, number> {
    return this.#statistics.runs();
  }

  statistics(): ModelStatistics {
    return this.#statistics.snapshot();
  }

  /** Most rows of a run, as found so far; 1 when requests can't share a run. */
  maxBatch(): number {
    return this.#batchable ? this.#batchSize.cap() : 1;
  }

  waitingBytes(): number {
    return this.#queue.bytes();
  }

  /** Threads that hold the model from now on; without any, nothing waits. */
  setLanes(lanes: readonly Lane[]): void {
    this.lanes = lanes;
    if (lanes.length > 0) return;
    for (let request = this.#queue.shift(); request; request = this.#queue.shift())
      this.#reject(request, new Abandoned());
  }

  /** Requests can't share a run after all. */
  stopBatching(): void {
    this.#batchable = false;
  }

  dueInMs(): number | undefined {
    if (this.#queue.length() === 0) return undefined;
    const { maxDelayMs } = this.#options.policy;
    if (maxDelayMs === 0 || !this.#batchable || this.#queue.rows() >= this.maxBatch()) return 0;
    return Math.max(0, (this.#queue.oldestMs() ?? 0) + maxDelayMs - performance.now());
  }

  laneHere(): Lane | undefined {
    const { quick } = this.#options;
    if (quick?.lane === undefined) return undefined;
    const mayRun = quick.standing.runsHere({
      waiting: this.#queue.length(),
      bytes: this.#queue.bytes(),
      joined: this.#batchable,
      elsewhere: this.#elsewhere,
    });
    return mayRun ? quick.lane : undefined;
  }

  /** Runs in this thread so far. */
  runsHere(): number {
    return this.#runsHere;
  }

  dispatch(lane: Lane): number {
    let planned = 0;
    let rows = 0;
    for (let request = this.#queue.first(); request; request = this.#queue.first()) {
      if (rows > 0 && rows + Math.max(request.rows, 1) > this.maxBatch()) break;
      const costMs = this.#hand(lane, request);
      if (costMs === undefined) {
        lane.full = true;
        break;
      }
      this.#queue.shift();
      planned += costMs;
      rows += Math.max(request.rows, 1);
    }
    return planned;
  }

  #refuse({ caller, deadline }: RunOptions): AppError | undefined {
    if (caller?.gone) {
      this.#statistics.dropped('cancelled');
      return callerLeft();
    }
    if (deadline !== undefined && deadline <= performance.now()) {
      this.#statistics.dropped('expired');
      return expired();
    }
    if (this.lanes.length === 0) return new Abandoned();
    if (this.#queue.length() < this.#options.maxQueued) return undefined;
    this.#statistics.dropped('rejected');
    return this.#busy();
  }

  #busy(): AppError {
    const waitMs = this.#estimates.runMs(this.#queue.rows()) / Math.max(this.lanes.length, 1);
    return busy(this.#queue.length(), waitMs);
  }

  /** The ways to drop a request early; each costs something, so only those that were asked for. */
  #watch(request: Request, { caller, deadline }: RunOptions): void {
    const leave = (): void => this.#drop(request, 'cancelled');
    caller?.notify(leave);
    const waitMs = deadline === undefined ? longestTimerMs : deadline - performance.now();
    const timer = waitMs < longestTimerMs ? setTimeout(() => this.#drop(request, 'expired'), waitMs) : undefined;
    request.tidy = () => {
      caller?.forget(leave);
      clearTimeout(timer);
    };
  }

  #drop(request: Request, kind: 'expired' | 'cancelled'): void {
    const { flight } = request;
    if (flight === undefined ? !this.#queue.remove(request) : !flight.lane.thread.cancel(flight.handle)) return;
    if (flight) this.#unplan(request, flight);
    this.#statistics.dropped(kind);
    this.#reject(request, kind === 'expired' ? expired() : callerLeft());
  }

  /** The estimated time; undefined when the thread has no room. */
  #hand(lane: Lane, request: Request): number | undefined {
    const { id, signature } = this.#options;
    const rows = Math.max(request.rows, 1);
    const costMs = this.#estimates.runMs(rows);
    const handle = lane.thread.submit({
      model: id,
      inputs: request.inputs,
      rows: this.#batchable ? request.rows : 0,
      maxRows: this.maxBatch(),
      deadline: request.deadline,
      outputs: signature.outputs,
      outputBytes: this.#estimates.outputBytes(rows),
      settle: (ending) => this.#settle(request, ending),
    });
    if (handle === undefined) return undefined;
    request.flight = { lane, handle, costMs };
    if (lane !== this.#options.quick?.lane) this.#elsewhere++;
    lane.plannedMs += costMs;
    lane.plannedBytes += request.bytes;
    return costMs;
  }

  #settle(request: Request, ending: Ending): void {
    const { flight } = request;
    if (flight) this.#unplan(request, flight);
    request.flight = undefined;
    switch (ending.kind) {
      case 'failed':
        this.#reject(request, ending.error);
        break;
      case 'expired':
        this.#statistics.dropped('expired');
        this.#reject(request, expired());
        break;
      case 'lost':
        this.#queue.add(request);
        this.#options.pump();
        break;
      case 'done':
        this.#resolve(request, ending, flight?.lane);
    }
  }

  #unplan({ bytes }: Request, { lane, costMs }: NonNullable<Request['flight']>): void {
    lane.plannedMs = Math.max(0, lane.plannedMs - costMs);
    lane.plannedBytes -= bytes;
    if (lane !== this.#options.quick?.lane) this.#elsewhere--;
  }

  #resolve(request: Request, { outputs, outcome }: Extract<Ending, { kind: 'done' }>, lane: Lane | undefined): void {
    const { inputMs, runMs, outputMs, runRows, startedAtMs } = outcome;
    if (runRows > 0) {
      this.#estimates.learnTime(runRows, runMs);
      const { history, quick } = this.#options;
      const bytes = (request.bytes * runRows) / Math.max(request.rows, 1);
      history.learn(bytes, runMs);
      const here = lane !== undefined && lane === quick?.lane;
      if (here) this.#runsHere++;
      quick?.standing.learn(bytes, runMs, here);
    }
    if (runRows > 0 && this.#batchable) this.#batchSize.observe(runRows, runMs);
    this.#estimates.learnOutputs(Math.max(request.rows, 1), outputs);
    request.tidy();
    const queueMs = Math.max(0, startedAtMs - toSharedMs(request.enqueuedAtMs));
    const totalMs = performance.now() - request.enqueuedAtMs;
    this.#statistics.succeeded(rowsServed(request), totalMs, { queueMs, inputMs, runMs, outputMs, runRows });
    request.resolve({ outputs, queueMs, runMs, runRows });
  }

  #reject(request: Request, error: AppError): void {
    request.tidy();
    this.#statistics.failed(performance.now() - request.enqueuedAtMs);
    request.reject(error);
  }
}

/** Rows that all inputs have; 0 when they differ, so that the request runs alone. */
function commonRows(inputs: readonly NamedTensor[]): number {
  const rows = inputs[0]?.shape[0] ?? 0;
  return inputs.every(({ shape }) => shape[0] === rows) ? rows : 0;
}

/** Rows that an answer counts for: the first dimension, whether requests can share runs or not. */
function rowsServed({ inputs }: Request): number {
  return inputs[0]?.shape[0] ?? 1;
}
