import { RolloutRehearsal } from '@edgeloop/shared/api/forecasts';
import { type RolloutDetail, RolloutGates } from '@edgeloop/shared/api/rollouts';
import { pino } from 'pino';
import { Registry } from 'prom-client';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { type Behaviour, normalOf, randomOf, stuck, usual } from '../gates/field-fixture.ts';
import { createTelemetry } from '../telemetry/telemetry.ts';
import { batchOf, keepAll, labelOf, windowOf } from '../telemetry/telemetry-fixture.ts';
import { openRollouts, type World } from './rollouts-fixture.ts';

const ids = Array.from({ length: 10 }, (_, i) => `device-${i}`);
const classes = ['a', 'b', 'c', 'd'];

let world: World;
let field: Awaited<ReturnType<typeof openField>>;
beforeEach(async () => {
  world = await openRollouts();
  field = await openField();
  for (const id of ids) await world.enrol(id);
});
afterEach(async () => {
  await field.close();
  await world.close();
});

/** Devices answer with what they run, and are told the truth a moment later, over the real telemetry. */
async function openField() {
  const telemetry = createTelemetry({
    ...{ database: world.database, now: world.now, metrics: new Registry(), notify: () => undefined },
    claims: { judge: async () => () => 'counted', disregard: async () => undefined },
    devicesMatching: async () => new Set(),
    knownDevices: async () => new Map(),
    rollupLabels: [],
    driftSeries: async () => [],
    keep: keepAll,
    log: pino({ level: 'silent' }),
  });
  world.field.mockImplementation(telemetry.fieldEvidence);
  world.evidence.mockImplementation(telemetry.evidence);
  world.traffic.mockImplementation(telemetry.traffic);
  const random = randomOf(17);
  const versions = new Map<number, Behaviour>([[1, usual]]);
  let sequence = 1;
  let labels = true;

  async function answer(deviceId: string, version: number, requests: number): Promise<void> {
    const behaviour = versions.get(version) ?? usual;
    const startedAt = world.now();
    const failed = Array.from({ length: requests }, () => random() < behaviour.errors).filter(Boolean).length;
    const latencies = Array.from(
      { length: requests - failed },
      () => behaviour.latencyMs * Math.exp(0.3 * normalOf(random)),
    );
    const truths = latencies.map((_, i) => classes[i % classes.length] ?? '');
    const said = truths.map((truth) => predictionOf(behaviour, truth));
    const window = windowOf({
      ...{ model: 'net', version, startedAt, endedAt: startedAt + 1000, latencies },
      ...{ succeeded: latencies.length, failed: failed > 0 ? { internal: failed } : {}, classes: counted(said) },
    });
    const told = truths.map((label, i) =>
      labelOf({
        ...{ model: 'net', version, predictedAt: startedAt, labelledAt: startedAt + 500 },
        label,
        predicted: said[i] ?? '',
        inferenceId: `${sequence}-${i}`,
      }),
    );
    const items = labels ? [window, { kind: 'labels' as const, labels: told }] : [window];
    await telemetry.ingest(deviceId, batchOf(items, { first: sequence }));
    sequence += items.length;
  }

  function predictionOf({ classes: shares, accuracy }: Behaviour, truth: string): string {
    const only = shares.indexOf(1);
    if (only >= 0) return classes[only] ?? '';
    return random() < accuracy ? truth : 'b';
  }

  return {
    versions,
    unlabelled() {
      labels = false;
    },
    /** Time passes, devices do as they are told and answer with what they run. */
    async rounds(times: number, requests = 20): Promise<void> {
      for (let i = 0; i < times; i++) {
        await world.round();
        for (const [id, version] of Object.entries(world.running())) {
          if (typeof version === 'number') await answer(id, version, requests);
        }
      }
    },
    close: () => telemetry.close(),
  };
}

function counted(names: readonly string[]): Record<string, number> {
  const counts: Record<string, number> = {};
  for (const name of names) counts[name] = (counts[name] ?? 0) + 1;
  return counts;
}

/** Version 1 has served for a while; then version 2, which behaves so, is released. */
async function releasedAfterAWhile(behaviour: Behaviour, plan: Parameters<World['release']>[1] = {}): Promise<string> {
  await world.release(1, { waves: [{ percent: 100 }], gates: RolloutGates.parse({ minRequests: 0 }) });
  await field.rounds(8);
  expect(new Set(Object.values(world.running()))).toEqual(new Set([1]));
  field.versions.set(2, behaviour);
  return (await world.release(2, plan)).id;
}

async function ended(id: string, most = 40): Promise<RolloutDetail> {
  for (let i = 0; i < most; i++) {
    const detail = await world.rollouts.detail(id);
    if (!['running', 'rolling_back'].includes(detail.state.phase)) return detail;
    await field.rounds(1);
  }
  return world.rollouts.detail(id);
}

