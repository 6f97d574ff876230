import { expect, it } from 'vitest';
import { createBreath } from './breath.ts';

/** Turns of the event loop while `steps` steps of `stepMs` are done. */
async function turnsDuring(steps: number, stepMs: number): Promise<number> {
  let clock = 0;
  let turns = 0;
  let working = true;
  const count = () => {
    turns += 1;
    if (working) setImmediate(count);
  };
  setImmediate(count);
  const breathe = createBreath(() => clock);
  for (let i = 0; i < steps; i++) {
    clock += stepMs;
    await breathe();
  }
  working = false;
  return turns;
}

it('gives others their turn after each slice, and not before', async () => {
  expect(await turnsDuring(7, 1)).toBe(0);
  // Eight steps fill a slice.
  expect(await turnsDuring(80, 1)).toBe(10);
  expect(await turnsDuring(10, 50)).toBe(10);
});
