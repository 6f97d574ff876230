// Which packages the model may learn from and which ones judge it. Whole families go to one side, because packages of
// one maker share style, licence text and build tools: a model judged on its own family would look better than it is.
import { createHash } from 'node:crypto';
import { compare } from './files.ts';

type Side = 'learn' | 'judge';

/** A number in [0, 1) that only depends on the seed and the key. */
export function hashFraction(seed: number, key: string): number {
  return createHash('sha256').update(`${seed}\n${key}`).digest().readUIntBE(0, 6) / 2 ** 48;
}

/**
 * Deals families to the two sides so that each group (such as a kind of files) is shared out close to `learnShare`.
 * `members`: one entry per file. Large families are dealt first, in an order that varies with the seed.
 */
export function splitFamilies(
  members: readonly { family: string; group: string }[],
  { seed, learnShare }: { seed: number; learnShare: number },
): Map<string, Side> {
  const totals = new Map<string, number>();
  const families = new Map<string, Map<string, number>>();
  for (const { family, group } of members) {
    totals.set(group, (totals.get(group) ?? 0) + 1);
    const groups = families.get(family) ?? new Map<string, number>();
    families.set(family, groups.set(group, (groups.get(group) ?? 0) + 1));
  }
  const shareOf = (group: string, count: number): number => count / (totals.get(group) ?? 1);
  const order = [...families].map(([family, groups]) => {
    const largest = Math.max(...[...groups].map(([group, count]) => shareOf(group, count)));
    return { family, groups, weight: largest * (0.5 + hashFraction(seed, family)) };
  });
  order.sort((a, b) => b.weight - a.weight || compare(a.family, b.family));

  const filled = { learn: new Map<string, number>(), judge: new Map<string, number>() };
  const sides = new Map<string, Side>();
  for (const { family, groups } of order) {
    const crowding = (side: Side): number =>
      [...groups].reduce((sum, [group, count]) => {
        const share = shareOf(group, count);
        return sum + (share * (filled[side].get(group) ?? 0)) / (side === 'learn' ? learnShare : 1 - learnShare);
      }, 0);
    const side = crowding('learn') <= crowding('judge') ? 'learn' : 'judge';
    sides.set(family, side);
    for (const [group, count] of groups) {
      filled[side].set(group, (filled[side].get(group) ?? 0) + shareOf(group, count));
    }
  }
  return sides;
}
