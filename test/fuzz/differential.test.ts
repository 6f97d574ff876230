// A little of what `pnpm fuzz` does for hours.
import { expect, it } from 'vitest';
import { compareWays, type Difference } from './differential.ts';

/** As many on any machine: each seed shows the same. */
const conversations = 400;

it('both ways of reading requests answer the same bytes with the same', async () => {
  const differences: Difference[] = [];
  let begun = 0;
  const compared = await compareWays({
    seed: 1,
    goesOn: () => begun++ < conversations,
    onDifference: (difference) => differences.push(difference),
  });
  expect(differences.map(({ seed, plain, node }) => ({ seed, plain, node }))).toEqual([]);
  expect(compared).toBe(conversations);
}, 240_000);
