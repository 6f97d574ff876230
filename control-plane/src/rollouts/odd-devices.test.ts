// Devices that do what no device should: none of them may keep a rollout, or a later one, from coming to its end.
import type { ModelReport } from '@edgeloop/shared/messages';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { createFleetStore } from '../fleet/fleet-store.ts';
import { openRollouts, type World } from './rollouts-fixture.ts';

const day = 86_400_000;
let world: World;
const good = ['a', 'b', 'c', 'd'];
beforeEach(async () => {
  world = await openRollouts();
  for (const id of [...good, 'odd']) await world.enrol(id, { site: 'x' });
  await world.release(1, { waves: [{ percent: 100 }] });
  await world.rounds();
});
afterEach(async () => {
  await world.close();
});

/** One of five devices may fail. */
const plan = {
  waves: [{ percent: 100 }],
  deployTimeoutSeconds: 60,
  bakeSeconds: 4,
  gates: { maxFailedDevices: 0.25, evidenceTimeoutSeconds: 60 },
};
const presence = (status: 'online' | 'offline') => world.fleet.onPresence('odd', { status, session: 's' });
function active(version: number): NonNullable<ModelReport['active']> {
  return { version, release: String(version).repeat(64), since: 0 };
}
/** Stays away for so many rounds, and then is there for as many; it says so once. */
async function comeAndGo(round: number, every: number): Promise<void> {
  if (round % every === 0) await presence(round % (2 * every) === 0 ? 'offline' : 'online');
}
type Oddity = (round: number, told: { rolloutId: string; version: number }) => Promise<unknown>;
const one = (report: Omit<ModelReport, 'name'>) => world.report('odd', report);
const former = { active: active(1), lastGood: 1 };

const oddities: [string, Oddity][] = [
  [
    'comes and goes for ever, each time for less than it takes',
    (round) => presence(round % 2 === 0 ? 'online' : 'offline'),
  ],
  ['comes and goes for ever, each time for so long that it counts as away', (round) => comeAndGo(round, 20)],
  ['reports another version for ever', () => one({ active: active(3), lastGood: 3, candidate: null })],
  [
    'is bringing up another version for ever',
    (_, { rolloutId }) => one({ ...former, candidate: { version: 3, rolloutId, state: 'fetching', since: 0 } }),
  ],
  [
    'stays on probation for ever',
    (_, { rolloutId }) =>
      one({ active: active(2), lastGood: 1, candidate: { version: 2, rolloutId, state: 'probation', since: 0 } }),
  ],
  [
    'begins with the version again and again',
    (round, { rolloutId }) =>
      round % 2 === 0
        ? one({ active: active(2), lastGood: 2, candidate: null })
        : one({ ...former, candidate: { version: 2, rolloutId, state: 'fetching', since: 0 } }),
  ],
  [
    'is held back until the end of time',
    (_, { rolloutId }) => {
      const held = { by: 'window' as const, until: Number.MAX_SAFE_INTEGER, message: 'never' };
      return one({ ...former, candidate: { version: 2, rolloutId, state: 'warming', since: 0, held } });
    },
  ],
  [
    'is held back anew each time, by a clock that is days ahead',
    (_, { rolloutId }) => {
      const held = { by: 'hold' as const, until: world.now() + 5 * day, message: 'later' };
      return one({ ...former, candidate: { version: 2, rolloutId, state: 'warming', since: 0, held } });
    },
  ],
  ['says nothing any more', async () => undefined],
  [
    'leaves the selector and comes back, again and again',
    (round) => world.fleet.relabel('key:test', 'odd', { site: round % 2 === 0 ? 'x' : 'z' }),
  ],
];

const skip = { offlineDevices: 'skip' } as const;
const wait = { offlineDevices: 'wait', offlineWaitSeconds: 7200 } as const;
const cases = [
  ...oddities.map(([what, behave]): [string, Oddity, typeof skip | typeof wait] => [what, behave, skip]),
  ...oddities
    .slice(0, 2)
    .map(([what, behave]): [string, Oddity, typeof skip | typeof wait] => [
      `${what} though it is waited for,`,
      behave,
      wait,
    ]),
];

