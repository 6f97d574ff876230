import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { openRollouts, type World } from './rollouts-fixture.ts';

const all = { waves: [{ percent: 100 }] };
let world: World;
beforeEach(async () => {
  world = await openRollouts(5);
});
afterEach(async () => {
  await world.close();
});

async function enrolFour() {
  for (const id of ['a', 'b']) await world.enrol(id, { site: 'x' });
  for (const id of ['c', 'd']) await world.enrol(id, { site: 'y' });
}

describe('when releases fail in a row', () => {
  it('devices go back to the last version that completed, not to the one before', async () => {
    await enrolFour();
    await world.release(1, all);
    await world.rounds();
    // Served well, and not judged yet when the next one comes.
    const second = await world.release(2, { ...all, bakeSeconds: 1000 });
    await world.rounds(3);
    expect(world.running()).toEqual({ a: 2, b: 2, c: 2, d: 2 });
    world.bad.add(3);
    const third = await world.release(3, all);
    await world.rounds();
    expect((await world.rollouts.detail(second.id)).state).toMatchObject({ phase: 'superseded', by: third.id });
    expect(await world.history(second.id)).toEqual(
      expect.arrayContaining([
        `the newer rollout ${third.id} takes over a, d, c, b`,
        `superseded by the newer rollout ${third.id}`,
      ]),
    );
    expect(await world.phase(third.id)).toBe('rolled_back');
    expect(world.running()).toEqual({ a: 1, b: 1, c: 1, d: 1 });
    expect(await world.history(third.id)).toContain('back to version 1, which had completed: a, b, c, d');
  });

  it('devices on which nothing has completed run nothing, also after a cancelled one', async () => {
    await enrolFour();
    const first = await world.release(1, all);
    await world.round();
    await world.rollouts.act('key:test', first.id, 'cancel', '');
    await world.release(2, { ...all, bakeSeconds: 1000 });
    await world.rounds(3);
    world.bad.add(3);
    await world.release(3, all);
    await world.rounds();
    expect(world.running()).toEqual({ a: null, b: null, c: null, d: null });
  });

  it('a version that completed meanwhile for the others is what devices go back to', async () => {
    await enrolFour();
    await world.release(1, all);
    await world.rounds();
    const wide = await world.release(2, { waves: [{ percent: 50 }, { percent: 100 }] });
    await world.round();
    const narrow = await world.release(3, { ...all, selector: 'site=x', bakeSeconds: 1000 });
    await world.rounds();
    expect(await world.phase(wide.id)).toBe('completed');
    expect(world.running()).toEqual({ a: 3, b: 3, c: 2, d: 2 });
    await world.rollouts.act('key:test', narrow.id, 'rollback', '');
    await world.rounds(3);
    expect(await world.phase(narrow.id)).toBe('rolled_back');
    expect(world.running()).toEqual({ a: 2, b: 2, c: 2, d: 2 });
    await world.rollouts.act('key:test', wide.id, 'rollback', '');
    await world.rounds(3);
    expect(world.running()).toEqual({ a: 1, b: 1, c: 1, d: 1 });
  });
});

describe('a narrow rollout', () => {
  it('takes only the devices that it matches: the wide one goes on with the rest, and completes', async () => {
    await enrolFour();
    const wide = await world.release(2, { waves: [{ percent: 25 }, { percent: 100 }], bakeSeconds: 10 });
    await world.round();
    const narrow = await world.release(3, { ...all, selector: 'site=x' });
    await world.rounds(4);
    expect(world.running()).toMatchObject({ a: 3, b: 3 });
    expect(await world.phase(wide.id)).toBe('running');
    await world.rounds(20);
    expect([await world.phase(wide.id), await world.phase(narrow.id)]).toEqual(['completed', 'completed']);
    expect(world.running()).toEqual({ a: 3, b: 3, c: 2, d: 2 });
    await world.rounds(3);
    expect(world.running()).toEqual({ a: 3, b: 3, c: 2, d: 2 });
  });

  it('that is rolled back leaves its devices to the wide one that still runs', async () => {
    await enrolFour();
    await world.release(1, all);
    await world.rounds();
    const wide = await world.release(2, { ...all, bakeSeconds: 60, follow: false });
    await world.round();
    world.bad.add(3);
    const narrow = await world.release(3, { ...all, selector: 'site=x' });
    await world.rounds(5);
    expect(await world.phase(narrow.id)).toBe('rolled_back');
    expect(await world.phase(wide.id)).toBe('running');
    await world.rounds(40);
    expect(await world.phase(wide.id)).toBe('completed');
    expect(world.running()).toEqual({ a: 2, b: 2, c: 2, d: 2 });
  });

  it('that is cancelled keeps the devices that it has, and leaves the others', async () => {
    await enrolFour();
    const wide = await world.release(2, { waves: [{ percent: 25 }, { percent: 100 }], bakeSeconds: 20 });
    await world.round();
    const narrow = await world.release(3, { waves: [{ percent: 50 }, { percent: 100 }], selector: 'site=x' });
    await world.round();
    await world.rollouts.act('key:test', narrow.id, 'cancel', '');
    await world.rounds(30);
    expect(await world.phase(wide.id)).toBe('completed');
    expect(Object.values(world.running()).sort()).toEqual([2, 2, 2, 3]);
  });
});

describe('a newer rollout in waves', () => {
  const waves = [{ percent: 25 }, { percent: 100 }];

  it('leaves what it has not reached under the older one, which takes it back when it fails there', async () => {
    await enrolFour();
    await world.release(1, all);
    await world.rounds();
    const older = await world.release(2, { ...all, bakeSeconds: 1000 });
    await world.rounds(2);
    const newer = await world.release(3, { waves, bakeSeconds: 1000 });
    await world.rounds(2);
    expect(Object.values(world.running()).sort()).toEqual([2, 2, 2, 3]);
    const detail = await world.rollouts.detail(older.id);
    expect(detail.state.phase).toBe('running');
    const reached = detail.devices.find(({ detail }) =>
      detail.startsWith(`taken over by the newer rollout ${newer.id}`),
    );
    const failing = detail.devices.find(({ deviceId }) => deviceId !== reached?.deviceId)?.deviceId ?? '';
    const error = { code: 'model_rejected', message: 'it crashed' };
    const candidate = { version: 2, rolloutId: older.id, state: 'failed' as const, since: 0, error };
    await world.report(failing, { active: { version: 1, since: 0 }, lastGood: 1, candidate });
    await world.rounds(4);
    expect(await world.phase(older.id)).toBe('rolled_back');
    expect(await world.phase(newer.id)).toBe('running');
    expect(Object.values(world.running()).sort()).toEqual([1, 1, 1, 3]);
  });

  it('ends the older one when it has taken its last device', async () => {
    await enrolFour();
    const older = await world.release(2, { ...all, bakeSeconds: 1000 });
    await world.round();
    const newer = await world.release(3, { waves });
    await world.round();
    expect(await world.phase(older.id)).toBe('running');
    await world.rounds();
    expect(await world.phase(newer.id)).toBe('completed');
    expect((await world.rollouts.detail(older.id)).state).toMatchObject({ phase: 'superseded', by: newer.id });
  });
});
