// Whether what waits of a model is run in the thread that answers HTTP. To hand a request to another thread and be woken by
// its answer takes longer than the run of a small model, but whatever runs here holds up everybody. So a model has to prove
// itself first, elsewhere: for a time, with many runs, and nearly all of them short. While several callers wait, another
// thread is quicker again: it runs what has come while this one reads and writes.

import type { Lane } from '../hosts/lane.ts';

/** A model that may come to run here. */
export interface QuickModel {
  standing: Standing;
  /** Of this thread, once the model is loaded here. */
  lane: Lane | undefined;
}

export interface Standing {
  /** A run on so many bytes of inputs has ended; `here`: in this thread. */
  learn(bytes: number, runMs: number, here: boolean): void;
  /** Whether so much is known of it that it may run here at all. */
  isProven(): boolean;
  runsHere(moment: Moment): boolean;
}

/** Of one model. */
export interface Moment {
  /** Requests that have come and run nowhere yet. */
  waiting: number;
  /** Bytes of their inputs. */
  bytes: number;
  /** Whether they can share one run. */
  joined: boolean;
  /** Requests that other threads were handed and have not answered. */
  elsewhere: number;
}

/** In a process that has just begun nothing is proven, so what has ended the last one is run elsewhere at first. */
const probation = { ms: 10_000, runs: 200 };
/** What it costs to go to another thread and back is about as much. */
const quickMs = 0.2;
/** Of the runs on no more bytes than a quick one had: a busy machine takes the processor away from some of them. */
const quickShare = 0.75;
const smoothing = 0.05;
/** Whoever held up everybody for so long begins again. */
const heldUpMs = 20;
/** Who share a run, and who are run one after the other. */
const fewCallers = { joined: 16, alone: 3 };
/** Larger inputs go through shared memory no slower. */
const bytesAtMost = 64 * 1024;

/** Of a model that was just loaded. */
export function createStanding(nowMs: () => number): Standing {
  let sinceMs = nowMs();
  let runs = 0;
  let share = 0;
  /** The most that a quick run had. */
  let quickBytes = 0;

  const isProven = (): boolean => runs >= probation.runs && share >= quickShare && nowMs() - sinceMs >= probation.ms;

  return {
    learn(bytes, runMs, here) {
      const quick = runMs <= quickMs;
      runs++;
      if (quick && bytes > quickBytes) quickBytes = bytes;
      if (bytes <= quickBytes) share += smoothing * (Number(quick) - share);
      if (!here || runMs < heldUpMs) return;
      sinceMs = nowMs();
      runs = 0;
    },
    isProven,
    runsHere({ waiting, bytes, joined, elsewhere }) {
      if (elsewhere > 0 || waiting > (joined ? fewCallers.joined : fewCallers.alone)) return false;
      return bytes <= Math.min(quickBytes, bytesAtMost) && isProven();
    },
  };
}
