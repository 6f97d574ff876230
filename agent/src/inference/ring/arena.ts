// Gives out pieces of a ring's arena in the order in which they come back: a first-in-first-out allocator of offsets.
// Starts over at 0 whenever it is empty, so that light use touches little memory.

export interface Arena {
  /** Offset of so many bytes, a multiple of 8, or undefined when they don't fit now. */
  allocate(bytes: number): number | undefined;
  /** Gives back the oldest piece. */
  release(): void;
}

/** Rounded up to a multiple of 8, where any element type may begin. */
export function aligned(bytes: number): number {
  return Math.ceil(bytes / 8) * 8;
}

/** An empty arena of so many bytes. */
export function createArena(sizeBytes: number): Arena {
  const pieces: { from: number; to: number }[] = [];

  const place = (size: number, from: number, limit: number): number | undefined => {
    if (from + size > limit) return undefined;
    pieces.push({ from, to: from + size });
    return from;
  };

  return {
    allocate(bytes) {
      const size = Math.max(aligned(bytes), 8);
      const oldest = pieces[0];
      const newest = pieces.at(-1);
      if (!oldest || !newest) return place(size, 0, sizeBytes);
      const wrapped = newest.from < oldest.from;
      if (wrapped) return place(size, newest.to, oldest.from);
      return place(size, newest.to, sizeBytes) ?? place(size, 0, oldest.from);
    },
    release: () => void pieces.shift(),
  };
}
