// The thread that answers HTTP as a worker of the scheduler, for models that are quicker than the way to another thread. It
// has a ring of its own, so that requests are joined, run and answered as in every other thread.
import { MessageChannel, type MessagePort, receiveMessageOnPort } from 'node:worker_threads';
import type { RunningNoteSlot } from '../../process/running-note.ts';
import { judgeJoining } from '../joining/joining.ts';
import { createConsumer, type RingConsumer, type TakenSlot } from '../ring/consumer.ts';
import { type ArenaViews, sameRows, viewsOfArena } from '../ring/records.ts';
import { sharedNowMs } from '../ring/shared-clock.ts';
import { type BatchRunner, createBatchRunner } from '../worker/batch-run.ts';
import type { Job } from '../worker/job.ts';
import type { FromWorker, ModelToOpen, OpenedModel } from '../worker/messages.ts';
import { runFromRing } from '../worker/ring-runs.ts';
import { openSession, type Session } from '../worker/session.ts';
import { giveBack, type WayBack } from '../worker/way-back.ts';
import { RingJobs } from './ring-jobs.ts';
import type { Worker, WorkerEvents } from './worker.ts';

export interface ThisThreadOptions extends Pick<WorkerEvents, 'onEnded' | 'onUnbatchable'> {
  /** Where it is noted what runs here. */
  note: RunningNoteSlot | undefined;
}

interface OpenModel {
  name: string;
  version: number;
  session: Session;
  runner: BatchRunner;
}

/** Runs at once what it is handed, when it is woken; a session must have run when it returns. */
export class ThisThread implements Worker {
  readonly started = Promise.resolve(undefined);
  readonly #options: ThisThreadOptions;
  readonly #models = new Map<number, OpenModel>();
  readonly #jobs: RingJobs;
  readonly #ring: RingConsumer;
  readonly #arena: ArenaViews;
  /** What does not fit the ring comes back by message, as it does from other threads. */
  readonly #port: MessagePort;
  readonly #way: WayBack;

  constructor(options: ThisThreadOptions) {
    this.#options = options;
    const { port1, port2 } = new MessageChannel();
    this.#port = port1;
    this.#jobs = new RingJobs(port1, () => this.#receiveNext());
    this.#ring = createConsumer(this.#jobs.ring);
    this.#arena = viewsOfArena(this.#jobs.ring.arena);
    this.#way = { ring: this.#ring, arena: this.#arena, port: port2 };
  }

  /** Blocks this thread as long as it takes. */
  async open({ id, name, version, path, golden, joining: known, ...options }: ModelToOpen): Promise<OpenedModel> {
    const begunMs = performance.now();
    this.#options.note?.begin(name, version);
    const { session, graph } = await openSession(path, options);
    const { signature, providers } = session;
    const joining = known ?? (await judgeJoining({ ...session, ...graph, golden, nowMs: () => performance.now() }));
    this.#models.set(id, { name, version, session, runner: createBatchRunner(session, this.#arena, joining.allowed) });
    return { signature, joining, plain: graph.isPlain(), providers, loadMs: performance.now() - begunMs };
  }

  async close(id: number): Promise<void> {
    const model = this.#models.get(id);
    this.#models.delete(id);
    await model?.session.release();
  }

  submit(job: Job): number | undefined {
    return this.#jobs.submit(job);
  }

  wake(): void {
    void this.#runAll();
  }

  cancel(sequence: number): boolean {
    return this.#jobs.cancel(sequence);
  }

  takeBack(): void {
    this.#jobs.takeBack();
  }

  depth(): number {
    return this.#jobs.depth();
  }

  runs(): number {
    return this.#jobs.producer.runs();
  }

  running(): number {
    return this.#jobs.producer.running();
  }

  processorMs(): undefined {
    return undefined;
  }

  async end(): Promise<void> {
    for (const id of [...this.#models.keys()]) await this.close(id);
    this.#options.note?.close();
    this.#port.close();
  }

  async #runAll(): Promise<void> {
    const joins = (first: TakenSlot, next: TakenSlot): boolean => this.#joins(first, next);
    for (;;) {
      const slots = this.#ring.take(sharedNowMs, joins);
      if (slots.length === 0) break;
      await this.#run(slots);
    }
    while (this.#receiveNext());
    this.#jobs.drain();
    this.#options.onEnded();
  }

  #joins({ model, inputAt }: TakenSlot, next: TakenSlot): boolean {
    const inputs = this.#models.get(model)?.session.signature.inputs.length ?? 0;
    return sameRows(this.#arena.words, inputAt, next.inputAt, inputs);
  }

  async #run(slots: readonly TakenSlot[]): Promise<void> {
    const id = slots[0]?.model ?? 0;
    const model = this.#models.get(id);
    if (!model) {
      for (const slot of slots) giveBack(this.#way, slot);
      return;
    }
    this.#options.note?.begin(model.name, model.version);
    this.#ring.begin(id);
    try {
      await runFromRing(this.#way, model.runner, slots);
    } finally {
      this.#ring.end();
    }
  }

  #receiveNext(): boolean {
    const received: { message: FromWorker } | undefined = receiveMessageOnPort(this.#port);
    if (!received) return false;
    const { message } = received;
    if (message.kind === 'outputs' || message.kind === 'failed') this.#jobs.keepAside(message);
    else if (message.kind === 'unbatchable') this.#options.onUnbatchable(message.id);
    return true;
  }
}
