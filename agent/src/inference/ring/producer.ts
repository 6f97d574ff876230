// The HTTP thread's side of a ring: publishes requests and takes back their slots in the same order.
import {
  clock,
  head,
  runRowsWord,
  type SharedRing,
  type SlotOutcome,
  type SlotRequest,
  slotAt,
  slotStates,
  type Words,
  word,
  wordsOf,
} from './ring.ts';

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
  const { ints, slots } = words;
  let tail = Atomics.load(ints, head.tail);
  let oldest = tail;
  const state = (sequence: number): number => Atomics.load(ints, slotAt(words, sequence));

  return {
    free: () => slots - ((tail - oldest) | 0),
    next: () => tail,
    publish(request) {
      const sequence = tail;
      const at = slotAt(words, sequence);
      writeRequest(words, at, request);
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
    outcome: (sequence) => readOutcome(words, slotAt(words, sequence)),
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

function writeRequest({ ints, doubles }: Words, at: number, request: SlotRequest): void {
  ints[at + word.model] = request.model;
  ints[at + word.rows] = request.rows;
  ints[at + word.maxRows] = request.maxRows;
  ints[at + word.inputAt] = request.inputAt;
  ints[at + word.inputBytes] = request.inputBytes;
  ints[at + word.outputAt] = request.outputAt;
  ints[at + word.outputBytes] = request.outputBytes;
  doubles[at / 2 + clock.deadlineMs] = request.deadlineMs;
}

function readOutcome({ ints, doubles }: Words, at: number): SlotOutcome {
  return {
    startedAtMs: doubles[at / 2 + clock.startedAtMs] ?? 0,
    inputMs: doubles[at / 2 + clock.inputMs] ?? 0,
    runMs: doubles[at / 2 + clock.runMs] ?? 0,
    outputMs: doubles[at / 2 + clock.outputMs] ?? 0,
    runRows: ints[at + runRowsWord] ?? 0,
  };
}
