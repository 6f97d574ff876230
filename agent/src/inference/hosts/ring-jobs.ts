// The jobs on their way through one thread's ring, seen from the HTTP thread: puts them in, and settles each once when it
// has come out or the thread is gone.
import type { MessagePort } from 'node:worker_threads';
import { AppError } from '@edgeloop/shared/errors';
import type { NamedTensor } from '@edgeloop/shared/tensor-data';
import type { TensorSpec } from '@edgeloop/shared/tensors';
import { createArena } from '../ring/arena.ts';
import { createFlights } from '../ring/flights.ts';
import { createProducer, type RingProducer } from '../ring/producer.ts';
import {
  type ArenaViews,
  copyEntry,
  readRecord,
  recordBytes,
  type ShapedData,
  viewsOfArena,
  writeRecord,
} from '../ring/records.ts';
import { allocateRing, byMessage, type SharedRing, slotStates } from '../ring/ring.ts';
import { toSharedMs } from '../ring/shared-clock.ts';
import type { Ending, Job } from '../worker/job.ts';
import type { FromWorker, ToWorker } from '../worker/messages.ts';

/** What of a job's ending comes by message. */
type Aside = Extract<FromWorker, { kind: 'outputs' | 'failed' }>;

interface Flight {
  job: Job;
  outputAt: number;
  cancelled: boolean;
}

const slots = 256;
/** Reserved address space: only what is used takes memory. */
const arenaBytes = 8 * 1024 * 1024;
/** Larger records go by message. Inputs and outputs of this size still fit together. */
const recordAtMost = arenaBytes / 2;

export class RingJobs {
  /** For the thread. */
  readonly ring: SharedRing = allocateRing(slots, arenaBytes);
  readonly producer: RingProducer = createProducer(this.ring);
  readonly #arena = createArena(arenaBytes);
  readonly #views = viewsOfArena(this.ring.arena);
  readonly #flights = createFlights<Flight>(slots);
  /** What came by message for slots that are not drained yet. */
  readonly #asides = new Map<number, Aside>();
  readonly #port: MessagePort;
  readonly #receiveNext: () => boolean;

  /** `receiveNext` takes in a message that is there but not handed over yet; false when there is none. */
  constructor(port: MessagePort, receiveNext: () => boolean) {
    this.#port = port;
    this.#receiveNext = receiveNext;
  }

  /** As `Worker.submit`. */
  submit(job: Job): number | undefined {
    if (this.producer.free() === 0) return undefined;
    const size = recordBytes(job.inputs);
    const inRing = size !== undefined && size <= recordAtMost;
    const outputBytes = job.outputBytes <= recordAtMost ? job.outputBytes : 0;
    const inputAt = this.#arena.allocate((inRing ? size : 0) + outputBytes);
    if (inputAt === undefined) return undefined;
    const outputAt = inputAt + (inRing ? size : 0);
    if (inRing) writeRecord(this.#views, inputAt, job.inputs);
    else this.#sendInputs(job.inputs);
    const { model, rows, maxRows } = job;
    const sequence = this.producer.publish({
      model,
      rows,
      maxRows,
      inputAt,
      inputBytes: inRing ? size : byMessage,
      outputAt,
      outputBytes,
      deadlineMs: job.deadline === undefined ? 0 : toSharedMs(job.deadline),
    });
    this.#flights.set(sequence, { job, outputAt, cancelled: false });
    return sequence;
  }

  /** As `Worker.cancel`. */
  cancel(sequence: number): boolean {
    const flight = this.#flights.get(sequence);
    if (!flight || !this.producer.cancel(sequence)) return false;
    flight.cancelled = true;
    return true;
  }

  /** As `Worker.takeBack`. */
  takeBack(): void {
    for (const [sequence, flight] of this.#flights.entries()) {
      if (flight.cancelled || !this.producer.cancel(sequence)) continue;
      flight.cancelled = true;
      flight.job.settle({ kind: 'lost' });
    }
  }

  depth(): number {
    return this.#flights.count();
  }

  keepAside(message: Aside): void {
    this.#asides.set(message.sequence, message);
  }

  /** Settles what has ended. */
  drain(): void {
    for (let sequence = this.producer.reclaim(); sequence !== undefined; sequence = this.producer.reclaim()) {
      this.#arena.release();
      const ended = this.#flights.take(sequence);
      const ending = ended && this.#endingOf(sequence, ended);
      this.#asides.delete(sequence);
      if (ended && ending && !ended.cancelled) ended.job.settle(ending);
    }
  }

  /** The thread is gone: settles all, as lost what had not begun, else as failed. */
  abandon(error: AppError): void {
    this.drain();
    for (const [sequence, { job, cancelled }] of this.#flights.entries()) {
      if (cancelled) continue;
      const waiting = this.producer.state(sequence) === slotStates.ready;
      job.settle(waiting ? { kind: 'lost' } : { kind: 'failed', error });
    }
    this.#flights.clear();
  }

  #sendInputs(inputs: readonly NamedTensor[]): void {
    this.#port.postMessage({ kind: 'inputs', sequence: this.producer.next(), inputs } satisfies ToWorker);
  }

  #endingOf(sequence: number, { job, outputAt }: Flight): Ending {
    switch (this.producer.state(sequence)) {
      case slotStates.done:
        return {
          kind: 'done',
          outputs: copyOut(this.#views, outputAt, job.outputs),
          outcome: this.producer.outcome(sequence),
        };
      case slotStates.expired:
        return { kind: 'expired' };
      case slotStates.lost:
        return { kind: 'lost' };
      default: {
        const aside = this.#asideOf(sequence);
        if (aside?.kind === 'outputs') {
          const outputs = named(job.outputs, aside.outputs);
          return { kind: 'done', outputs, outcome: this.producer.outcome(sequence) };
        }
        const { code, message } = aside?.failure ?? neverCame;
        return { kind: 'failed', error: new AppError(code, message) };
      }
    }
  }

  /** It was sent before the slot's state changed, so it is there, though perhaps not yet handed over. */
  #asideOf(sequence: number): Aside | undefined {
    while (!this.#asides.has(sequence) && this.#receiveNext());
    return this.#asides.get(sequence);
  }
}

const neverCame = { code: 'internal', message: 'the outputs of a request did not come back' } as const;

function named(specs: readonly TensorSpec[], parts: readonly ShapedData[]): NamedTensor[] {
  return specs.flatMap(({ name, datatype }, i) => {
    const part = parts[i];
    return part ? [{ name, datatype, ...part }] : [];
  });
}

function copyOut(views: ArenaViews, at: number, specs: readonly TensorSpec[]): NamedTensor[] {
  const entries = readRecord(views, at, specs);
  return specs.map(({ name, datatype }, i) => {
    const entry = entries[i] ?? { shape: [], at: 0, byteLength: 0 };
    const data = datatype === 'BYTES' ? [] : copyEntry(views, datatype, entry);
    return { name, datatype, shape: entry.shape, data };
  });
}
