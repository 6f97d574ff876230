// Long work on the event loop in short slices: in between, others get their turn.

/** Longest slice; one step of the work more is possible. */
const sliceMs = 8;

export type Breath = () => Promise<void>;

/**
 * To be awaited after each step of long work: resolves at once while a slice lasts, then after everything else that waits for
 * the event loop had its turn.
 */
export function createBreath(clock: () => number = () => performance.now()): Breath {
  let since = clock();
  return async () => {
    if (clock() - since < sliceMs) return;
    await new Promise((resolve) => setImmediate(resolve));
    since = clock();
  };
}

/** All items, made in slices. */
export async function inSlices<T>(items: Iterable<T>): Promise<T[]> {
  const made: T[] = [];
  const breathe = createBreath();
  for (const item of items) {
    made.push(item);
    await breathe();
  }
  return made;
}
