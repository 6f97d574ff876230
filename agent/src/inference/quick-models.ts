// The models that run in the thread that answers HTTP when that is quicker: takes in those that have proved themselves, and
// keeps the note of what runs here. That note costs no request anything: it is written when another model runs than the
// last time, and taken back once nothing has run for a second. So it may name one that has just ended, which is accused
// wrongly when another ends the process; after that, its runs are noted one by one, elsewhere.
import { statSync } from 'node:fs';
import { AppError } from '@edgeloop/shared/errors';
import type { ModelFiles } from '../process/ipc.ts';
import { httpThreadSlot, openRunningNoteSlot } from '../process/running-note.ts';
import type { Lane } from './hosts/lane.ts';
import { isQuickToLoad } from './hosts/placement.ts';
import type { ThisThread } from './hosts/this-thread.ts';
import type { WorkerEvents } from './hosts/worker.ts';
import { createStanding, type QuickModel } from './queueing/standing.ts';
import type { ModelToOpen, OpenedModel } from './worker/messages.ts';

export interface QuickModels {
  /** How the model stands, to be asked and told by its batcher; undefined when it will never run here. */
  standingOf(files: ModelFiles, model: StampedModel, opened: OpenedModel): QuickModel | undefined;
  /** Takes in one that has proved itself, if there is one. To be called several times a second. */
  look(): void;
  /** Nothing of it waits or runs. */
  leave(id: number): Promise<void>;
  close(): Promise<void>;
}

interface Here {
  thread: ThisThread;
  lane: Lane;
  rest(): void;
}

/** `stamp`: of its file before it was opened. */
type StampedModel = ModelToOpen & { stamp: string | undefined };

interface Candidate extends QuickModel {
  model: ModelToOpen;
  stamp: string;
}

export interface QuickModelsOptions extends Pick<WorkerEvents, 'onEnded' | 'onUnbatchable'> {
  runningNotePath: string | undefined;
  nowMs(): number;
  /** It proved itself and cannot be loaded here; it goes on elsewhere. */
  onRefused(model: { name: string; version: number }, error: unknown): void;
}

/** Larger files hold no model that is quick, or one that takes much memory once more. */
const fileAtMostBytes = 4 * 1024 * 1024;
const restAfterMs = 1000;

/** None yet. */
export function createQuickModels(options: QuickModelsOptions): QuickModels {
  const { runningNotePath, nowMs, onRefused } = options;
  const candidates = new Map<number, Candidate>();
  let here: Here | undefined;
  let beginning: Promise<Here> | undefined;
  let isTaking = false;
  let seen = { runs: 0, atMs: 0 };

  const begin = async (): Promise<Here> => {
    // ONNX Runtime is loaded into this thread only when a model is to run here.
    const { runsAtOnce } = await import('./worker/ort-session.ts');
    if (!runsAtOnce) throw new AppError('unsupported', 'this version of ONNX Runtime is not known to run at once');
    const { ThisThread } = await import('./hosts/this-thread.ts');
    const note = runningNotePath === undefined ? undefined : openRunningNoteSlot(runningNotePath, httpThreadSlot);
    const thread = new ThisThread({ ...options, note });
    here = { thread, lane: laneOf(thread), rest: () => note?.rest() };
    return here;
  };

  const takeIn = async (candidate: Candidate): Promise<void> => {
    const { model, stamp } = candidate;
    isTaking = true;
    try {
      beginning ??= begin();
      const { thread, lane } = await beginning;
      await thread.open(model);
      if (stampOf(model.path) !== stamp)
        throw new AppError('conflict', `${model.path} was changed since it was loaded`);
      if (candidates.get(model.id) === candidate) candidate.lane = lane;
      else await thread.close(model.id);
    } catch (error) {
      candidates.delete(model.id);
      await here?.thread.close(model.id);
      onRefused(model, error);
    } finally {
      isTaking = false;
    }
  };

  return {
    standingOf(files, { stamp, ...model }, opened) {
      if (stamp === undefined || !opened.plain || !mayEver(files, model, opened)) return undefined;
      const candidate: Candidate = { standing: createStanding(nowMs), lane: undefined, model, stamp };
      candidates.set(model.id, candidate);
      return candidate;
    },
    look() {
      const runs = here?.thread.runs() ?? 0;
      if (runs !== seen.runs) seen = { runs, atMs: nowMs() };
      else if (nowMs() - seen.atMs >= restAfterMs) here?.rest();
      if (isTaking) return;
      for (const candidate of candidates.values()) {
        if (candidate.lane !== undefined || !candidate.standing.isProven()) continue;
        return void takeIn(candidate);
      }
    },
    async leave(id) {
      candidates.delete(id);
      await here?.thread.close(id);
    },
    async close() {
      candidates.clear();
      await here?.thread.end();
    },
  };
}

/** Whether it may run here once it has proved itself. */
function mayEver(
  { onTrial = false, suspected = false, manifest }: ModelFiles,
  { isolation, intraOpThreads }: ModelToOpen,
  opened: OpenedModel,
): boolean {
  if (onTrial || suspected || isolation === 'process' || manifest.pipeline !== undefined) return false;
  // Everybody waits while it is loaded here.
  return intraOpThreads === 1 && isQuickToLoad(opened) && opened.providers.used.every((name) => name === 'cpu');
}

/** Other bytes have another one; undefined for a file that is too large or gone. */
export function stampOf(path: string): string | undefined {
  const found = statSync(path, { throwIfNoEntry: false });
  if (found === undefined || found.size > fileAtMostBytes) return undefined;
  return [found.ino, found.size, found.mtimeMs].join();
}

function laneOf(thread: ThisThread): Lane {
  return { thread, plannedMs: 0, plannedBytes: 0, opening: false, lateRun: undefined, full: false };
}
