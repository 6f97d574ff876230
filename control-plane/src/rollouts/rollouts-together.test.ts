// Any number of rollouts of one model at once, over a fleet whose labels and devices change, with operators who speak and
// servers that start anew.
import type { PlannedWave, Rollout, RolloutState } from '@edgeloop/shared/api/rollouts';
import { AppError } from '@edgeloop/shared/errors';
import { matches, parseSelector } from '@edgeloop/shared/selector';
import fc from 'fast-check';
import { afterAll, beforeAll, expect, it } from 'vitest';
import type { z } from 'zod';
import { type RolloutAction, rolloutActions } from './actions.ts';
import { openRollouts, type World } from './rollouts-fixture.ts';

const versions = 40;
let world: World;
beforeAll(async () => {
  world = await openRollouts(versions);
});
afterAll(async () => {
  await world.close();
});

const sites = fc.constantFrom('x', 'y');
const plans = fc.record({
  selector: fc.constantFrom('', '', 'site=x', 'site=y'),
  waves: fc.constantFrom<z.input<typeof PlannedWave>[]>(
    [{ percent: 100 }],
    [{ percent: 30 }, { percent: 100 }],
    [{ percent: 30 }, { percent: 100, name: 'all', approval: {} }],
  ),
  bakeSeconds: fc.constantFrom(0, 3, 12),
  follow: fc.boolean(),
  onFailure: fc.constantFrom('rollback' as const, 'pause' as const),
  approval: fc.constantFrom(false, false, false, true),
});
const events = fc.oneof(
  { weight: 4, arbitrary: fc.record({ kind: fc.constant('release' as const), plan: plans, bad: fc.boolean() }) },
  { weight: 8, arbitrary: fc.record({ kind: fc.constant('round' as const), seconds: fc.constantFrom(1, 2, 6) }) },
  {
    weight: 3,
    arbitrary: fc.record({
      kind: fc.constant('act' as const),
      which: fc.nat(9),
      action: fc.constantFrom<RolloutAction>(...rolloutActions),
    }),
  },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('relabel' as const), device: fc.nat(9), site: sites }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('refuse' as const), device: fc.nat(9) }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constantFrom('enrol' as const), site: sites }) },
  { weight: 1, arbitrary: fc.constant({ kind: 'restart' as const }) },
);
type Event = typeof events extends fc.Arbitrary<infer E> ? E : never;

async function clear() {
  const { tables } = world.database;
  await world.database.transact(async (tx) => {
    for (const each of [tables.devices, tables.desiredModels, tables.rollouts, tables.rolloutDevices])
      await tx.delete(each);
  });
  // What was kept in memory of the rows is gone with them.
  await world.fleet.start();
  world.restart();
  world.forget();
}

/** What should run where, by whose word, and how far every rollout is. */
async function picture() {
  const { read, tables } = world.database;
  const devices = await world.fleet.matching([]);
  const ids = devices.map(({ id }) => id);
  const owners = new Map([...(await world.fleet.desiredOf(read, ids, 'net'))].map(([id, to]) => [id, to.rolloutId]));
  const rollouts = new Map<string, Rollout>();
  for (const rollout of (await world.rollouts.list({ limit: 500 })).items) rollouts.set(rollout.id, rollout);
  const members = await read.select().from(tables.rolloutDevices);
  return { devices, owners, rollouts, members };
}
type Picture = Awaited<ReturnType<typeof picture>>;

const phaseIn = ({ rollouts }: Picture, id: string) => rollouts.get(id)?.state.phase;

/** Whatever a device should run is under test, has completed, or was left to it by an operator who cancelled. */
function checkOwners(now: Picture) {
  for (const owner of now.owners.values())
    expect([
      'running',
      'awaiting_approval',
      'paused',
      'completed',
      'cancelled',
    ] satisfies RolloutState['phase'][]).toContain(phaseIn(now, owner));
}

/** A device that leaves a newer rollout's version was given back, to the newest that completed on it. */
function checkMoves(before: Picture, now: Picture) {
  for (const [device, from] of before.owners) {
    const to = now.owners.get(device);
    if (to !== undefined && to >= from) continue;
    expect(['rolling_back', 'rolled_back']).toContain(phaseIn(now, from));
    const completed = now.members
      // Of one that never told it, it has nothing to go back to.
      .filter(({ deviceId, rolloutId, assignedAt }) => {
        return deviceId === device && assignedAt !== null && phaseIn(now, rolloutId) === 'completed';
      })
      .map(({ rolloutId }) => rolloutId);
    expect(to).toBe(completed.sort().at(-1));
  }
}

const phases = new Set<string>();

/** Looks until nothing changes any more; that it comes to an end is that nothing flaps. */
async function settle() {
  for (let looks = 0; looks < 12; looks++) {
    const before = await picture();
    await world.rollouts.look();
    const now = await picture();
    for (const { state } of now.rollouts.values()) phases.add(state.phase);
    checkOwners(now);
    checkApprovals(now);
    checkMoves(before, now);
    const same =
      JSON.stringify([...before.owners]) === JSON.stringify([...now.owners]) &&
      JSON.stringify([...before.rollouts]) === JSON.stringify([...now.rollouts]);
    if (same) return now;
  }
  throw new Error('looking again and again goes on changing something');
}

