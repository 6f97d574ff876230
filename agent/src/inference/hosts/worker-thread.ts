// The HTTP thread's hold on one worker thread: its start and end, and what is said by message. Piscina owns the thread;
// nothing here ever ends a busy one, since that aborts the whole process inside ONNX Runtime.

import { fileURLToPath } from 'node:url';
import { MessageChannel, type MessagePort, receiveMessageOnPort } from 'node:worker_threads';
import { AppError, messageOf } from '@edgeloop/shared/errors';
import { sourceExecArgv } from '@edgeloop/shared/node/bounded-process';
import { Piscina } from 'piscina';
import type { Job } from '../worker/job.ts';
import type { FromWorker, ModelToOpen, OpenedModel, ToWorker, WorkerStart } from '../worker/messages.ts';
import { threadTimeMs } from '../worker/processor-time.ts';
import { createOpenings } from './openings.ts';
import { RingJobs } from './ring-jobs.ts';
import type { Worker, WorkerEvents } from './worker.ts';

export interface WorkerThreadOptions extends WorkerEvents {
  runningNote: WorkerStart['runningNote'];
}

const extension = import.meta.url.endsWith('.ts') ? 'ts' : 'js';
const workerFile = fileURLToPath(new URL(`../worker/thread-main.${extension}`, import.meta.url));

/** Starts a thread without models. */
export function startWorkerThread(options: WorkerThreadOptions): Worker {
  // The Linux library uploads telemetry unless this is in the environment of the process before it is loaded.
  process.env.ORT_DISABLE_TELEMETRY = '1';
  return new WorkerThread(options);
}

class WorkerThread implements Worker {
  readonly started: Promise<number | undefined>;
  readonly #events: WorkerEvents;
  readonly #port: MessagePort;
  readonly #jobs: RingJobs;
  readonly #openings = createOpenings();
  readonly #piscina: Piscina<WorkerStart, undefined>;
  /** The thread's one task, which lasts as long as it does. */
  readonly #task: Promise<undefined>;
  #isStarted: (taskId?: number) => void = () => undefined;
  #taskId: number | undefined;
  #ending: Promise<void> | undefined;
  #gone: AppError | undefined;

  constructor({ runningNote, ...events }: WorkerThreadOptions) {
    this.#events = events;
    this.started = new Promise((resolve) => {
      this.#isStarted = resolve;
    });
    const { port1, port2 } = new MessageChannel();
    this.#port = port1;
    this.#port.on('message', (message: FromWorker) => this.#receive(message));
    this.#jobs = new RingJobs(this.#port, () => this.#receiveNext());
    this.#piscina = new Piscina({
      filename: workerFile,
      minThreads: 1,
      maxThreads: 1,
      atomics: 'disabled',
      execArgv: sourceExecArgv(import.meta.url),
    });
    // It reports the death of a thread through its task as well.
    this.#piscina.on('error', () => undefined);
    this.#task = this.#piscina.run({ ring: this.#jobs.ring, port: port2, runningNote }, { transferList: [port2] });
    this.#task.catch((cause: unknown) => this.#die(cause));
  }

  open(model: ModelToOpen): Promise<OpenedModel> {
    if (this.#gone) return Promise.reject(this.#gone);
    this.#post({ kind: 'open', model });
    return this.#openings.open(model.id);
  }

  close(id: number): Promise<void> {
    if (this.#gone) return Promise.resolve();
    this.#post({ kind: 'close', id });
    return this.#openings.close(id);
  }

  submit(job: Job): number | undefined {
    return this.#gone || this.#ending ? undefined : this.#jobs.submit(job);
  }

  wake(): void {
    this.#jobs.producer.wake();
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

  processorMs(): number | undefined {
    return threadTimeMs(this.#taskId);
  }

  /** Once: to destroy a thread that is still busy would abort the process. */
  end(): Promise<void> {
    this.#ending ??= this.#end();
    return this.#ending;
  }

  async #end(): Promise<void> {
    if (!this.#gone) {
      this.#post({ kind: 'stop' });
      await this.#task.catch(() => undefined);
      this.#jobs.drain();
    }
    this.#port.close();
    // What the thread answered last may not have been read.
    this.#openings.abandon(new AppError('internal', "the model's worker thread was ended"));
    await this.#piscina.destroy();
  }

  #post(message: ToWorker): void {
    this.#port.postMessage(message);
    this.wake();
  }

  #receive(message: FromWorker): void {
    switch (message.kind) {
      case 'ended':
        this.#jobs.producer.clearNotified();
        this.#jobs.drain();
        this.#events.onEnded();
        break;
      case 'started':
        this.#taskId = message.taskId;
        this.#isStarted(message.taskId);
        break;
      case 'opened':
      case 'refused':
      case 'closed':
        this.#openings.answer(message);
        break;
      case 'outputs':
      case 'failed':
        this.#jobs.keepAside(message);
        break;
      case 'unbatchable':
        this.#events.onUnbatchable(message.id);
        break;
      case 'steps':
        this.#events.onSteps(message.id, message.runs);
    }
  }

  #receiveNext(): boolean {
    const received: { message: FromWorker } | undefined = receiveMessageOnPort(this.#port);
    if (!received) return false;
    // It is asked for while draining, so an end need not be told again.
    if (received.message.kind === 'ended') this.#jobs.producer.clearNotified();
    else this.#receive(received.message);
    return true;
  }

  #die(cause: unknown): void {
    const gone = new AppError('internal', `the model's worker thread died: ${messageOf(cause)}`, { cause });
    this.#gone = gone;
    this.#isStarted();
    this.#jobs.abandon(gone);
    this.#openings.abandon(gone);
    this.#port.close();
    void this.#piscina.destroy();
    this.#events.onDied(gone);
  }
}
