// The serving process's hold on a model that runs in a process of its own (`isolation: process`): to the scheduler it is a
// worker like any other, and its death is nobody else's. Tensors travel by message, which costs more than shared memory.
import { type ChildProcess, fork } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { AppError, messageOf } from '@edgeloop/shared/errors';
import { isCrash, sourceExecArgv } from '@edgeloop/shared/node/bounded-process';
import { childEnvironment } from '@edgeloop/shared/node/child-environment';
import { listenForLastWords, withLastWords } from '@edgeloop/shared/node/last-words';
import type { Job } from '../worker/job.ts';
import type { ModelToOpen, OpenedModel } from '../worker/messages.ts';
import { processTimeMs, threadTimeMs } from '../worker/processor-time.ts';
import { createOpenings } from './openings.ts';
import type { FromModelProcess, SentEnding, SentJob, ToModelProcess } from './process-messages.ts';
import { ModelProcessDied, type Worker, type WorkerEvents } from './worker.ts';

export interface ModelProcessOptions extends WorkerEvents {
  /** Resident set at which it ends itself. */
  maxRssBytes: number;
}

/** Jobs on their way there; the ring of a thread holds as many. */
const mostJobs = 256;
/** How long it may take to end when it is told to. */
const endMs = 5000;
const stopped = 'it was told to end';
const extension = import.meta.url.endsWith('.ts') ? 'ts' : 'js';
const modulePath = fileURLToPath(new URL(`./process-main.${extension}`, import.meta.url));

/** Starts a process without a model. */
export function startModelProcess(options: ModelProcessOptions): Worker {
  return new ModelProcess(options);
}

class ModelProcess implements Worker {
  readonly started: Promise<number | undefined>;
  readonly #events: WorkerEvents;
  readonly #child: ChildProcess;
  readonly #ended: Promise<End>;
  readonly #jobs = new Map<number, Job>();
  readonly #openings = createOpenings();
  #isStarted: (taskId?: number) => void = () => undefined;
  #taskId: number | undefined;
  #unsent: SentJob[] = [];
  #lastSequence = 0;
  #lastModel = 0;
  /** Odd while something runs. */
  #runs = 0;
  /** Why it ends, as far as it was said before it did. */
  #reason: string | undefined;
  #gone: AppError | undefined;

