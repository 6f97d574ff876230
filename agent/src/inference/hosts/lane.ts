// A worker as the scheduler sees it.
import type { Worker } from './worker.ts';

export interface Lane {
  thread: Worker;
  /** Estimated time of what is on its way there. */
  plannedMs: number;
  /** It is loading a model and answers late; others are asked first. */
  opening: boolean;
  /** Its present run takes long, perhaps for ever; others are asked first. */
  late: boolean;
  /** Its ring is full until something ends. */
  full: boolean;
}

/** So much work is handed over ahead: enough to keep a thread busy until it is handed more, not more than has to be. */
const aheadMs = 2;

function hasRoom({ thread, plannedMs, full }: Lane): boolean {
  return !full && (plannedMs < aheadMs || thread.depth() === 0);
}

/**
 * Work shorter than this waits for the thread that is awake anyway: to wake another one takes longer, and costs the HTTP
 * thread its processor.
 */
const notWorthWakingMs = 0.15;

/** The first that has next to nothing to do, else the one with the least to do, among those that have room. */
export function leastBusy(lanes: readonly Lane[]): Lane | undefined {
  let best: Lane | undefined;
  let prompt = false;
  for (const lane of lanes) {
    if (lane.opening || lane.late) continue;
    prompt = true;
    if (!hasRoom(lane)) continue;
    if (lane.plannedMs < notWorthWakingMs) return lane;
    if (!best || lane.plannedMs < best.plannedMs) best = lane;
  }
  // Better wait for a thread that will be free soon than for one that may not be.
  return prompt ? best : lanes.find(hasRoom);
}
