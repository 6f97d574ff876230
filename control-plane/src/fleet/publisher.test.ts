import { expect, it } from 'vitest';
import { createPublisher } from './publisher.ts';

it('never publishes an older state after a newer one, however often it is asked', async () => {
  let state = 0;
  const published: number[] = [];
  const publisher = createPublisher(async () => {
    const read = state;
    await new Promise((resolve) => setImmediate(resolve));
    published.push(read);
  });
  const rounds: Promise<void>[] = [];
  for (let i = 0; i < 20; i++) {
    state++;
    rounds.push(publisher.publish(['a']));
    if (i % 3 === 0) await new Promise((resolve) => setImmediate(resolve));
  }
  await Promise.all(rounds);
  expect(published).toEqual(published.toSorted((a, b) => a - b));
  expect(published.at(-1)).toBe(20);
  expect(published.length).toBeLessThan(20);
});

it('throws a failure to those who asked for that round, and goes on', async () => {
  let fail = true;
  const published: string[][] = [];
  const publisher = createPublisher(async (ids) => {
    if (fail) throw new Error('broker asleep');
    published.push(ids);
  });
  await expect(publisher.publish(['a'])).rejects.toThrow('broker asleep');
  fail = false;
  await publisher.publish(['b']);
  expect(published).toEqual([['b']]);
});
