// The HTTP thread's hold on one worker thread: what is on its way there, what came back, and its start and end. Piscina
// owns the thread; nothing here ever ends a busy one, since that aborts the whole process inside ONNX Runtime.

import { fileURLToPath } from 'node:url';
import { MessageChannel, receiveMessageOnPort } from 'node:worker_threads';
import { AppError, messageOf } from '@edgeloop/shared/errors';
import { sourceExecArgv } from '@edgeloop/shared/node/bounded-process';
import type { TensorSpec } from '@edgeloop/shared/tensors';
import { Piscina } from 'piscina';
import { createArena } from '../ring/arena.ts';
import { createFlights } from '../ring/flights.ts';
import { createProducer } from '../ring/producer.ts';
import {
  type ArenaViews,
  copyEntry,
  readRecord,
  recordBytes,
  type ShapedData,
  viewsOfArena,
  writeRecord,
} from '../ring/records.ts';
import { allocateRing, byMessage, type SlotOutcome, slotStates } from '../ring/ring.ts';
import { toSharedMs } from '../ring/shared-clock.ts';
import type { NamedTensor } from '../tensors.ts';
import type { FromWorker, ModelToOpen, OpenedModel, ToWorker, WorkerStart } from '../worker/messages.ts';
import { createOpenings } from './openings.ts';

/** A request that a worker is to run. */
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
  /** The thread died, or is held up, before it took the job; it may run elsewhere. */
  | { kind: 'lost' };

interface Flight {
  job: Job;
  outputAt: number;
  cancelled: boolean;
}

export interface WorkerThreadOptions {
  runningNote: WorkerStart['runningNote'];
  /** Room has come free. */
  onEnded(): void;
  onUnbatchable(model: number): void;
  /** The thread is gone; all its jobs have been settled. */
  onDied(error: Error): void;
}

export interface WorkerThread {
  /** Loads a model there. Throws `model_rejected`. */
  open(model: ModelToOpen): Promise<OpenedModel>;
  close(model: number): Promise<void>;
  /** A handle, or undefined when there is no room now. Seen by the thread at the latest after `wake`. */
  submit(job: Job): number | undefined;
  wake(): void;
  /** True when it will not run; it is not settled then. */
  cancel(handle: number): boolean;
  /** Settles as lost what has not begun to run, so that it runs elsewhere. */
  takeBack(): void;
  /** Jobs on their way or running. */
  depth(): number;
  /** Changes with every start and end of a run; odd during one. */
  runs(): number;
  running(): number;
  /** Waits for what is in the ring, then ends the thread. */
  end(): Promise<void>;
  /** Ends it now, busy or not; only a process can be ended so. */
  kill?(why: string): void;
}

const slots = 256;
/** Reserved address space: only what is used takes memory. */
const arenaBytes = 8 * 1024 * 1024;
/** Larger records go by message. Inputs and outputs of this size still fit together. */
const recordAtMost = arenaBytes / 2;
const extension = import.meta.url.endsWith('.ts') ? 'ts' : 'js';
const workerFile = fileURLToPath(new URL(`../worker/thread-main.${extension}`, import.meta.url));

