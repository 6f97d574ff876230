// Random choices that a seed repeats.
export interface Random {
  /** From 0 to below `most`. */
  below(most: number): number;
  pick<T>(from: readonly [T, ...T[]]): T;
  /** True in so many of a hundred. */
  in100(times: number): boolean;
}

/** Mulberry32. */
export function createRandom(seed: number): Random {
  let state = seed >>> 0;
  const next = (): number => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
  const below = (most: number): number => Math.floor(next() * most);
  return {
    below,
    pick: (from) => from[below(from.length)] ?? from[0],
    in100: (times) => next() * 100 < times,
  };
}
