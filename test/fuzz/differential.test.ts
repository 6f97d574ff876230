// A minute of what `pnpm fuzz` does for hours.
import { expect, it } from 'vitest';
import { compareWays, type Difference } from './differential.ts';

it('both ways of reading requests answer the same bytes with the same', async () => {
  const differences: Difference[] = [];
  const endMs = performance.now() + 60_000;
  const compared = await compareWays({
    seed: 1,
    goesOn: () => performance.now() < endMs,
    onDifference: (difference) => differences.push(difference),
  });
  expect(differences.map(({ seed, plain, node }) => ({ seed, plain, node }))).toEqual([]);
  expect(compared).toBeGreaterThan(50);
}, 240_000);
