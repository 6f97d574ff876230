// A worker as the scheduler sees it.
import type { Worker } from './worker.ts';

export interface Lane {
  thread: Worker;
  /** Estimated time of what is on its way there. */
  plannedMs: number;
  /** Bytes of inputs of what is on its way there. */
  plannedBytes: number;
  /** It is loading a model; it is handed nothing before it has. */
  opening: boolean;
  /** A run, as `thread.runs()` tells it, that takes long, perhaps for ever; it is handed nothing before that ends. */
  lateRun: number | undefined;
  /** Its ring is full until something ends. */
  full: boolean;
}

/** So much work is handed over ahead: enough to keep a thread busy until it is handed more, not more than has to be. */
const aheadMs = 2;

/** Told by the run itself: a word of its end might come before anybody found that it takes long. */
export function isLate({ lateRun, thread }: Lane): boolean {
  return lateRun !== undefined && thread.runs() === lateRun;
}

function hasRoom({ thread, plannedMs, full }: Lane): boolean {
  return !full && (plannedMs < aheadMs || thread.depth() === 0);
}

/**
 * Work shorter than this waits for the thread that is awake anyway: to wake another one takes longer, and costs the HTTP
 * thread its processor.
 */
const notWorthWakingMs = 0.15;

/**
 * The first that has next to nothing to do, else the one with the least to do, among those that have room. What waits here
 * goes wherever there is room first; what waits in a thread that is held up waits for that one.
 */
export function leastBusy(lanes: readonly Lane[]): Lane | undefined {
  let best: Lane | undefined;
  for (const lane of lanes) {
    if (lane.opening || isLate(lane) || !hasRoom(lane)) continue;
    if (lane.plannedMs < notWorthWakingMs) return lane;
    if (!best || lane.plannedMs < best.plannedMs) best = lane;
  }
  return best;
}

/** Whether one more thread would have been of use just now: all have enough to do, and more than one request each. */
export function isCrowded(lanes: readonly Lane[], waiting: number): boolean {
  let requests = waiting;
  for (const lane of lanes) {
    if (!isLate(lane) && lane.plannedMs < notWorthWakingMs) return false;
    requests += lane.thread.depth();
  }
  return lanes.length > 0 && requests > lanes.length;
}