describe('a rollout over a fleet that answers', () => {
  it('completes with a version that does as well as the one before', async () => {
    const id = await releasedAfterAWhile(usual);
    const detail = await ended(id);
    expect(detail.state).toMatchObject({ phase: 'completed' });
    expect(new Set(Object.values(world.running()))).toEqual(new Set([2]));
  });

  it.each([
    ['always answers the same class', stuck, /^wave 1: accuracy 2\d.*, 9\d.* on the rest in the same time/],
    ['is slow', { ...usual, latencyMs: 100 }, /^wave 1: 90 % of requests within 1\d\d ms in this wave, .* times/],
    ['errs', { ...usual, errors: 0.3 }, /^wave 1: \d+ of \d+ requests failed/],
  ])('stops in its first wave and goes back when the version %s', async (_what, behaviour, why) => {
    const id = await releasedAfterAWhile(behaviour);
    const detail = await ended(id);
    expect(detail.state).toMatchObject({ phase: 'rolled_back', reason: expect.stringMatching(why) });
    expect(new Set(detail.devices.filter(({ wave }) => wave > 0).map(({ state }) => state))).toEqual(
      new Set(['unreached']),
    );
    expect(detail.waves).toMatchObject([{ wave: 0, outcome: 'failed' }]);
    expect(detail.waves[0]?.gates.find(({ verdict }) => verdict === 'failed')?.numbers).toMatchObject({
      alpha: expect.any(Number),
    });
    expect(new Set(Object.values(world.running()))).toEqual(new Set([1]));
  });

  it('sees the same after a restart in the midst of it', async () => {
    const id = await releasedAfterAWhile(stuck);
    await field.rounds(2);
    world.restart();
    const detail = await ended(id);
    expect(detail.state).toMatchObject({ phase: 'rolled_back', reason: expect.stringMatching(/^wave 1: accuracy/) });
  });

  it('compares with the last period when all get the version at once', async () => {
    const id = await releasedAfterAWhile(stuck, { waves: [{ percent: 100 }] });
    const detail = await ended(id);
    expect(detail.state).toMatchObject({
      phase: 'rolled_back',
      reason: expect.stringContaining('in the last period of the old version'),
    });
  });

  it('waits for labels where they used to come, and pauses with the reason when they stay away', async () => {
    const id = await releasedAfterAWhile(usual, { gates: RolloutGates.parse({ evidenceTimeoutSeconds: 20 }) });
    field.unlabelled();
    const detail = await ended(id);
    expect(detail.state).toMatchObject({
      phase: 'paused',
      reason: expect.stringMatching(/no verdict on wave 1 within 20 s: 0 labels seen in this wave, 50 needed/),
    });
  });

  it('completes a first version by absolute bounds, and says that there is nothing to compare with', async () => {
    field.versions.set(1, usual);
    const { id } = await world.release(1, { waves: [{ percent: 50 }, { percent: 100 }] });
    await field.rounds(4);
    const { gates } = await world.rollouts.detail(id);
    expect(gates.find(({ gate }) => gate === 'accuracy')).toMatchObject({
      verdict: 'inconclusive',
      blocking: false,
      detail: expect.stringContaining('only absolute bounds hold'),
    });
    expect((await ended(id)).state).toMatchObject({ phase: 'completed' });
  });
});

describe('a rehearsal', () => {
  const asked = RolloutRehearsal.parse({ model: 'net', version: 2, bakeSeconds: 60 });

  it('says which devices come in which wave, how long each takes, and what gates see by then', async () => {
    await world.release(1, { waves: [{ percent: 100 }], gates: RolloutGates.parse({ minRequests: 0 }) });
    await field.rounds(12, 3);
    const forecast = await world.rollouts.plan('key:test', asked);
    expect(forecast).toMatchObject({ devices: 10, supersedes: [], hours: expect.any(Number) });
    expect(forecast.waves.map(({ devices }) => devices)).toEqual([1, 4, 5]);
    expect(forecast.waves.map(({ comparedWith }) => comparedWith)).toEqual(['rest', 'rest', 'last_period']);
    const [first, second] = forecast.waves;
    const accuracy = first?.gates.find(({ gate }) => gate === 'accuracy');
    // Three requests twelve times, on one device; less than a minute counts as one.
    expect(accuracy?.perHour).toBeGreaterThan(1500);
    expect(accuracy?.perHour).toBeLessThan(2500);
    expect(accuracy?.hoursToMinimum).toBeLessThan(0.04);
    expect(accuracy?.detail).toMatch(/^with \d+ labels an hour this gate (needs|never sees) .*loss of 10 points/);
    expect(second?.gates.find(({ gate }) => gate === 'accuracy')?.seen).toBeLessThan(accuracy?.seen ?? 1);
    // Nothing has begun.
    await field.rounds(3);
    expect(new Set(Object.values(world.running()))).toEqual(new Set([1]));
    expect((await world.rollouts.list({ limit: 10 })).items).toHaveLength(1);
  });

  it('says beforehand that the evidence will not suffice', async () => {
    await world.release(1, { waves: [{ percent: 100 }], gates: RolloutGates.parse({ minRequests: 0 }) });
    await field.rounds(2, 0);
    const forecast = await world.rollouts.plan('key:test', asked);
    expect(forecast.hours).toBeNull();
    expect(forecast.waves[0]?.detail).toMatch(
      /^would pause for lack of evidence after .*: error_rate needs 20 requests, and 0 come/,
    );
  });

  it('names the rollout whose devices it would take over', async () => {
    const { id } = await world.release(1, { bakeSeconds: 600 });
    await world.round();
    expect(await world.rollouts.plan('key:test', asked)).toMatchObject({ supersedes: [id] });
    await expect(world.rollouts.plan('key:test', { ...asked, version: 99 })).rejects.toMatchObject({
      code: 'not_found',
    });
  });
});
