// The ring between the thread that answers HTTP and one worker thread: rows of requests in shared memory, handed over
// with Atomics and without a message each. Layout and protocol only; `hosts/worker-thread.ts` and `worker/thread-main.ts` drive it.
//
// A slot goes free -> ready -> taken -> done | failed | elsewhere, or ready -> cancelled (by the producer), or
// ready -> expired (by the consumer). Both sides leave `ready` by compare-and-exchange, so exactly one of them wins.

/** What becomes of a slot. `elsewhere`: it ran, and its outputs come by message because they did not fit. */
export const slotStates = {
  free: 0,
  ready: 1,
  taken: 2,
  done: 3,
  failed: 4,
  elsewhere: 5,
  expired: 6,
  cancelled: 7,
} as const;
type SlotState = (typeof slotStates)[keyof typeof slotStates];

/** As `inputBytes`: the inputs come by message. */
export const byMessage = -1;

/** Shared by both sides; travels to the worker as it is. */
export interface SharedRing {
  control: SharedArrayBuffer;
  /** Bytes of inputs and outputs. */
  arena: SharedArrayBuffer;
}

/** What the producer says about a request. Offsets and sizes are bytes of the arena. */
interface SlotRequest {
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

const head = { bell: 0, tail: 1, cursor: 2, notified: 3, runs: 4, running: 5, sleeping: 6 } as const;
const headWords = 16;
const slotWords = 32;
const word = {
  state: 0,
  model: 1,
  rows: 2,
  maxRows: 3,
  inputAt: 4,
  inputBytes: 5,
  outputAt: 6,
  outputBytes: 7,
} as const;
const runRowsWord = 8;
/** In 8-byte words from the start of the slot. */
const clock = { deadlineMs: 8, startedAtMs: 9, inputMs: 10, runMs: 11, outputMs: 12 } as const;

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

interface Words {
  ints: Int32Array;
  doubles: Float64Array;
  slots: number;
}

function wordsOf({ control }: SharedRing): Words {
  const ints = new Int32Array(control);
  return { ints, doubles: new Float64Array(control), slots: (ints.length - headWords) / slotWords };
}

function slotAt({ slots }: Words, sequence: number): number {
  return headWords + (sequence & (slots - 1)) * slotWords;
}

export interface RingProducer {
  /** Slots that can be published now. */
  free(): number;
  /** The sequence number that `publish` will give. */
  next(): number;
  /** The request's sequence number. Only when `free() > 0`. The worker sees it at the latest after `wake`. */
  publish(request: SlotRequest): number;
  /** Wakes the worker when it sleeps. */
  wake(): void;
  /** True when the request will not run; false when it already runs or has run. */
  cancel(sequence: number): boolean;
  /** One of `slotStates`. */
  state(sequence: number): number;
  outcome(sequence: number): SlotOutcome;
  /** Gives back the oldest slot if it has ended, in the order of publishing. Its sequence, or undefined. */
  reclaim(): number | undefined;
  /** The worker rings once until this is called. */
  clearNotified(): void;
  /** Changes whenever a run starts or ends; odd while one runs. */
  runs(): number;
  /** The model of the present or last run. */
  running(): number;
}

/** The side of the HTTP thread. */
export function createProducer(shared: SharedRing): RingProducer {
  const words = wordsOf(shared);
  const { ints, doubles, slots } = words;
  let tail = Atomics.load(ints, head.tail);
  let oldest = tail;
  const state = (sequence: number): number => Atomics.load(ints, slotAt(words, sequence));

  return {
    free: () => slots - ((tail - oldest) | 0),
    next: () => tail,
    publish(request) {
      const sequence = tail;
      const at = slotAt(words, sequence);
      ints[at + word.model] = request.model;
      ints[at + word.rows] = request.rows;
      ints[at + word.maxRows] = request.maxRows;
      ints[at + word.inputAt] = request.inputAt;
      ints[at + word.inputBytes] = request.inputBytes;
      ints[at + word.outputAt] = request.outputAt;
      ints[at + word.outputBytes] = request.outputBytes;
      doubles[at / 2 + clock.deadlineMs] = request.deadlineMs;
      Atomics.store(ints, at + word.state, slotStates.ready);
      tail = (tail + 1) | 0;
      // Publishes all that was written above: the worker reads no slot beyond the tail.
      Atomics.store(ints, head.tail, tail);
      return sequence;
    },
    wake() {
      Atomics.add(ints, head.bell, 1);
      if (Atomics.load(ints, head.sleeping) === 1) Atomics.notify(ints, head.bell);
    },
    cancel(sequence) {
      const at = slotAt(words, sequence);
      return Atomics.compareExchange(ints, at, slotStates.ready, slotStates.cancelled) === slotStates.ready;
    },
    state,
    outcome(sequence) {
      const at = slotAt(words, sequence);
      const read = (place: number): number => doubles[at / 2 + place] ?? 0;
      return {
        startedAtMs: read(clock.startedAtMs),
        inputMs: read(clock.inputMs),
        runMs: read(clock.runMs),
        outputMs: read(clock.outputMs),
        runRows: ints[at + runRowsWord] ?? 0,
      };
    },
    reclaim() {
      if (oldest === tail) return undefined;
      const ended = state(oldest);
      if (ended === slotStates.ready || ended === slotStates.taken) return undefined;
      // A cancelled slot may not be written again before the worker has gone past it.
      if (((Atomics.load(ints, head.cursor) - oldest) | 0) <= 0) return undefined;
      const sequence = oldest;
      oldest = (oldest + 1) | 0;
      return sequence;
    },
    clearNotified: () => void Atomics.store(ints, head.notified, 0),
    runs: () => Atomics.load(ints, head.runs),
    running: () => Atomics.load(ints, head.running),
  };
}

/** A request as the worker took it. */
export interface TakenSlot extends SlotRequest {
  sequence: number;
}

export interface RingConsumer {
  /**
   * The next requests that make one run, in order: the oldest that is neither cancelled nor expired, and those after
   * it as far as they are of the same model, `joins` says so and `maxRows` allows. Empty when nothing waits.
   */
  take(nowMs: () => number, joins: (first: TakenSlot, next: TakenSlot) => boolean): TakenSlot[];
  finish(sequence: number, state: SlotState, outcome: SlotOutcome): void;
  /** True when the producer must be told that something ended. */
  mustNotify(): boolean;
  /** Sleeps until the producer wakes it, at most so long. Returns at once when that happened since `bell`. */
  sleep(bell: number, timeoutMs: number): void;
  /** Read before looking for work, so that no wake-up is missed. */
  bell(): number;
  /** Whether the slot has been taken or left out. */
  passed(sequence: number): boolean;
  begin(model: number): void;
  end(): void;
}

/** The side of the worker thread. */
export function createConsumer(shared: SharedRing): RingConsumer {
  const words = wordsOf(shared);
  const { ints, doubles } = words;
  let cursor = Atomics.load(ints, head.cursor);
  let ended = false;

  const read = (sequence: number): TakenSlot => {
    const at = slotAt(words, sequence);
    const int = (place: number): number => ints[at + place] ?? 0;
    return {
      sequence,
      model: int(word.model),
      rows: int(word.rows),
      maxRows: int(word.maxRows),
      inputAt: int(word.inputAt),
      inputBytes: int(word.inputBytes),
      outputAt: int(word.outputAt),
      outputBytes: int(word.outputBytes),
      deadlineMs: doubles[at / 2 + clock.deadlineMs] ?? 0,
    };
  };

  /** Past this slot; false when it was cancelled or has expired. */
  const claim = (slot: TakenSlot, nowMs: () => number): boolean => {
    const at = slotAt(words, slot.sequence);
    const expired = slot.deadlineMs > 0 && nowMs() >= slot.deadlineMs;
    const next = expired ? slotStates.expired : slotStates.taken;
    const won = Atomics.compareExchange(ints, at, slotStates.ready, next) === slotStates.ready;
    cursor = (cursor + 1) | 0;
    Atomics.store(ints, head.cursor, cursor);
    if (!won || expired) ended = true;
    return won && !expired;
  };

  return {
    take(nowMs, joins) {
      const taken: TakenSlot[] = [];
      const tail = Atomics.load(ints, head.tail);
      let rows = 0;
      while (cursor !== tail) {
        const slot = read(cursor);
        const [first] = taken;
        if (first) {
          const together = slot.model === first.model && first.rows > 0 && slot.rows > 0;
          if (!together || rows + slot.rows > Math.min(first.maxRows, slot.maxRows) || !joins(first, slot)) break;
        }
        if (!claim(slot, nowMs)) continue;
        taken.push(slot);
        rows += slot.rows;
      }
      return taken;
    },
    finish(sequence, state, outcome) {
      const at = slotAt(words, sequence);
      const write = (place: number, value: number): void => {
        doubles[at / 2 + place] = value;
      };
      write(clock.startedAtMs, outcome.startedAtMs);
      write(clock.inputMs, outcome.inputMs);
      write(clock.runMs, outcome.runMs);
      write(clock.outputMs, outcome.outputMs);
      ints[at + runRowsWord] = outcome.runRows;
      Atomics.store(ints, at + word.state, state);
      ended = true;
    },
    mustNotify() {
      if (!ended) return false;
      ended = false;
      return Atomics.exchange(ints, head.notified, 1) === 0;
    },
    passed: (sequence) => ((cursor - sequence) | 0) > 0,
    bell: () => Atomics.load(ints, head.bell),
    sleep(bell, timeoutMs) {
      Atomics.store(ints, head.sleeping, 1);
      Atomics.wait(ints, head.bell, bell, timeoutMs);
      Atomics.store(ints, head.sleeping, 0);
    },
    begin(model) {
      Atomics.store(ints, head.running, model);
      Atomics.add(ints, head.runs, 1);
    },
    end: () => void Atomics.add(ints, head.runs, 1),
  };
}
