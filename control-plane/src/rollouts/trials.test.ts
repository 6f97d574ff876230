// Waves that try a version beside the one that answers, before those that serve.
import { RolloutCreate, RolloutGates } from '@edgeloop/shared/api/rollouts';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { ShadowArm } from '../gates/evidence.ts';
import { emptyArm, fieldOf } from '../gates/field-fixture.ts';
import { openRollouts, type World } from './rollouts-fixture.ts';

const all = { waves: [{ percent: 100 }] };
const gates = RolloutGates.parse({ minRequests: 0, evidenceTimeoutSeconds: 60 });
let world: World;
beforeEach(async () => {
  world = await openRollouts(3);
  for (const id of ['a', 'b', 'c', 'd']) await world.enrol(id);
  await world.release(1, { ...all, gates });
  await world.rounds(5);
});
afterEach(async () => {
  await world.close();
});

const besides = () =>
  Object.fromEntries(
    [...world.desired].flatMap(([id, { models }]) => {
      const beside = models[0]?.beside;
      return beside === undefined ? [] : [[id, `${beside.version} ${beside.mode}`]];
    }),
  );
const state = async (id: string) => (await world.rollouts.detail(id)).state;
const told = (version: number) => Object.values(world.running()).filter((each) => each === version).length;

/** So many answers of each of two devices were compared, and so many of them agree. */
function shadowSays(compared: number, agreed: number): void {
  const sketch = emptyArm().latencyMs;
  const hits = compared - agreed;
  const shadow: ShadowArm = {
    disagreements: [
      { hits, trials: compared },
      { hits, trials: compared },
    ],
    ...{ failed: 0, skipped: 0, difference: sketch, latencyMs: sketch, formerMs: sketch },
  };
  const fresh = { ...emptyArm(), shadow };
  world.field.mockImplementation(async ({ trial }) =>
    trial === true ? fieldOf({ fresh, rest: emptyArm() }) : undefined,
  );
}

