// Work that must not overlap takes turns, in the order in which it was asked for. A failure is its own caller's: the next
// turn comes all the same.

export interface Turn {
  /** Runs `work` when everything asked for before has ended. Settles as it does; what `work` throws is a rejection. */
  run<T>(work: () => T | Promise<T>): Promise<T>;
  /** Resolves when nothing runs or waits, also of what is asked for meanwhile. */
  idle(): Promise<void>;
}

/**
 * Turns of one thing. Work that asks for another turn of the same thing and waits for it waits for itself, for ever.
 */
export function createTurn(): Turn {
  let last: Promise<unknown> = Promise.resolve();
  return {
    run(work) {
      const result = last.then(work);
      last = result.catch(() => undefined);
      return result;
    },
    async idle() {
      for (let seen: unknown; seen !== last; ) {
        seen = last;
        await last;
      }
    },
  };
}

export interface KeyedTurn {
  /** As `Turn.run`, among the work of the same key. */
  run<T>(key: string, work: () => T | Promise<T>): Promise<T>;
  /** Resolves when nothing runs or waits under any key. */
  idle(): Promise<void>;
}

/** Turns of each key for itself; keys nobody waits for are forgotten. */
export function createKeyedTurn(): KeyedTurn {
  const turns = new Map<string, { turn: Turn; asked: number }>();
  return {
    async run(key, work) {
      const mine = turns.get(key) ?? { turn: createTurn(), asked: 0 };
      turns.set(key, mine);
      mine.asked++;
      try {
        return await mine.turn.run(work);
      } finally {
        mine.asked--;
        if (mine.asked === 0) turns.delete(key);
      }
    },
    async idle() {
      while (turns.size > 0) await Promise.all([...turns.values()].map(({ turn }) => turn.idle()));
    },
  };
}
