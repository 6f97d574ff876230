// What a rollout costs: counted in devices looked at, reads and turns of the event loop, none of which may grow with the fleet.
import { afterEach, beforeEach, expect, it, vi } from 'vitest';
import { Progress } from './progress.ts';
import { openRollouts, type World } from './rollouts-fixture.ts';

const all = { waves: [{ percent: 100 }], bakeSeconds: 0, gates: { minRequests: 0 } };
let world: World;
beforeEach(async () => {
  world = await openRollouts();
});
afterEach(async () => {
  vi.restoreAllMocks();
  await world.close();
});

async function enrolMany(count: number): Promise<void> {
  const { devices } = world.database.tables;
  const row = (id: string) => ({
    ...{ id, labels: { site: `s${id.at(-1)}` }, enrolledAt: 0, certificateSerial: '1', status: 'online' },
    ...{ desiredGeneration: 0, publishedGeneration: 0 },
  });
  const ids = Array.from({ length: count }, (_, i) => `d${i}`);
  await world.database.transact(async (tx) => {
    for (let at = 0; at < count; at += 200) await tx.insert(devices).values(ids.slice(at, at + 200).map(row));
  });
  for (const id of ids) world.fleet.cameOrWent(id);
}

/** Turns of the event loop while `work` is done. */
async function turnsDuring(work: () => Promise<unknown>): Promise<number> {
  let turns = 0;
  let working = true;
  const count = () => {
    turns += 1;
    if (working) setImmediate(count);
  };
  setImmediate(count);
  await work();
  working = false;
  return turns;
}

it.each([20, 400])(
  'a look after a report of one of %i devices looks at one, and a report reads no device',
  async (n) => {
    await enrolMany(n);
    await world.release(1, { ...all, bakeSeconds: 1000 });
    await world.rounds(3);
    await world.rollouts.look();
    const [id = ''] = world.desired.keys();
    const reads = vi.spyOn(world.database.read, 'select');
    const looks = vi.spyOn(Progress.prototype, 'update');
    await world.obey([id]);
    expect(reads).not.toHaveBeenCalled();
    await world.rollouts.look();
    expect(looks.mock.calls.map(([view]) => view.id)).toEqual([id]);
  },
);

it('gives others their turn while thousands of devices are read, planned, told and shown', async () => {
  await enrolMany(3000);
  const { id } = await world.release(1, all);
  // Read and planned, told, and shown.
  expect(await turnsDuring(() => world.rollouts.look())).toBeGreaterThan(5);
  expect(world.desired.size).toBe(500);
  expect(await turnsDuring(() => world.fleet.publishAllDesired())).toBeGreaterThan(2);
  expect((await world.rollouts.detail(id)).devices).toHaveLength(3000);
});