describe('a shadow wave', () => {
  const plan = { waves: [{ percent: 50 }, { percent: 100 }], shadow: true, gates };

  it('names the devices that come into a later wave, before it begins and after it was rolled back', async () => {
    const { id } = await world.release(2, { ...plan, approval: true });
    const later = async () => {
      const { devices } = await world.rollouts.detail(id);
      return devices.map(({ wave, later = [] }) => [wave, ...later].join()).sort();
    };
    expect(await later()).toEqual(['0,1', '0,1', '2', '2']);
    await world.rollouts.approve({ name: 'key:other', role: 'admin' }, id, '');
    await world.rounds(2);
    expect(await later()).toEqual(['0,1', '0,1', '2', '2']);
    await world.rollouts.act('key:test', id, 'rollback', '');
    await world.rounds(2);
    expect(await state(id)).toMatchObject({ phase: 'rolled_back' });
    expect(await later()).toEqual(['0,1', '0,1', '2', '2']);
  });

  it('is passed over where devices run nothing that it could run beside', async () => {
    await world.close();
    world = await openRollouts(3);
    for (const id of ['a', 'b', 'c']) await world.enrol(id);
    const { id } = await world.release(1, plan);
    await world.rounds(8);
    expect(await state(id)).toMatchObject({ phase: 'completed' });
    expect(world.running()).toEqual({ a: 1, b: 1, c: 1 });
  });

  it('runs on the devices of the first wave, which go on to serve when both say the same', async () => {
    const { id } = await world.release(2, plan);
    await world.round();
    expect(Object.values(besides())).toEqual(['2 shadow', '2 shadow']);
    expect(told(1)).toBe(4);
    const trying = Object.keys(besides());
    await world.rounds(3);
    const waiting = await world.rollouts.detail(id);
    expect(waiting.state).toMatchObject({ phase: 'running', wave: 0, step: 'judging' });
    expect(waiting.status).toMatch(
      /^wave 1 of 3 \(shadow\), judging: 2 of 2 devices healthy; it waits for the verdict of shadow_agreement/,
    );
    shadowSays(500, 495);
    world.restart();
    await world.rounds(3);
    expect(besides()).toEqual({});
    expect(await state(id)).toMatchObject({ phase: 'running', wave: 1 });
    expect(Object.entries(world.running()).flatMap(([device, version]) => (version === 2 ? [device] : []))).toEqual(
      trying,
    );
    await world.rounds(8);
    expect(await world.phase(id)).toBe('completed');
    expect(told(2)).toBe(4);
    expect((await world.rollouts.detail(id)).waves).toMatchObject([
      { wave: 0, outcome: 'passed', counts: { healthy: 2 } },
      { wave: 1, outcome: 'passed' },
      { wave: 2, outcome: 'passed' },
    ]);
  });

  it('stops before anybody is answered when they disagree, and leaves nothing behind', async () => {
    const { id } = await world.release(2, plan);
    await world.round();
    shadowSays(500, 300);
    await world.rounds(6);
    expect(await state(id)).toMatchObject({
      phase: 'rolled_back',
      reason: expect.stringMatching(/^wave 1 \(shadow\): 60 % of 1000 answers in the shadow agree/),
    });
    expect(besides()).toEqual({});
    expect(told(1)).toBe(4);
    const { devices } = await world.rollouts.detail(id);
    expect(devices.map((each) => each.state).sort()).toEqual(['rolled_back', 'rolled_back', 'unreached', 'unreached']);
  });

  it('never passes without evidence: it pauses with the reason', async () => {
    const { id } = await world.release(2, plan);
    await world.rounds(40);
    expect(await state(id)).toMatchObject({
      phase: 'paused',
      reason: expect.stringContaining('0 answers compared, 100 needed'),
    });
    await world.rollouts.act('key:test', id, 'cancel', '');
    expect(besides()).toEqual({});
    const { devices } = await world.rollouts.detail(id);
    expect(new Set(devices.map((each) => each.state))).toEqual(new Set(['unreached']));
    expect(devices.map(({ detail }) => detail).join()).toContain('beside its own only');
  });

  it('says which devices cannot take part, and does not pass for them', async () => {
    for (const id of ['a', 'b', 'c', 'd']) world.old.add(id);
    await world.obey();
    const { id } = await world.release(2, plan);
    await world.rounds(3);
    const { devices, gates: verdicts } = await world.rollouts.detail(id);
    expect(devices.filter((each) => each.state === 'unable').map(({ detail }) => detail)).toEqual(
      Array(2).fill(expect.stringContaining('its agent cannot run a version beside another')),
    );
    expect(verdicts[0]?.detail).toContain('2 cannot take part');
    await world.rounds(40);
    expect(await world.phase(id)).toBe('paused');
  });

  it('counts a device on which it fails, in its own words, and tries again when asked', async () => {
    world.bad.add(2);
    const { id } = await world.release(2, { ...plan, onFailure: 'pause' });
    await world.rounds(4);
    const paused = await world.rollouts.detail(id);
    expect(paused.state).toMatchObject({ phase: 'paused', reason: expect.stringContaining('integrity: bad hash') });
    world.bad.clear();
    await world.rollouts.act('key:test', id, 'retry', '');
    expect([...world.desired.values()].flatMap(({ models }) => models[0]?.beside?.rolloutId ?? [])).toEqual([
      `${id}.2`,
      `${id}.2`,
    ]);
    shadowSays(500, 500);
    await world.rounds(12);
    expect(await world.phase(id)).toBe('completed');
  });

  it('gives way to a newer rollout that takes its devices', async () => {
    const { id } = await world.release(2, plan);
    await world.round();
    await world.release(3, { ...all, gates });
    await world.rounds(6);
    expect(await world.phase(id)).toBe('superseded');
    expect(besides()).toEqual({});
    expect(told(3)).toBe(4);
  });
});

describe('a first version', () => {
  it('has nothing to run beside, so its rollout begins with the waves that serve', async () => {
    world.forget();
    for (const id of ['x', 'y']) await world.enrol(id, { fresh: 'yes' });
    const { id } = await world.release(2, { selector: 'fresh=yes', ...all, follow: false, shadow: true, gates });
    await world.database.transact((tx) => world.fleet.assign(tx, ['x', 'y'], 'net', null));
    await world.rounds(6);
    expect(world.running()).toMatchObject({ x: 2, y: 2 });
    expect(await world.phase(id)).toBe('completed');
  });
});

describe('a split wave', () => {
  it('lets the version answer a share of the requests, then goes on', async () => {
    const waves = [{ percent: 25, kind: 'split' as const, share: 0.2 }, { percent: 100 }];
    const { id } = await world.release(2, { waves, gates });
    await world.round();
    expect([...world.desired.values()].flatMap(({ models }) => models[0]?.beside ?? [])).toMatchObject([
      { version: 2, mode: 'split', share: 0.2, rolloutId: id },
    ]);
    expect((await world.rollouts.detail(id)).status).toContain('(split, 20 % of requests)');
    await world.rounds(8);
    expect(await world.phase(id)).toBe('completed');
  });
});

it.each([
  [[{ percent: 10 }, { percent: 20, kind: 'shadow' }, { percent: 100 }], 'before the first that serves'],
  [[{ percent: 10, kind: 'split' }, { percent: 100 }], '"share"'],
  [[{ percent: 10, kind: 'shadow', share: 0.1 }, { percent: 100 }], '"share"'],
  [[{ percent: 100, kind: 'shadow' }], 'and serve'],
])('a plan is refused with the reason: %j', (waves, why) => {
  const { error } = RolloutCreate.safeParse({ model: 'm', version: 1, waves });
  expect(error?.issues.map(({ message }) => message).join()).toContain(why);
});