  constructor({ maxRssBytes, ...events }: ModelProcessOptions) {
    this.#events = events;
    this.started = new Promise((resolve) => {
      this.#isStarted = resolve;
    });
    this.#child = fork(modulePath, [String(maxRssBytes)], {
      serialization: 'advanced',
      execArgv: [...sourceExecArgv(import.meta.url), '--max-semi-space-size=4'],
      env: { ...childEnvironment(), ORT_DISABLE_TELEMETRY: '1' },
      stdio: ['ignore', 'inherit', 'pipe', 'ipc'],
    });
    this.#child.stderr?.on('data', (bytes: Buffer | string) => process.stderr.write(bytes));
    this.#child.on('message', (message: FromModelProcess) => this.#receive(message));
    this.#ended = endOf(this.#child);
    void this.#ended.then((how) => this.#die(how));
  }

  open(model: ModelToOpen): Promise<OpenedModel> {
    if (this.#gone) return Promise.reject(this.#gone);
    this.#lastModel = model.id;
    this.#send({ kind: 'open', model });
    return this.#openings.open(model.id);
  }

  close(id: number): Promise<void> {
    if (this.#gone) return Promise.resolve();
    this.#send({ kind: 'close', id });
    return this.#openings.close(id);
  }

  submit(job: Job): number | undefined {
    if (this.#gone || this.#reason === stopped || this.#jobs.size >= mostJobs) return undefined;
    const sequence = ++this.#lastSequence;
    const { model, inputs, rows, maxRows, outputs, outputBytes, deadline } = job;
    const leftMs = deadline === undefined ? undefined : deadline - performance.now();
    this.#unsent.push({ sequence, model, inputs, rows, maxRows, outputs, outputBytes, leftMs });
    this.#jobs.set(sequence, job);
    return sequence;
  }

  /** Sends what came together in one message. */
  wake(): void {
    if (this.#unsent.length === 0) return;
    if (this.#runs % 2 === 0) this.#runs++;
    this.#send({ kind: 'jobs', jobs: this.#unsent });
    this.#unsent = [];
  }

  cancel(sequence: number): boolean {
    const place = this.#unsent.findIndex((job) => job.sequence === sequence);
    if (place < 0) return false;
    this.#unsent.splice(place, 1);
    return this.#jobs.delete(sequence);
  }

  takeBack(): void {
    this.#send({ kind: 'take-back' });
    for (const { sequence } of this.#unsent.splice(0)) {
      const job = this.#jobs.get(sequence);
      this.#jobs.delete(sequence);
      job?.settle({ kind: 'lost' });
    }
  }

  depth(): number {
    return this.#jobs.size;
  }

  runs(): number {
    return this.#runs;
  }

  running(): number {
    return this.#lastModel;
  }

  processorMs(): number | undefined {
    return threadTimeMs(this.#taskId, this.#child.pid);
  }

  processMs(): number | undefined {
    return processTimeMs(this.#child.pid);
  }

  kill(why: string): void {
    this.#reason ??= why;
    this.#child.kill('SIGKILL');
  }

  async end(): Promise<void> {
    if (this.#gone) return;
    this.#reason ??= stopped;
    this.#send({ kind: 'stop' });
    const timer = setTimeout(() => this.#child.kill('SIGKILL'), endMs);
    await this.#ended;
    clearTimeout(timer);
  }

  #send(message: ToModelProcess): void {
    // What can't be sent any more is settled when its end is seen.
    if (this.#child.connected) this.#child.send(message, () => undefined);
  }

  #receive(message: FromModelProcess): void {
    switch (message.kind) {
      case 'started':
        this.#taskId = message.taskId;
        this.#isStarted(message.taskId);
        break;
      case 'opened':
      case 'refused':
      case 'closed':
        this.#openings.answer(message);
        break;
      case 'ended':
        this.#settle(message.sequence, message.ending);
        this.#events.onEnded();
        break;
      case 'unbatchable':
        this.#events.onUnbatchable(message.id);
        break;
      case 'steps':
        this.#events.onSteps(message.id, message.runs);
        break;
      case 'dying':
        this.#reason = message.reason;
    }
  }

  #settle(sequence: number, ending: SentEnding): void {
    const job = this.#jobs.get(sequence);
    this.#jobs.delete(sequence);
    // Even when nothing is left to run, and another number than before when a run has ended; what is given back was none.
    if (this.#jobs.size === 0) this.#runs += 1;
    else if (ending.kind !== 'lost') this.#runs += 2;
    job?.settle(
      ending.kind === 'failed'
        ? { kind: 'failed', error: new AppError(ending.failure.code, ending.failure.message) }
        : ending,
    );
  }

  #die({ how, words, crashed }: End): void {
    const ownDoing = crashed || this.#reason !== undefined;
    const told = withLastWords(this.#reason ?? how, this.#reason === stopped ? '' : words);
    const gone = new ModelProcessDied(told, ownDoing);
    this.#gone = gone;
    this.#isStarted();
    const lost = [...this.#jobs.values()];
    this.#jobs.clear();
    this.#unsent = [];
    if (this.#runs % 2 !== 0) this.#runs++;
    for (const job of lost) job.settle({ kind: 'failed', error: gone });
    // Nothing else was asked of it yet: what ended it is the model that it was to load.
    this.#openings.abandon(ownDoing ? new AppError('model_rejected', gone.message) : gone);
    if (this.#reason !== stopped) this.#events.onDied(gone);
  }
}

interface End {
  how: string;
  /** The end of what it wrote to stderr. */
  words: string;
  /** By a fault of its own. */
  crashed: boolean;
}

function endOf(child: ChildProcess): Promise<End> {
  return new Promise((resolve) => {
    const lastWords = listenForLastWords(child.stderr);
    child.once('error', (error) => resolve({ how: messageOf(error), words: '', crashed: false }));
    child.once('exit', (code, signal) => {
      const crashed = signal === null || isCrash(signal);
      const how = signal === null ? `it ended with exit code ${code}` : `it was ended by ${signal}`;
      void lastWords.whole().then((words) => resolve({ how, words, crashed }));
    });
  });
}
