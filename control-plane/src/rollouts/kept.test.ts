// Devices that an operator lets keep what they run, after a restored backup.
import { Desired } from '@edgeloop/shared/messages';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { openRollouts, type World } from './rollouts-fixture.ts';

const all = { selector: 'site=x', waves: [{ percent: 100 }], bakeSeconds: 0 };
let world: World;
beforeEach(async () => {
  world = await openRollouts(3);
  for (const id of ['a', 'b']) await world.enrol(id, { site: 'x' });
});
afterEach(() => world.close());

/** It was told `generation` by a server that knew more, and runs nothing. */
async function getAhead(id: string, generation: number): Promise<void> {
  world.desired.set(id, Desired.parse({ generation, models: [] }));
  await world.report(id, null);
}

it('runs nothing on, though something had completed, until a newer rollout takes it', async () => {
  await getAhead('a', 9);
  await world.release(1, all);
  await world.rounds(4);
  expect(world.running()).toEqual({ a: null, b: 1 });
  await world.fleet.resolve('key:test', { id: 'a' }, 'keep');
  await world.rounds(4);
  expect(world.running()).toEqual({ a: null, b: 1 });
  world.restart();
  await world.fleet.relabel('key:test', 'a', { site: 'x', shelf: '2' });
  await world.rounds(4);
  expect(world.running()).toEqual({ a: null, b: 1 });
  await world.release(2, all);
  await world.rounds(4);
  expect(world.running()).toEqual({ a: 2, b: 2 });
});

it('is not taken by a rollout that was under way', async () => {
  await getAhead('a', 9);
  const { id } = await world.release(1, { ...all, bakeSeconds: 600 });
  await world.rounds(2);
  await world.fleet.resolve('key:test', { id: 'a' }, 'keep');
  await world.round(700);
  await world.rounds(2);
  expect(await world.phase(id)).toBe('completed');
  expect(world.running()).toEqual({ a: null, b: 1 });
});

it('follows what completed when an operator says so after all', async () => {
  await getAhead('a', 9);
  await world.release(1, all);
  await world.fleet.resolve('key:test', { id: 'a' }, 'keep');
  await world.rounds(4);
  await getAhead('a', 99);
  await world.fleet.resolve('key:test', { id: 'a' }, 'follow');
  await world.rounds(4);
  expect(world.running()).toEqual({ a: 1, b: 1 });
});
