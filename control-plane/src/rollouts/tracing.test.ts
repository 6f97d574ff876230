// Traces of rollouts on a real database, with devices that do as they are told.
import { eq } from 'drizzle-orm';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { until } from '../../../test/support/until.ts';
import { openRollouts, type World } from './rollouts-fixture.ts';
import type { Span } from './trace-spans.ts';

const traceparent = `00-${'a'.repeat(32)}-${'b'.repeat(16)}-01`;
const plan = { selector: 'site=x', waves: [{ devices: 1 }, { percent: 100 }], bakeSeconds: 0 };
let world: World;
let spans: Span[];
const send = async (given: readonly Span[]) => void spans.push(...given);
beforeEach(async () => {
  spans = [];
  world = await openRollouts(3);
});
afterEach(() => world.close());

async function enrol(count: number) {
  for (let i = 0; i < count; i++) await world.enrol(`cam-${i}`, { site: 'x' });
}

const named = (name: string) => spans.filter((span) => span.name === name);
const sent = (name: string) => until(`a span ${name}`, async () => named(name)[0], { everyMs: 5 });
const ended = () => sent('rollout');

it('sends devices as they end, and the rollout with its waves once it is over', async () => {
  world.trace(send);
  await enrol(2);
  const { id } = await world.release(1, plan, traceparent);
  await world.round();
  await world.round();
  await sent('rollout.device');
  expect(named('rollout')).toEqual([]);
  await world.rounds(4);
  await ended();
  const [whole] = named('rollout');
  expect(whole).toMatchObject({ parentId: 'b'.repeat(16), attributes: { 'edgeloop.rollout.id': id } });
  expect(named('rollout.wave').map(({ parentId }) => parentId)).toEqual([whole?.id, whole?.id]);
  const waves = named('rollout.wave').map((wave) => wave.id);
  expect(named('rollout.device').map(({ parentId }) => waves.indexOf(parentId))).toEqual([0, 1]);
  expect(new Set(spans.map(({ traceId }) => traceId))).toEqual(new Set(['a'.repeat(32)]));
  expect((await world.rollouts.detail(id)).traceparent).toBe(traceparent);
});

it('goes on after a restart, and sends nothing twice', async () => {
  world.trace(send);
  await enrol(3);
  await world.release(1, plan, traceparent);
  const rounds = async () => {
    for (let i = 0; i < 6; i++) {
      await world.rollouts.close();
      world.restart();
      await world.round();
    }
  };
  await rounds();
  await world.rollouts.start();
  await ended();
  await rounds();
  await world.rollouts.close();
  const ids = spans.map(({ id }) => id);
  expect(new Set(ids).size).toBe(ids.length);
  expect(named('rollout.device')).toHaveLength(3);
  expect(named('rollout.wave')).toHaveLength(2);
});

it('sends a rollout that ended while it could not at the next start', async () => {
  let isAway = true;
  world.trace(async (given) => {
    if (isAway) throw new Error('the collector is away');
    await send(given);
  });
  await enrol(1);
  const { id } = await world.release(1, { ...plan, waves: [{ percent: 100 }] }, traceparent);
  await world.rounds(4);
  expect(await world.phase(id)).toBe('completed');
  await world.rollouts.close();
  isAway = false;
  world.restart();
  await world.rollouts.start();
  await ended();
});

it('shows why a device failed, and the steps that it reported', async () => {
  world.trace(send);
  await enrol(1);
  const { id: rolloutId } = await world.release(2, { ...plan, waves: [{ percent: 100 }] }, traceparent);
  await world.rollouts.look();
  const about = { version: 2, rolloutId, since: world.now() };
  const former = { active: null, lastGood: null };
  for (const state of ['fetching', 'verifying'] as const) {
    await world.report('cam-0', { ...former, candidate: { ...about, state } });
    await world.rollouts.look();
    world.pass(1);
  }
  const error = { code: 'integrity', message: 'bad hash' };
  await world.report('cam-0', { ...former, candidate: { ...about, state: 'failed', error } });
  await world.rollouts.look();
  await sent('rollout.device');
  expect(spans.map(({ name, error: why }) => [name, why])).toEqual([
    ['rollout.device', 'integrity: bad hash'],
    ['rollout.device.fetching', undefined],
    ['rollout.device.verifying', 'integrity: bad hash'],
  ]);
});

it('ends the device that was under way when an operator cancels', async () => {
  world.trace(send);
  await enrol(1);
  const { id } = await world.release(1, plan, traceparent);
  await world.rollouts.look();
  await world.rollouts.look();
  await world.rollouts.act('key:test', id, 'cancel', '');
  await ended();
  expect(named('rollout.device')).toMatchObject([{ attributes: { 'edgeloop.outcome': 'unreached' } }]);
});

it.each(['export is off', 'the request had no trace'])('keeps and sends nothing when %s', async (why) => {
  if (why !== 'export is off') world.trace(send);
  await enrol(1);
  await world.release(1, plan, why === 'export is off' ? traceparent : undefined);
  await world.rounds(4);
  await world.rollouts.close();
  const { rolloutDevices, rollouts } = world.database.tables;
  const rows = await world.database.read.select().from(rolloutDevices).where(eq(rolloutDevices.deviceId, 'cam-0'));
  expect(rows).toMatchObject([{ activation: null }]);
  expect(await world.database.read.select().from(rollouts)).toMatchObject([{ tracedAt: null }]);
  expect(spans).toEqual([]);
});
