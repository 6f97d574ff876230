// Counts by category, of which there may be more than a window can carry: the most frequent by name, the others together.
import { z } from 'zod';

const Count = z.number().int().min(0);

/** Categories by name in a window. While there are not more of them, merging loses no name; a count is never lost. */
export const mostCategories = 64;
/** Longer names are cut. */
const longestName = 100;

/** `other`: of those without a name here. */
export const CategoryCounts = z.object({ counts: z.record(z.string(), Count), other: Count.default(0) });
export type CategoryCounts = z.infer<typeof CategoryCounts>;

/** In memory more names are kept than travel, so that the most frequent are known in the end. */
const mostHeld = 4096;

export class CategoryBuilder {
  readonly #counts = new Map<string, number>();
  #other = 0;

  add(name: string, count = 1): void {
    const short = name.slice(0, longestName);
    const known = this.#counts.get(short);
    // An object that is read from JSON has no place for the one name.
    if (short === '__proto__' || (known === undefined && this.#counts.size >= mostHeld)) this.#other += count;
    else this.#counts.set(short, (known ?? 0) + count);
  }

  merge({ counts, other }: CategoryCounts): void {
    for (const [name, count] of Object.entries(counts)) this.add(name, count);
    this.#other += other;
  }

  /** Of equally frequent ones the first by name. */
  toJSON(): CategoryCounts {
    const sorted = [...this.#counts].sort(([a, m], [b, n]) => n - m || (a < b ? -1 : 1));
    const rest = sorted.slice(mostCategories).reduce((sum, [, count]) => sum + count, 0);
    return { counts: Object.fromEntries(sorted.slice(0, mostCategories)), other: this.#other + rest };
  }
}