/** Starts a thread without models. */
export function startWorkerThread(options: WorkerThreadOptions): WorkerThread {
  // The Linux library uploads telemetry unless this is in the environment of the process before it is loaded.
  process.env.ORT_DISABLE_TELEMETRY = '1';
  const ring = allocateRing(slots, arenaBytes);
  const { port1: port, port2 } = new MessageChannel();
  const producer = createProducer(ring);
  const arena = createArena(arenaBytes);
  const views = viewsOfArena(ring.arena);
  const jobs = createFlights<Flight>(slots);
  const openings = createOpenings();
  /** What came by message for slots that are not drained yet. */
  const asides = new Map<number, ShapedData[] | AppError>();
  let gone: AppError | undefined;

  const piscina = new Piscina<WorkerStart, undefined>({
    filename: workerFile,
    minThreads: 1,
    maxThreads: 1,
    atomics: 'disabled',
    execArgv: sourceExecArgv(import.meta.url),
  });
  const task = piscina.run({ ring, port: port2, runningNote: options.runningNote }, { transferList: [port2] });
  let stopping = false;
  task.then(
    () => undefined,
    (cause: unknown) => die(cause),
  );
  // Piscina reports the death of a thread through its task as well.
  piscina.on('error', () => undefined);

  const die = (cause: unknown): void => {
    gone = new AppError('internal', `the model's worker thread died: ${messageOf(cause)}`, { cause });
    drain();
    for (const [sequence, { job, cancelled }] of jobs.entries()) {
      if (cancelled) continue;
      const waiting = producer.state(sequence) === slotStates.ready;
      job.settle(waiting ? { kind: 'lost' } : { kind: 'failed', error: gone });
    }
    jobs.clear();
    openings.abandon(gone);
    port.close();
    void piscina.destroy();
    options.onDied(gone);
  };

  const post = (message: ToWorker): void => {
    port.postMessage(message);
    producer.wake();
  };

  const receive = (message: FromWorker): void => {
    switch (message.kind) {
      case 'ended':
        producer.clearNotified();
        drain();
        options.onEnded();
        return;
      case 'opened':
      case 'refused':
      case 'closed':
        openings.answer(message);
        return;
      case 'outputs':
        return void asides.set(message.sequence, message.outputs);
      case 'failed':
        return void asides.set(message.sequence, new AppError(message.failure.code, message.failure.message));
      case 'unbatchable':
        options.onUnbatchable(message.id);
    }
  };
  port.on('message', receive);

  const drain = (): void => {
    for (let sequence = producer.reclaim(); sequence !== undefined; sequence = producer.reclaim()) {
      arena.release();
      const ended = jobs.take(sequence);
      const ending = ended && endingOf(sequence, ended.job, ended.outputAt);
      asides.delete(sequence);
      if (ended && ending && !ended.cancelled) ended.job.settle(ending);
    }
  };

  const endingOf = (sequence: number, job: Job, outputAt: number): Ending => {
    switch (producer.state(sequence)) {
      case slotStates.done:
        return {
          kind: 'done',
          outputs: copyOut(views, outputAt, job.outputs),
          outcome: producer.outcome(sequence),
        };
      case slotStates.expired:
        return { kind: 'expired' };
      default: {
        const aside = asideOf(sequence);
        if (aside instanceof AppError) return { kind: 'failed', error: aside };
        const outputs = job.outputs.flatMap((spec, i) => {
          const part = aside[i];
          return part ? [{ name: spec.name, datatype: spec.datatype, ...part }] : [];
        });
        return { kind: 'done', outputs, outcome: producer.outcome(sequence) };
      }
    }
  };

  /** It was sent before the slot's state changed, so it is there, though perhaps not yet handed to `receive`. */
  const asideOf = (sequence: number): ShapedData[] | AppError => {
    while (!asides.has(sequence)) {
      const received: { message: FromWorker } | undefined = receiveMessageOnPort(port);
      if (!received) break;
      // Drained already, by whom this was called.
      if (received.message.kind === 'ended') producer.clearNotified();
      else receive(received.message);
    }
    return asides.get(sequence) ?? new AppError('internal', 'the outputs of a request did not come back');
  };

  return {
    open(model) {
      if (gone) return Promise.reject(gone);
      post({ kind: 'open', model });
      return openings.open(model.id);
    },
    close(id) {
      if (gone) return Promise.resolve();
      post({ kind: 'close', id });
      return openings.close(id);
    },
    submit(job) {
      if (gone || stopping || producer.free() === 0) return undefined;
      const size = recordBytes(job.inputs);
      const inRing = size !== undefined && size <= recordAtMost;
      const outputBytes = job.outputBytes <= recordAtMost ? job.outputBytes : 0;
      const inputAt = arena.allocate((inRing ? size : 0) + outputBytes);
      if (inputAt === undefined) return undefined;
      const outputAt = inputAt + (inRing ? size : 0);
      if (inRing) writeRecord(views, inputAt, job.inputs);
      else port.postMessage({ kind: 'inputs', sequence: producer.next(), inputs: job.inputs } satisfies ToWorker);
      const deadlineMs = job.deadline === undefined ? 0 : toSharedMs(job.deadline);
      const { model, rows, maxRows } = job;
      const inputBytes = inRing ? size : byMessage;
      const sequence = producer.publish({
        model,
        rows,
        maxRows,
        inputAt,
        inputBytes,
        outputAt,
        outputBytes,
        deadlineMs,
      });
      jobs.set(sequence, { job, outputAt, cancelled: false });
      return sequence;
    },
    wake: producer.wake,
    cancel(sequence) {
      const entry = jobs.get(sequence);
      if (!entry || !producer.cancel(sequence)) return false;
      entry.cancelled = true;
      return true;
    },
    takeBack() {
      for (const [sequence, entry] of jobs.entries()) {
        if (entry.cancelled || !producer.cancel(sequence)) continue;
        entry.cancelled = true;
        entry.job.settle({ kind: 'lost' });
      }
    },
    depth: jobs.count,
    runs: producer.runs,
    running: producer.running,
    async end() {
      if (!gone && !stopping) {
        stopping = true;
        post({ kind: 'stop' });
        await task.catch(() => undefined);
        drain();
      }
      port.close();
      await piscina.destroy();
    },
  };
}

function copyOut(views: ArenaViews, at: number, specs: readonly TensorSpec[]): NamedTensor[] {
  const entries = readRecord(views, at, specs);
  return specs.map(({ name, datatype }, i) => {
    const entry = entries[i] ?? { shape: [], at: 0, byteLength: 0 };
    const data = datatype === 'BYTES' ? [] : copyEntry(views, datatype, entry);
    return { name, datatype, shape: entry.shape, data };
  });
}
