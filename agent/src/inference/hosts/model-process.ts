// The serving process's hold on a model that runs in a process of its own (`isolation: process`): to the scheduler it is a
// worker like any other, and its death is nobody else's. Tensors travel by message, which costs more than shared memory.
import { type ChildProcess, fork } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { AppError, messageOf } from '@edgeloop/shared/errors';
import { sourceExecArgv } from '@edgeloop/shared/node/bounded-process';
import type { FromModelProcess, SentEnding, SentJob, ToModelProcess } from '../worker/process-messages.ts';
import { createOpenings } from './openings.ts';
import type { Job, WorkerThread } from './worker-thread.ts';

export interface ModelProcessOptions {
  /** Resident set at which it ends itself. */
  maxRssBytes: number;
  /** Room has come free. */
  onEnded(): void;
  onUnbatchable(model: number): void;
  /** It is gone; all its jobs have been settled. */
  onDied(error: Error): void;
}

/** Jobs on their way there; the ring of a thread holds as many. */
const mostJobs = 256;
/** How long it may take to end when it is told to. */
const endMs = 5000;
const extension = import.meta.url.endsWith('.ts') ? 'ts' : 'js';
const modulePath = fileURLToPath(new URL(`../worker/process-main.${extension}`, import.meta.url));

/** Starts a process without a model. */
export function startModelProcess(options: ModelProcessOptions): WorkerThread {
  const child = fork(modulePath, [String(options.maxRssBytes)], {
    serialization: 'advanced',
    execArgv: [...sourceExecArgv(import.meta.url), '--max-semi-space-size=4'],
    env: { ...process.env, ORT_DISABLE_TELEMETRY: '1' },
    stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
  });
  const jobs = new Map<number, Job>();
  const openings = createOpenings();
  let unsent: SentJob[] = [];
  let lastSequence = 0;
  let lastModel = 0;
  /** Odd while something runs. */
  let runs = 0;
  let reason: string | undefined;
  let gone: AppError | undefined;
  const ended = endOf(child);
  void ended.then(die);

  function send(message: ToModelProcess): void {
    // What can't be sent any more is settled when its end is seen.
    if (child.connected) child.send(message, () => undefined);
  }

  function die(how: string): void {
    gone = new AppError('internal', `the model's process died: ${reason ?? how}`);
    const lost = [...jobs.values()];
    jobs.clear();
    unsent = [];
    if (runs % 2 !== 0) runs++;
    for (const job of lost) job.settle({ kind: 'failed', error: gone });
    openings.abandon(gone);
    if (reason !== stopped) options.onDied(gone);
  }

  function settle(sequence: number, ending: SentEnding): void {
    const job = jobs.get(sequence);
    jobs.delete(sequence);
    // Even when nothing is left to run, and another number than before when something is.
    runs += jobs.size === 0 ? 1 : 2;
    job?.settle(
      ending.kind === 'failed'
        ? { kind: 'failed', error: new AppError(ending.failure.code, ending.failure.message) }
        : ending,
    );
  }

  child.on('message', (message: FromModelProcess) => {
    switch (message.kind) {
      case 'opened':
      case 'refused':
      case 'closed':
        return openings.answer(message);
      case 'ended':
        settle(message.sequence, message.ending);
        return options.onEnded();
      case 'unbatchable':
        return options.onUnbatchable(message.id);
      case 'dying':
        reason = message.reason;
    }
  });

  const flush = (): void => {
    if (unsent.length === 0) return;
    if (runs % 2 === 0) runs++;
    send({ kind: 'jobs', jobs: unsent });
    unsent = [];
  };

  return {
    open(model) {
      if (gone) return Promise.reject(gone);
      lastModel = model.id;
      send({ kind: 'open', model });
      return openings.open(model.id);
    },
    close(id) {
      if (gone) return Promise.resolve();
      send({ kind: 'close', id });
      return openings.close(id);
    },
    submit(job) {
      if (gone || reason === stopped || jobs.size >= mostJobs) return undefined;
      lastSequence++;
      const { model, inputs, rows, maxRows, outputs, outputBytes, deadline } = job;
      const leftMs = deadline === undefined ? undefined : deadline - performance.now();
      unsent.push({ sequence: lastSequence, model, inputs, rows, maxRows, outputs, outputBytes, leftMs });
      jobs.set(lastSequence, job);
      return lastSequence;
    },
    wake: flush,
    cancel(sequence) {
      const place = unsent.findIndex((job) => job.sequence === sequence);
      if (place < 0) return false;
      unsent.splice(place, 1);
      return jobs.delete(sequence);
    },
    takeBack() {
      for (const { sequence } of unsent.splice(0)) {
        const job = jobs.get(sequence);
        jobs.delete(sequence);
        job?.settle({ kind: 'lost' });
      }
    },
    depth: () => jobs.size,
    runs: () => runs,
    running: () => lastModel,
    kill(why) {
      reason ??= why;
      child.kill('SIGKILL');
    },
    async end() {
      if (gone) return;
      reason ??= stopped;
      send({ kind: 'stop' });
      const timer = setTimeout(() => child.kill('SIGKILL'), endMs);
      await ended;
      clearTimeout(timer);
    },
  };
}

const stopped = 'it was told to end';

function endOf(child: ChildProcess): Promise<string> {
  return new Promise((resolve) => {
    child.once('error', (error) => resolve(messageOf(error)));
    child.once('exit', (code, signal) =>
      resolve(signal === null ? `it ended with exit code ${code}` : `it was ended by ${signal}`),
    );
  });
}
