// The ring between the thread that answers HTTP and one worker thread: rows of requests in shared memory, handed over
// with Atomics and without a message each. The layout and its states; `producer.ts` is the side of the HTTP thread,
// `consumer.ts` that of the worker thread.
//
// A slot goes free -> ready -> taken -> done | failed | elsewhere | lost, or ready -> cancelled (by the producer), or
// ready -> expired (by the consumer). Both sides leave `ready` by compare-and-exchange, so exactly one of them wins.

/**
 * What becomes of a slot. `elsewhere`: it ran, and its outputs come by message because they did not fit. `lost`: it did not
 * run, since the thread does not hold its model.
 */
export const slotStates = {
  free: 0,
  ready: 1,
  taken: 2,
  done: 3,
  failed: 4,
  elsewhere: 5,
  expired: 6,
  cancelled: 7,
  lost: 8,
} as const;
export type SlotState = (typeof slotStates)[keyof typeof slotStates];

/** As `inputBytes`: the inputs come by message. */
export const byMessage = -1;

/** Shared by both sides; travels to the worker as it is. */
export interface SharedRing {
  control: SharedArrayBuffer;
  /** Bytes of inputs and outputs. */
  arena: SharedArrayBuffer;
}

/** What the producer says about a request. Offsets and sizes are bytes of the arena. */
export interface SlotRequest {
  model: number;
  /** Rows along the first dimension; 0 when the request must run alone. */
  rows: number;
  /** Most rows of the run that this request may be part of. */
  maxRows: number;
  inputAt: number;
  /** Or `byMessage`. */
  inputBytes: number;
  outputAt: number;
  /** What the outputs may take; else they come by message. */
  outputBytes: number;
  /** Milliseconds of the clock that both threads share; 0 for none. */
  deadlineMs: number;
}

/** What the consumer says about a run. Milliseconds. */
export interface SlotOutcome {
  startedAtMs: number;
  inputMs: number;
  runMs: number;
  outputMs: number;
  /** Rows of the whole run, in its first request; 0 in the others, so that each run counts once. */
  runRows: number;
}

/** Places of 32-bit words at the start of the control block. */
export const head = { bell: 0, tail: 1, cursor: 2, notified: 3, runs: 4, running: 5, sleeping: 6 } as const;
const headWords = 16;
const slotWords = 32;
/** Places of 32-bit words in a slot. */
export const word = {
  state: 0,
  model: 1,
  rows: 2,
  maxRows: 3,
  inputAt: 4,
  inputBytes: 5,
  outputAt: 6,
  outputBytes: 7,
} as const;
export const runRowsWord = 8;
/** In 8-byte words from the start of the slot. */
export const clock = { deadlineMs: 8, startedAtMs: 9, inputMs: 10, runMs: 11, outputMs: 12 } as const;

/**
 * A block of over 32 MiB is mapped by itself and goes back to the system as a whole. Smaller ones glibc moves into its heap
 * after the first, where each ring that is gone would leave some of itself behind. What nobody writes to takes no memory.
 */
const mappedBytes = 40 * 1024 * 1024;

/** `slots` must be a power of two. */
export function allocateRing(slots: number, arenaBytes: number): SharedRing {
  return {
    control: new SharedArrayBuffer((headWords + slots * slotWords) * 4),
    arena: new SharedArrayBuffer(Math.max(arenaBytes, mappedBytes)),
  };
}

/** Views of the control block, made once by each side. */
export interface Words {
  ints: Int32Array;
  doubles: Float64Array;
  slots: number;
}

export function wordsOf({ control }: SharedRing): Words {
  const ints = new Int32Array(control);
  return { ints, doubles: new Float64Array(control), slots: (ints.length - headWords) / slotWords };
}

/** The first word of the slot that the sequence number has. */
export function slotAt({ slots }: Words, sequence: number): number {
  return headWords + (sequence & (slots - 1)) * slotWords;
}
