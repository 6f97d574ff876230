// The worker thread's side of a ring: takes what makes one run, and says what became of each request.
import {
  clock,
  head,
  runRowsWord,
  type SharedRing,
  type SlotOutcome,
  type SlotRequest,
  type SlotState,
  slotAt,
  slotStates,
  type Words,
  word,
  wordsOf,
} from './ring.ts';

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
  const { ints } = words;
  let cursor = Atomics.load(ints, head.cursor);
  let ended = false;

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
        const slot = readSlot(words, cursor);
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
      writeOutcome(words, at, outcome);
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

function readSlot(words: Words, sequence: number): TakenSlot {
  const { ints, doubles } = words;
  const at = slotAt(words, sequence);
  return {
    sequence,
    model: ints[at + word.model] ?? 0,
    rows: ints[at + word.rows] ?? 0,
    maxRows: ints[at + word.maxRows] ?? 0,
    inputAt: ints[at + word.inputAt] ?? 0,
    inputBytes: ints[at + word.inputBytes] ?? 0,
    outputAt: ints[at + word.outputAt] ?? 0,
    outputBytes: ints[at + word.outputBytes] ?? 0,
    deadlineMs: doubles[at / 2 + clock.deadlineMs] ?? 0,
  };
}

function writeOutcome({ ints, doubles }: Words, at: number, outcome: SlotOutcome): void {
  doubles[at / 2 + clock.startedAtMs] = outcome.startedAtMs;
  doubles[at / 2 + clock.inputMs] = outcome.inputMs;
  doubles[at / 2 + clock.runMs] = outcome.runMs;
  doubles[at / 2 + clock.outputMs] = outcome.outputMs;
  ints[at + runRowsWord] = outcome.runRows;
}
