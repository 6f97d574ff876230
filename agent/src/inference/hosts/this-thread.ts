// The thread that answers HTTP as a worker of the scheduler, for models that are quicker than the way to another thread.
// Requests are joined, run and answered as in every other thread, but nothing needs a ring between a thread and itself.
import { AppError } from '@edgeloop/shared/errors';
import type { TensorData } from '@edgeloop/shared/tensor-data';
import type { RunningNoteSlot } from '../../process/running-note.ts';
import { judgeJoining } from '../joining/joining.ts';
import type { ShapedData } from '../ring/records.ts';
import { sharedNowMs } from '../ring/shared-clock.ts';
import type { Job } from '../worker/job.ts';
import { createJoinedRunner, type JoinedRunner, type RunOutcome, type RunRequest } from '../worker/joined-run.ts';
import { failureOf, type ModelToOpen, type OpenedModel } from '../worker/messages.ts';
import { openSession, type Session } from '../worker/session.ts';
import type { Worker, WorkerEvents } from './worker.ts';

export interface ThisThreadOptions extends Pick<WorkerEvents, 'onEnded' | 'onUnbatchable'> {
  /** Where it is noted what runs here. */
  note: RunningNoteSlot | undefined;
}

interface OpenModel {
  name: string;
  version: number;
  session: Session;
  runner: JoinedRunner;
}

interface Waiting {
  handle: number;
  job: Job;
}

/** Runs what it is handed when it is woken: at once, but for the first run of each shape. */
export class ThisThread implements Worker {
  readonly started = Promise.resolve(undefined);
  readonly #options: ThisThreadOptions;
  readonly #models = new Map<number, OpenModel>();
  #waiting: Waiting[] = [];
  #lastHandle = 0;
  #busy = false;
  #runs = 0;
  #running = 0;

  constructor(options: ThisThreadOptions) {
    this.#options = options;
  }

  /** Blocks this thread as long as it takes. */
  async open({ id, name, version, path, golden, joining: known, ...options }: ModelToOpen): Promise<OpenedModel> {
    const begunMs = performance.now();
    this.#options.note?.begin(name, version);
    const { session, graph } = await openSession(path, options);
    const { signature, providers } = session;
    const joining = known ?? (await judgeJoining({ ...session, ...graph, golden, nowMs: () => performance.now() }));
    this.#models.set(id, { name, version, session, runner: createJoinedRunner(session, joining.allowed) });
    return { signature, joining, plain: graph.isPlain(), providers, loadMs: performance.now() - begunMs };
  }

  async close(id: number): Promise<void> {
    const model = this.#models.get(id);
    this.#models.delete(id);
    await model?.session.release();
  }

  submit(job: Job): number {
    const handle = ++this.#lastHandle;
    this.#waiting.push({ handle, job });
    return handle;
  }

  wake(): void {
    if (!this.#busy) void this.#runAll();
  }

  cancel(handle: number): boolean {
    const place = this.#waiting.findIndex((each) => each.handle === handle);
    if (place < 0) return false;
    this.#waiting.splice(place, 1);
    return true;
  }

  takeBack(): void {
    const left = this.#waiting;
    this.#waiting = [];
    for (const { job } of left) job.settle({ kind: 'lost' });
  }

  depth(): number {
    return this.#waiting.length + (this.#busy ? 1 : 0);
  }

  runs(): number {
    return this.#runs;
  }

  running(): number {
    return this.#running;
  }

  processorMs(): undefined {
    return undefined;
  }

  async end(): Promise<void> {
    for (const id of [...this.#models.keys()]) await this.close(id);
    this.#options.note?.close();
  }

  async #runAll(): Promise<void> {
    this.#busy = true;
    try {
      for (let jobs = this.#take(); jobs.length > 0; jobs = this.#take()) {
        const ran = this.#run(jobs);
        if (ran) await ran;
      }
    } finally {
      this.#busy = false;
    }
    this.#options.onEnded();
  }

  /** What makes one run, in order: the oldest, and those after it as far as they can share its run. */
  #take(): Job[] {
    const taken: Job[] = [];
    let rows = 0;
    let passed = 0;
    for (const { job } of this.#waiting) {
      const [first] = taken;
      if (first && !canJoin(first, job, rows + job.rows)) break;
      passed++;
      if (job.deadline !== undefined && job.deadline <= performance.now()) {
        job.settle({ kind: 'expired' });
        continue;
      }
      taken.push(job);
      rows += job.rows;
    }
    this.#waiting = passed === this.#waiting.length ? [] : this.#waiting.slice(passed);
    return taken;
  }

  /** Settles each once. A promise where the model did not run at once. */
  #run(jobs: readonly Job[]): Promise<void> | undefined {
    const id = jobs[0]?.model ?? 0;
    const model = this.#models.get(id);
    if (!model) {
      for (const job of jobs) job.settle({ kind: 'lost' });
      return undefined;
    }
    this.#options.note?.begin(model.name, model.version);
    this.#running = id;
    this.#runs++;
    const startedAtMs = sharedNowMs();
    try {
      const ran = model.runner.run(jobs.map(requestOf));
      if (!(ran instanceof Promise)) return this.#answer(jobs, ran, startedAtMs);
      return ran.then(
        (outcome) => this.#answer(jobs, outcome, startedAtMs),
        (error: unknown) => this.#failed(jobs, error),
      );
    } catch (error) {
      return this.#failed(jobs, error);
    }
  }

