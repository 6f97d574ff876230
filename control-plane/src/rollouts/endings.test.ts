// What an operator's word does to devices, and what is kept of a rollout that is over.
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
const states = async (id: string) =>
  Object.fromEntries((await world.rollouts.detail(id)).devices.map(({ deviceId, state }) => [deviceId, state]));
const enrol = async (...ids: string[]) => {
  for (const id of ids) await world.enrol(id);
};
const act = (id: string, action: Parameters<World['rollouts']['act']>[2]) =>
  world.rollouts.act('key:test', id, action, '');

it('gives its devices in pages, by state and wave, and is told without them when asked', async () => {
  const ids = ['a', 'b', 'c', 'd', 'e'];
  await enrol(...ids);
  await world.release(1, all);
  await world.rounds();
  const { id } = await world.release(2, { waves: [{ devices: 2 }, { percent: 100 }], bakeSeconds: 1000 });
  await world.rounds(3);
  const { devices, ...rest } = await world.rollouts.detail(id);
  expect(await world.rollouts.detail(id, { devices: 'none' })).toEqual({ ...rest, devices: [] });
  const pages: string[][] = [];
  for (let cursor: string | undefined; ; ) {
    const page = await world.rollouts.devices(id, { limit: 2, cursor });
    pages.push(page.items.map(({ deviceId }) => deviceId));
    cursor = page.nextCursor;
    if (cursor === undefined) break;
  }
  expect(pages).toEqual([['a', 'b'], ['c', 'd'], ['e']]);
  const waiting = devices.filter(({ state }) => state === 'waiting');
  expect(waiting).toHaveLength(3);
  expect(await world.rollouts.devices(id, { limit: 10, state: 'waiting' })).toEqual({ items: waiting });
  expect((await world.rollouts.devices(id, { limit: 10, wave: 0 })).items).toHaveLength(2);
});

describe('cancel', () => {
  it('keeps the version from who does not run it yet: who is under way, and who was offline', async () => {
    await enrol('away', 'busy', 'done');
    await world.release(1, all);
    await world.rounds();
    const { id } = await world.release(2, { ...all, bakeSeconds: 1000 });
    await world.rollouts.look();
    await world.obey(['done']);
    world.pass(2);
    await world.rollouts.look();
    await world.fleet.onPresence('away', { status: 'offline', session: 's' });
    expect(world.running()).toEqual({ away: 2, busy: 2, done: 2 });
    await act(id, 'cancel');
    expect(world.running()).toEqual({ away: 1, busy: 1, done: 2 });
    await world.rounds(5);
    world.restart();
    await world.fleet.onPresence('away', { status: 'online', session: 't' });
    await world.rounds(5);
    expect(world.running()).toEqual({ away: 1, busy: 1, done: 2 });
    expect(await states(id)).toEqual({ away: 'unreached', busy: 'unreached', done: 'kept' });
    expect((await world.rollouts.detail(id)).waves).toMatchObject([{ wave: 0, outcome: 'stopped' }]);
    expect((await world.rollouts.detail(id)).status).toMatch(/^cancelled by key:test at .*: 1 kept, 2 unreached$/);
  });

  it('takes the version back from who runs it, when asked', async () => {
    await enrol('a', 'b');
    await world.release(1, all);
    await world.rounds();
    const { id } = await world.release(2, { waves: [{ percent: 50 }, { percent: 100 }], bakeSeconds: 1000 });
    await world.rounds(3);
    expect(Object.values(world.running()).sort()).toEqual([1, 2]);
    await act(id, 'take_back');
    await world.rounds(4);
    expect(await world.phase(id)).toBe('rolled_back');
    expect(world.running()).toEqual({ a: 1, b: 1 });
    expect(Object.values(await states(id)).sort()).toEqual(['rolled_back', 'unreached']);
  });
});

