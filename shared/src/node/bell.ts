// Rest between two looks that can be ended sooner: by whoever has news, and by the end. A loop rests for as long as its
// program runs, so a rest must leave nothing behind on the signal; `AbortSignal.any` does, a few dozen bytes each time.

export type Bell = ReturnType<typeof createBell>;

/** A bell for one loop, which answers it before each look: who rings during a look gets another one. */
export function createBell() {
  let rung = false;
  let wake: (() => void) | undefined;
  return {
    /** Ends the rest, or the next one when none is going on. Cheap to call often. */
    ring(): void {
      rung = true;
      wake?.();
    },

    /** Whether it was rung since it was answered last. */
    answer(): boolean {
      const answered = rung;
      rung = false;
      return answered;
    },

    /** Resolves after `ms`, when rung and when aborted; at once when either has happened already. */
    rest(ms: number, signal: AbortSignal): Promise<void> {
      return new Promise((resolve) => {
        if (rung || signal.aborted) return resolve();
        const end = () => {
          clearTimeout(timer);
          signal.removeEventListener('abort', end);
          wake = undefined;
          resolve();
        };
        const timer = setTimeout(end, ms);
        signal.addEventListener('abort', end);
        wake = end;
      });
    },
  };
}