it.each(cases)(
  'one that %s blocks neither this rollout nor the next',
  { timeout: 240_000 },
  async (_, behave, policy) => {
    for (const version of [2, 3]) {
      const { id } = await world.release(version, { ...plan, ...policy, selector: 'site', maxHoldSeconds: 60 });
      for (let round = 0; round < 120 && (await world.phase(id)) === 'running'; round++) {
        // Eight minutes at first, then hours.
        world.pass(round < 60 ? 4 : 3600);
        await behave(round, { rolloutId: id, version });
        await world.rollouts.look();
        await world.obey(good);
      }
      expect(await world.phase(id), (await world.rollouts.detail(id)).status).toBe('completed');
      for (const each of good) expect(world.running()[each]).toBe(version);
    }
  },
);

describe('with `wait`', () => {
  const waits = { ...plan, selector: 'site', offlineDevices: 'wait' as const, offlineWaitSeconds: 3600 };
  const stateOfOdd = async (id: string) =>
    (await world.rollouts.detail(id)).devices.find(({ deviceId }) => deviceId === 'odd')?.state;

  /** Four seconds a round. */
  async function go(rounds: number, behave: (round: number) => Promise<unknown>): Promise<void> {
    for (let round = 0; round < rounds; round++) {
      world.pass(4);
      await behave(round);
      await world.rollouts.look();
      await world.obey(good);
    }
  }

  it('one that is away is waited for, as long as the plan says and no longer, and follows later', async () => {
    await presence('offline');
    const { id } = await world.release(2, waits);
    await go(100, async () => undefined);
    expect(await world.phase(id)).toBe('running');
    expect(await stateOfOdd(id)).toBe('offline');
    expect((await world.rollouts.detail(id)).status).toMatch(/1 device under way, until .* at the latest/);
    world.pass(3600);
    await go(3, async () => undefined);
    expect(await world.phase(id)).toBe('completed');
    await presence('online');
    await world.rounds(4);
    expect(world.running()).toMatchObject({ odd: 2 });
  });

  it('one that comes and goes slowly ends as offline, and one that does so quickly as timed out', async () => {
    for (const [version, [every, ends]] of [
      [2, [20, 'offline'] as const] as const,
      [3, [2, 'timed_out'] as const] as const,
    ]) {
      const { id } = await world.release(version, { ...waits, deployTimeoutSeconds: 90, offlineWaitSeconds: 600 });
      await go(ends === 'offline' ? 220 : 40, (round) => comeAndGo(round, every));
      expect(await world.phase(id)).toBe('completed');
      const { waves } = await world.rollouts.detail(id);
      expect(waves[0]?.counts).toMatchObject({ healthy: 4, [ends]: 1 });
    }
  });
});

it('one that is removed and joins anew under its id gets the version again, and has not failed', async () => {
  const { id } = await world.release(2, { ...plan, bakeSeconds: 30, gates: { ...plan.gates, maxFailedDevices: 0 } });
  await world.rounds(3);
  const store = createFleetStore(world.database.tables);
  await world.database.transact(async (tx) => {
    await store.deleteDesired(tx, ['odd']);
    await store.update(tx, 'odd', { revokedAt: world.now(), status: 'offline' });
  });
  world.fleet.cameOrWent('odd');
  await world.rollouts.look();
  await world.database.transact((tx) => {
    const fresh = { revokedAt: null, status: 'never_connected', reported: null, reportedAt: null, lastSeenAt: null };
    return store.update(tx, 'odd', fresh);
  });
  world.fleet.cameOrWent('odd');
  await world.round();
  await presence('online');
  await world.report('odd', null);
  expect((await world.rollouts.detail(id)).devices.find(({ deviceId }) => deviceId === 'odd')).toMatchObject({
    state: 'deploying',
  });
  await world.rounds(20);
  expect(await world.phase(id)).toBe('completed');
  expect(world.running()).toMatchObject({ odd: 2 });
});