describe('what is kept of a rollout', () => {
  it('is every wave with its verdicts and numbers, and how each device ended', async () => {
    await enrol('a', 'b', 'c', 'd');
    await world.release(1, all);
    await world.rounds();
    const { id } = await world.release(2, { waves: [{ percent: 50 }, { percent: 100 }], bakeSeconds: 2 });
    await world.rounds(2);
    const given = (await world.rollouts.detail(id)).devices.filter(({ state }) => state !== 'waiting');
    const late = ['a', 'b', 'c', 'd'].filter(
      (each) => !given.some(({ deviceId, wave }) => deviceId === each && wave === 0),
    );
    const [failing = '', other = ''] = late;
    world.refusing.add(failing);
    await world.fleet.onPresence(other, { status: 'offline', session: 's' });
    await world.rounds(12);
    expect(await world.phase(id)).toBe('rolled_back');
    world.pass(86_400);
    world.restart();
    const { devices, waves, gates, status, history } = await world.rollouts.detail(id);
    expect(devices.filter(({ state }) => state === 'rolled_back')).toHaveLength(3);
    expect(devices.find(({ deviceId }) => deviceId === failing)).toEqual({
      deviceId: failing,
      wave: 1,
      state: 'failed',
      detail: 'integrity: bad hash',
    });
    expect(waves).toMatchObject([
      { wave: 0, outcome: 'passed', counts: { healthy: 2 }, gates: [{ verdict: 'passed' }, { verdict: 'passed' }] },
      { wave: 1, outcome: 'failed', gates: [{ gate: 'failed_devices', verdict: 'failed', numbers: { bad: 1 } }, {}] },
    ]);
    expect(gates).toEqual(waves[1]?.gates);
    expect(status).toMatch(
      /^rolled back at .*: wave 2: 1 of \d devices of this wave failed.*: 1 failed, 3 rolled back \(\w+: .+\)$/,
    );
    const turn = history.find(({ text }) => text.startsWith('rolling back'));
    expect(turn?.evidence).toMatchObject({ gates: [{ verdict: 'failed' }, {}], counts: { failed: 1 } });
  });

  it('tells who did not confirm a rollback', async () => {
    await enrol('a', 'b');
    const { id } = await world.release(2, { ...all, deployTimeoutSeconds: 20, bakeSeconds: 1000 });
    await world.rounds(2);
    await world.fleet.onPresence('a', { status: 'offline', session: 's' });
    await act(id, 'rollback');
    await world.rollouts.look();
    await world.obey(['b']);
    for (let i = 0; i < 3; i++) {
      world.pass(15);
      await world.rollouts.look();
    }
    expect(await world.phase(id)).toBe('rolled_back');
    expect(await states(id)).toEqual({ a: 'unreached', b: 'rolled_back' });
  });
});

describe('retry', () => {
  it('lets only the devices that failed try again, on another word, and goes on', async () => {
    await enrol('a', 'b', 'c');
    await world.release(1, all);
    await world.rounds();
    world.refusing.add('b');
    const { id } = await world.release(2, { ...all, onFailure: 'pause' });
    await world.rounds();
    expect((await world.rollouts.detail(id)).status).toMatch(/^paused at wave 1 of 1: .*b: integrity: bad hash/);
    await world.rounds(5);
    expect((await states(id)).b).toBe('failed');
    world.refusing.clear();
    const generations = () => [...world.desired].map(([device, { generation }]) => `${device} ${generation}`).sort();
    const before = generations();
    await act(id, 'retry');
    expect(generations()).toEqual([before[0], 'b 3', before[2]]);
    expect(world.desired.get('b')?.models[0]?.rolloutId).toBe(`${id}.2`);
    await world.rounds();
    expect(await world.phase(id)).toBe('completed');
    expect(await states(id)).toEqual({ a: 'healthy', b: 'healthy', c: 'healthy' });
    await expect(act(id, 'retry')).rejects.toMatchObject({ code: 'conflict' });
  });

  it('also fails again, and is asked for again', async () => {
    await enrol('a');
    world.bad.add(2);
    const { id } = await world.release(2, { ...all, onFailure: 'pause' });
    await world.rounds();
    await act(id, 'retry');
    await world.rounds();
    expect(await world.phase(id)).toBe('paused');
    world.bad.clear();
    await act(id, 'retry');
    expect(world.desired.get('a')?.models[0]?.rolloutId).toBe(`${id}.3`);
    await world.rounds();
    expect(await world.phase(id)).toBe('completed');
  });
});