  #answer(jobs: readonly Job[], { parts, inputMs, runMs }: RunOutcome, startedAtMs: number): Promise<void> | undefined {
    this.#runs++;
    if (parts === undefined) {
      this.#options.onUnbatchable(jobs[0]?.model ?? 0);
      return this.#runEach(jobs);
    }
    const doneMs = performance.now();
    // The first tells of the run, so that it counts once.
    let runRows = jobs.length === 1 ? Math.max(jobs[0]?.rows ?? 0, 1) : jobs.reduce((sum, { rows }) => sum + rows, 0);
    for (let i = 0; i < jobs.length; i++) {
      const job = jobs[i];
      if (job === undefined) continue;
      const outputs = copied(job, parts[i] ?? []);
      const outputMs = jobs.length === 1 ? 0 : performance.now() - doneMs;
      job.settle({ kind: 'done', outputs, outcome: { startedAtMs, inputMs, runMs, outputMs, runRows } });
      runRows = 0;
    }
    return undefined;
  }

  /** One bad request must not fail its neighbours; alone, each gets its own outcome and error. */
  #failed(jobs: readonly Job[], error: unknown): Promise<void> | undefined {
    this.#runs++;
    if (jobs.length > 1) return this.#runEach(jobs);
    const { code, message } = failureOf(error);
    for (const job of jobs) job.settle({ kind: 'failed', error: new AppError(code, message) });
    return undefined;
  }

  async #runEach(jobs: readonly Job[]): Promise<void> {
    for (const job of jobs) await this.#run([job]);
  }
}

function canJoin(first: Job, next: Job, rows: number): boolean {
  if (next.model !== first.model || first.rows === 0 || next.rows === 0) return false;
  return rows <= Math.min(first.maxRows, next.maxRows) && sameRows(first, next);
}

/** Whether all inputs have the same dimensions but the first. */
function sameRows(first: Job, next: Job): boolean {
  return first.inputs.every(({ shape }, at) => {
    const other = next.inputs[at]?.shape;
    return other?.length === shape.length && shape.every((dim, place) => place === 0 || dim === other[place]);
  });
}

function requestOf({ rows, inputs }: Job): RunRequest {
  return { rows, inputs: inputs.map(({ shape, data }) => ({ shape, bytes: bytesOf(data) })) };
}

function bytesOf(data: TensorData): Uint8Array {
  // Models that take texts never run here.
  if (Array.isArray(data)) throw new AppError('internal', 'a model that takes texts was to run in the HTTP thread');
  return new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
}

/** The parts are valid until the next run only. */
function copied({ outputs }: Job, parts: readonly ShapedData[]) {
  return outputs.map(({ name, datatype }, i) => {
    const { shape, data } = parts[i] ?? { shape: [], data: [] };
    return { name, datatype, shape, data: data.slice() };
  });
}
