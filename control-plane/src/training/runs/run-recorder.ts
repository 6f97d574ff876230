// Writes a run's log lines and measurements down while it goes on: in batches, and never more than fits.
import type { RunStep } from '@edgeloop/shared/api/training';
import type { Database } from '../../database/open.ts';
import type { LogLine, RunStore } from './run-store.ts';

export interface RecorderDeps {
  database: Database;
  store: RunStore;
  now: () => number;
  /** Told after every batch. */
  onWritten: () => void;
}

export interface RecorderLimits {
  lines: number;
  steps: number;
}

/** Beyond the first the log says so and ends, beyond the second measurements are left out. */
const defaultLimits: RecorderLimits = { lines: 5000, steps: 50_000 };
const maxTextLength = 2000;
const flushMs = 250;

export type RunRecorder = Awaited<ReturnType<typeof createRunRecorder>>;

/** Goes on behind what an earlier recorder of the run has written. */
export async function createRunRecorder(deps: RecorderDeps, runId: string, limits: RecorderLimits = defaultLimits) {
  const { database, store, now } = deps;
  const end = await store.logEnd(database.read, runId);
  let { line, lines } = end;
  let steps = await store.countSteps(database.read, runId);
  let pendingLines: LogLine[] = [];
  let pendingSteps: RunStep[] = [];
  let writing: Promise<void> = Promise.resolve();
  let failure: unknown;
  let timer: NodeJS.Timeout | undefined;

  async function write(): Promise<void> {
    const [newLines, newSteps] = [pendingLines, pendingSteps];
    [pendingLines, pendingSteps] = [[], []];
    if (newLines.length + newSteps.length === 0) return;
    await database.transact(async (tx) => {
      await store.insertLines(tx, runId, newLines);
      await store.insertSteps(tx, runId, newSteps);
    });
    deps.onWritten();
  }

  function flush(): Promise<void> {
    clearTimeout(timer);
    timer = undefined;
    writing = writing.then(write);
    return writing;
  }

  function soon(): void {
    timer ??= setTimeout(() => {
      flush().catch((error: unknown) => {
        failure ??= error;
      });
    }, flushMs);
  }

  function add(text: string): void {
    line += 1;
    lines += 1;
    pendingLines.push({ line, at: now(), text });
    soon();
  }

  return {
    line(text: string): void {
      if (lines < limits.lines) add(text.replaceAll('\0', '').slice(0, maxTextLength));
      else if (lines === limits.lines) add(`the log ends here: a run keeps ${limits.lines} lines`);
    },

    step(step: RunStep): void {
      if (steps >= limits.steps) return;
      steps += 1;
      pendingSteps.push(step);
      soon();
    },

    /** Resolves when everything so far is written. */
    flush,

    /** Forgets the measurements of an attempt that is made again. */
    async forgetSteps(): Promise<void> {
      await flush();
      steps = 0;
      await database.transact((tx) => store.deleteSteps(tx, runId));
    },

    /** Resolves when everything is written. @throws when something could not be */
    async close(): Promise<void> {
      await flush();
      if (failure !== undefined) throw failure;
    },
  };
}