describe('a version that failed', () => {
  it('is taken back from every device that runs it, when the plan says so', async () => {
    await world.enrol('a', { site: 'x' });
    await world.enrol('b', { site: 'y' });
    await world.release(1, all);
    await world.rounds();
    const narrow = await world.release(2, { ...all, selector: 'site=x', follow: false });
    await world.rounds();
    world.refusing.add('b');
    const wide = await world.release(2, { ...all, selector: 'site=y', rollbackOf: 'all' });
    await world.rounds();
    expect([await world.phase(narrow.id), await world.phase(wide.id)]).toEqual(['rolled_back', 'rolled_back']);
    expect(world.running()).toEqual({ a: 1, b: 1 });
  });
});

describe('aliases', () => {
  const aliased = async () => {
    const { aliases } = await world.registry.model('net');
    return Object.fromEntries(aliases.map(({ alias, version }) => [alias, version]));
  };

  it('are moved by rollouts that complete, go back with them, and name what a rollout releases', async () => {
    await world.enrol('a', { lab: '1' });
    await world.enrol('b');
    await world.release(1, all);
    await world.rounds();
    expect(await aliased()).toEqual({ stable: 1 });
    await world.release(2, { ...all, selector: 'lab' });
    await world.rounds();
    expect(await aliased()).toEqual({ stable: 1, candidate: 2 });
    const { id, version } = await world.release('candidate', all);
    expect(version).toBe(2);
    expect((await world.history(id))[0]).toContain('from the alias "candidate", version 2');
    await world.rounds();
    expect(await aliased()).toEqual({ stable: 2, candidate: 2 });
    await act(id, 'rollback');
    await world.rounds(4);
    expect(await aliased()).toEqual({ stable: 1, candidate: 2 });
    await expect(world.release('golden', all)).rejects.toMatchObject({ code: 'not_found' });
    await world.registry.setAlias('key:ann', { model: 'net', alias: 'golden', version: 3 });
    expect(await aliased()).toEqual({ stable: 1, candidate: 2, golden: 3 });
  });
});

describe('priority', () => {
  it('lets an urgent older rollout finish before a newer one takes its devices', async () => {
    await enrol('a', 'b');
    const urgent = await world.release(2, { ...all, priority: 10, bakeSeconds: 8 });
    await world.round();
    const newer = await world.release(3, all);
    await world.rounds(2);
    expect(world.running()).toEqual({ a: 2, b: 2 });
    expect((await world.rollouts.detail(newer.id)).devices[0]?.detail).toContain(urgent.id);
    expect(await world.phase(newer.id)).toBe('running');
    await world.rounds();
    expect([await world.phase(urgent.id), await world.phase(newer.id)]).toEqual(['completed', 'completed']);
    expect(world.running()).toEqual({ a: 3, b: 3 });
  });
});

it('one bad or silent device blocks neither this rollout nor the next', async () => {
  await enrol(...Array.from({ length: 10 }, (_, i) => `d${i}`));
  await world.release(1, all);
  await world.rounds();
  world.refusing.add('d3');
  await world.fleet.onPresence('d5', { status: 'offline', session: 's' });
  const plan = { ...all, offlineAfterSeconds: 10, gates: { maxFailedDevices: 0.2 } };
  for (const version of [2, 3]) {
    const { id } = await world.release(version, plan);
    for (let i = 0; i < 14; i++) {
      await world.round();
      await world.fleet.onPresence('d5', { status: 'offline', session: 's' });
    }
    expect(await world.phase(id)).toBe('completed');
  }
});
