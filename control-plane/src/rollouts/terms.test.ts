// When and how fast devices take up what a rollout gives them.
import { RolloutCreate } from '@edgeloop/shared/api/rollouts';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { openRollouts, type World } from './rollouts-fixture.ts';

const all = { waves: [{ percent: 100 }] };
const terms = {
  windows: {
    fetch: [{ from: '22:00', to: '04:00' }],
    activate: [{ days: ['sun' as const], from: '01:00', to: '03:00' }],
  },
  maxHoldSeconds: 600,
  bandwidthKbps: 512,
};
let world: World;
beforeEach(async () => {
  world = await openRollouts(3);
  await world.enrol('a');
});
afterEach(async () => {
  await world.close();
});
const told = () => world.desired.get('a')?.models[0];

describe('the terms of a rollout', () => {
  it('reach its devices, also after a restart and for those that try again', async () => {
    await world.release(1, all);
    await world.rounds();
    expect(told()).not.toHaveProperty('windows');
    world.bad.add(2);
    const { id } = await world.release(2, { ...all, ...terms, onFailure: 'pause' });
    await world.rollouts.look();
    expect(told()).toMatchObject({ version: 2, ...terms });
    await world.rounds(4);
    world.restart();
    await world.rollouts.act('key:test', id, 'retry', '');
    expect(told()).toMatchObject({ version: 2, rolloutId: `${id}.2`, ...terms });
  });

  it('do not hold up going back', async () => {
    await world.release(1, { ...all, ...terms });
    await world.rounds();
    world.bad.add(2);
    await world.release(2, { ...all, ...terms });
    await world.rounds(4);
    expect(told()).toMatchObject({ version: 1 });
    expect(told()).not.toHaveProperty('windows');
  });

  it.each([
    [{ windows: { fetch: [{ from: '25:00', to: '04:00' }] } }, 'windows.fetch.0.from'],
    [{ windows: { install: [] } }, 'windows'],
    [{ maxHoldSeconds: -1 }, 'maxHoldSeconds'],
    [{ bandwidthKbps: 0 }, 'bandwidthKbps'],
  ])('are refused by name: %j', (wrong, field) => {
    const { error } = RolloutCreate.safeParse({ model: 'm', version: 1, ...wrong });
    expect(error?.issues.map(({ path }) => path.join('.'))).toContain(field);
  });
});
