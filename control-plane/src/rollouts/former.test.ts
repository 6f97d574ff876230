// Rollouts that a former program has begun, before waves were stored.
import { eq, isNull } from 'drizzle-orm';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { openRollouts, type World } from './rollouts-fixture.ts';

let world: World;
beforeEach(async () => {
  world = await openRollouts();
});
afterEach(async () => {
  await world.close();
});

/** As a database is that was migrated in the midst of a rollout. */
async function becomeFormer(id: string): Promise<void> {
  const { devices, rollouts, rolloutDevices, rolloutWaves } = world.database.tables;
  await world.database.transact(async (tx) => {
    await tx.update(rollouts).set({ plannedAt: null }).where(eq(rollouts.id, id));
    await tx.delete(rolloutDevices).where(isNull(rolloutDevices.assignedAt));
    await tx.update(rolloutDevices).set({ rank: null });
    await tx.delete(rolloutWaves);
    await tx.update(devices).set({ publishedGeneration: null });
  });
  await world.fleet.start();
  world.restart();
}

it('go on from the wave where they were, with those that were told in it', async () => {
  for (let i = 0; i < 10; i++) await world.enrol(`d${i}`);
  await world.release(1, { waves: [{ percent: 100 }] });
  await world.rounds();
  const waves = [{ percent: 20 }, { percent: 50 }, { percent: 100 }];
  const { id } = await world.release(2, { waves, bakeSeconds: 6 });
  await world.round();
  const told = Object.entries(world.running()).flatMap(([device, version]) => (version === 2 ? [device] : []));
  expect(told).toHaveLength(2);
  await becomeFormer(id);
  for (let i = 0; i < 10; i++) await world.fleet.onPresence(`d${i}`, { status: 'online', session: 't' });
  await world.round();
  const { devices } = await world.rollouts.detail(id);
  expect(devices.filter(({ wave }) => wave === 0).map(({ deviceId }) => deviceId)).toEqual(told);
  expect([1, 2].map((wave) => devices.filter((each) => each.wave === wave).length)).toEqual([3, 5]);
  await world.rounds(20);
  expect(await world.phase(id)).toBe('completed');
  expect(new Set(Object.values(world.running()))).toEqual(new Set([2]));
});

it('are rolled back by a failure as before', async () => {
  for (let i = 0; i < 4; i++) await world.enrol(`d${i}`);
  await world.release(1, { waves: [{ percent: 100 }] });
  await world.rounds();
  const { id } = await world.release(2, { waves: [{ percent: 50 }, { percent: 100 }], bakeSeconds: 60 });
  await world.round();
  await becomeFormer(id);
  world.bad.add(2);
  for (let i = 0; i < 4; i++) await world.fleet.onPresence(`d${i}`, { status: 'online', session: 't' });
  await world.rounds();
  expect(await world.phase(id)).toBe('rolled_back');
  expect(world.running()).toEqual({ d0: 1, d1: 1, d2: 1, d3: 1 });
});
