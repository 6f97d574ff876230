// Who is told when: newcomers, groups, rates, and so many of one site at a time.
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { openRollouts, type World } from './rollouts-fixture.ts';

const all = { waves: [{ percent: 100 }] };
let world: World;
beforeEach(async () => {
  world = await openRollouts();
});
afterEach(async () => {
  await world.close();
});
const told = (version: number) => Object.values(world.running()).filter((each) => each === version).length;

describe('a newcomer', () => {
  it('gets the stable version and joins the last wave, never the one under way', async () => {
    for (let i = 0; i < 10; i++) await world.enrol(`d${i}`);
    await world.release(1, all);
    await world.rounds();
    const { id } = await world.release(2, {
      waves: [{ percent: 30 }, { percent: 60 }, { percent: 100 }],
      bakeSeconds: 20,
    });
    await world.round();
    const front = (await world.rollouts.detail(id)).devices
      .filter(({ wave }) => wave === 0)
      .map((each) => each.deviceId);
    expect(front).toHaveLength(3);
    // Some of these sort before all others.
    for (let i = 0; i < 30; i++) await world.enrol(`new${i}`);
    await world.rounds(3);
    const { devices } = await world.rollouts.detail(id);
    expect(devices.filter(({ wave }) => wave === 0).map((each) => each.deviceId)).toEqual(front);
    const fresh = devices.filter(({ deviceId }) => deviceId.startsWith('new'));
    expect(fresh.map(({ wave, state }) => `${wave} ${state}`)).toEqual(Array(30).fill('2 waiting'));
    const { [front[0] ?? '']: first, ...others } = world.running();
    expect(first).toBe(2);
    expect(
      Object.entries(others)
        .filter(([device]) => device.startsWith('new'))
        .map(([, each]) => each),
    ).toEqual(Array(30).fill(1));
    world.restart();
    await world.rounds(60);
    expect(await world.phase(id)).toBe('completed');
    expect(told(2)).toBe(40);
  });

  it('that comes in the last wave follows once the rollout has completed', async () => {
    await world.enrol('a');
    const { id } = await world.release(1, { ...all, bakeSeconds: 10 });
    await world.round();
    await world.enrol('b');
    await world.rounds(3);
    expect(world.running()).toEqual({ a: 1 });
    await world.rounds(8);
    expect(await world.phase(id)).toBe('completed');
    expect(world.running()).toEqual({ a: 1, b: 1 });
  });
});

describe('waves', () => {
  it('begin with a group, go on by number, and are the same after a restart', async () => {
    for (let i = 0; i < 12; i++) await world.enrol(`d${i}`, i === 7 ? { ring: 'canary' } : {});
    const waves = [{ selector: 'ring=canary', name: 'canary' }, { devices: 4 }, { percent: 100 }];
    const { id } = await world.release(1, { waves, bakeSeconds: 4 });
    await world.round();
    expect(world.running()).toEqual({ d7: 1 });
    expect((await world.rollouts.detail(id)).status).toMatch(
      /^wave 1 of 3 \(canary\), deploying: 0 of 1 device healthy/,
    );
    await world.round();
    for (let i = 0; i < 3; i++) {
      world.restart();
      await world.round();
    }
    expect(told(1)).toBe(4);
    await world.rounds();
    expect(await world.phase(id)).toBe('completed');
  });
});

describe('the rate', () => {
  it('tells so many devices a minute, and more only after so many successes', async () => {
    for (let i = 0; i < 20; i++) await world.enrol(`d${i}`);
    const { id } = await world.release(1, {
      ...all,
      bakeSeconds: 0,
      rate: { start: 2, factor: 2, growAfter: 2, cap: 6 },
    });
    await world.round(0);
    expect(told(1)).toBe(2);
    await world.round(30);
    // Two serve, so the rate is four: two of this minute are left.
    await world.round(1);
    expect(told(1)).toBeGreaterThanOrEqual(4);
    expect(told(1)).toBeLessThanOrEqual(6);
    const before = told(1);
    await world.round(61);
    await world.round(1);
    expect(told(1) - before).toBeLessThanOrEqual(6);
    expect((await world.rollouts.detail(id)).status).toMatch(/devices still to be told \(at \d a minute\)/);
    for (let i = 0; i < 10; i++) await world.round(61);
    await world.rounds(2);
    expect(await world.phase(id)).toBe('completed');
    expect(told(1)).toBe(20);
  });
});

describe('maxUnavailable', () => {
  it('changes at most so many devices of one label value at a time', async () => {
    for (let i = 0; i < 8; i++) await world.enrol(`d${i}`, { site: i < 4 ? 'x' : 'y' });
    const { id } = await world.release(1, { ...all, bakeSeconds: 0, maxUnavailable: { label: 'site', devices: 1 } });
    for (let round = 0; round < 20; round++) {
      world.pass(1);
      await world.rollouts.look();
      const { devices } = await world.rollouts.detail(id);
      for (const ids of [
        ['d0', 'd1', 'd2', 'd3'],
        ['d4', 'd5', 'd6', 'd7'],
      ]) {
        const busy = devices.filter(({ deviceId, state }) => ids.includes(deviceId) && state === 'deploying');
        expect(busy.length).toBeLessThanOrEqual(1);
      }
      await world.obey();
    }
    expect(await world.phase(id)).toBe('completed');
  });
});

it('a wave does not pass before so large a share of its devices, offline ones among them, is healthy', async () => {
  for (const id of ['a', 'b', 'c', 'd']) await world.enrol(id);
  await world.fleet.onPresence('a', { status: 'offline', session: 's' });
  const gates = { minHealthyDevices: 1, evidenceTimeoutSeconds: 30 };
  const { id } = await world.release(1, { ...all, bakeSeconds: 0, offlineAfterSeconds: 5, gates });
  for (let i = 0; i < 10; i++) {
    world.pass(2);
    await world.rollouts.look();
    await world.obey(['b', 'c', 'd']);
  }
  expect(await world.phase(id)).toBe('running');
  expect((await world.rollouts.detail(id)).gates[0]?.detail).toBe(
    '3 of 4 devices healthy, 4 needed; 0 failed, 1 offline',
  );
  world.pass(40);
  await world.rollouts.look();
  expect(await world.phase(id)).toBe('paused');
});