async function act(id: string, action: RolloutAction) {
  try {
    if (action !== 'approve') await world.rollouts.act('key:test', id, action, '');
    else {
      const { state } = await world.rollouts.detail(id);
      const wave = state.phase === 'awaiting_approval' ? state.name : undefined;
      await world.rollouts.approve({ name: 'key:test', role: 'operator', wave }, id, '');
      if (wave !== undefined) approved.add(id);
    }
  } catch (error) {
    if (!(error instanceof AppError && error.code === 'conflict')) throw error;
  }
}

/** Rollouts whose second wave was let begin. */
const approved = new Set<string>();

/** Nobody is told whose wave waits for an approval. */
function checkApprovals({ rollouts, members }: Picture) {
  for (const { rolloutId, assignedAt, wave } of members) {
    const asks = rollouts.get(rolloutId)?.plan.waves[wave]?.approval !== undefined;
    if (asks && assignedAt !== null) expect(approved).toContain(rolloutId);
  }
}

let version = 0;
async function happen(event: Event, ids: string[]) {
  const device = 'device' in event ? (ids[event.device % ids.length] ?? 'd0') : 'd0';
  switch (event.kind) {
    case 'release':
      version = (version % versions) + 1;
      if (event.bad) world.bad.add(version);
      else world.bad.delete(version);
      await world.release(version, event.plan);
      return;
    case 'act': {
      const { items } = await world.rollouts.list({ limit: 10 });
      const chosen = items[event.which % Math.max(1, items.length)];
      if (chosen !== undefined) await act(chosen.id, event.action);
      return;
    }
    case 'relabel':
      await world.fleet.relabel('key:test', device, { site: event.site });
      return;
    case 'refuse':
      if (!world.refusing.delete(device)) world.refusing.add(device);
      return;
    case 'enrol':
      ids.push(`d${ids.length}`);
      await world.enrol(`d${ids.length - 1}`, { site: event.site });
      return;
    case 'restart':
      world.restart();
      return;
    case 'round':
      world.pass(event.seconds);
      await settle();
      await world.obey();
  }
}

async function go(rounds: number): Promise<Picture> {
  for (let i = 0; i < rounds; i++) {
    world.pass(15);
    await settle();
    await world.obey();
  }
  return settle();
}

/** With nothing bad any more, whoever is left to a rollout gets its version. */
async function checkReach() {
  world.bad.clear();
  world.refusing.clear();
  await world.obey();
  for (const { id } of (await world.rollouts.list({ limit: 500 })).items) {
    await act(id, 'approve');
    await act(id, 'resume');
  }
  for (let i = 0; i < 12; i++) {
    await go(1);
    for (const { id, state } of (await world.rollouts.list({ limit: 500 })).items)
      if (state.phase === 'awaiting_approval') await act(id, 'approve');
  }
  const end = await go(12);
  for (const { id, plan, state } of end.rollouts.values()) {
    const selector = parseSelector(plan.selector);
    const matching = end.devices.filter(({ labels }) => matches(selector, labels));
    if (state.phase === 'running' || state.phase === 'paused') expect(matching).toEqual([]);
    if (state.phase !== 'completed' || !plan.follow) continue;
    for (const device of matching) expect((end.owners.get(device.id) ?? '') >= id).toBe(true);
  }
}

/** When all that has not completed is taken back, everything runs what has completed, or nothing. */
async function checkTakenBack(takeBackAll: boolean) {
  const { rollouts } = await picture();
  for (const { id, state } of rollouts.values())
    if (takeBackAll || state.phase !== 'completed') {
      await act(id, 'approve');
      await act(id, 'rollback');
    }
  const end = await go(3);
  for (const owner of end.owners.values()) expect(phaseIn(end, owner)).toBe('completed');
  if (takeBackAll) expect(end.owners.size).toBe(0);
}

it('a device runs what is judged or under test, goes back to what completed, and wide rollouts reach all that is left to them', {
  timeout: 240_000,
}, async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(sites, { minLength: 1, maxLength: 5 }),
      fc.array(events, { maxLength: 40, size: 'max' }),
      fc.constantFrom('reach', 'back', 'all back'),
      async (labels, history, ending) => {
        await clear();
        const ids = labels.map((_, i) => `d${i}`);
        for (const [i, site] of labels.entries()) await world.enrol(`d${i}`, { site });
        for (const event of history) await happen(event, ids);
        if (ending === 'reach') await checkReach();
        else await checkTakenBack(ending === 'all back');
      },
    ),
    { numRuns: 40 },
  );
  for (const phase of ['completed', 'superseded', 'rolled_back', 'cancelled']) expect([...phases]).toContain(phase);
});
