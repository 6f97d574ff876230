// Small fleets with the real state machines of both sides, under a clock of their own. `pnpm simulate` has more seeds and larger ones.
import { expect, test } from 'vitest';
import { simulate } from './fleet.ts';

const seeds = 16;

test('whatever falls together: nothing unverified runs, every rollout ends, a failing version stops in its first wave, cancel and restore move nobody, a rollback restores the last good version', {
  timeout: 300_000,
}, async () => {
  const seen = new Map<string, number>();
  for (let seed = 1; seed <= seeds; seed++) {
    const lived = await simulate({ seed, devices: 8, minutes: 12 });
    expect(lived.violation, `pnpm simulate --seed ${seed} --seeds 1 --devices 8 --minutes 12`).toBeUndefined();
    for (const [kind, count] of lived.seen) seen.set(kind, (seen.get(kind) ?? 0) + count);
  }
  // What would show nothing if it did not happen.
  for (const kind of ['ahead', 'cancel', 'follow', 'keep', 'rejoin', 'retry', 'rollback', 'restore', 'server dies'])
    expect([...seen.keys()]).toContain(kind);
  for (const kind of ['verify', 'golden', 'load', 'crash', 'probation'])
    expect([...seen.keys()]).toContain(`fails: ${kind}`);
});

test('a seed gives the same history again', { timeout: 120_000 }, async () => {
  const [once, again] = [await simulate(settings), await simulate(settings)];
  expect(again.lines.map(timeless)).toEqual(once.lines.map(timeless));
});

const settings = { seed: 3, devices: 5, minutes: 6, verbose: true };

/** Ids of rollouts have bits of their own. */
function timeless(line: string): string {
  return line.replaceAll(/[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f-]+|[0-9a-f]{4}-7[0-9a-f]{3}/g, 'id');
}
