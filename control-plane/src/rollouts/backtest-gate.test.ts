// A version is tried on captured samples before any device is told of it.
import type { Backtest } from '@edgeloop/shared/api/backtests';
import { type GateVerdict, RolloutGates } from '@edgeloop/shared/api/rollouts';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { openRollouts, type World } from './rollouts-fixture.ts';

let world: World;
beforeEach(async () => {
  world = await openRollouts();
  for (const id of ['a', 'b', 'c']) await world.enrol(id);
  await world.release(1, { waves: [{ percent: 100 }] });
  await world.rounds();
  expect(world.running()).toEqual({ a: 1, b: 1, c: 1 });
});
afterEach(async () => {
  await world.close();
});

const summary = 'of 120 samples of the last 7 days 9.2 % would be answered otherwise';
const backtest: Backtest = {
  ...{ id: 'b1', model: 'net', version: 2, status: 'done', rolloutId: 'r', report: null, error: null, summary },
  ...{ asked: { days: 7, limit: 1, selector: '' }, createdAt: 1, createdBy: 'key:test', startedAt: 1, endedAt: 2 },
};

/** What the backtest has come to. */
function says(verdict: GateVerdict['verdict'], blocking = true): void {
  world.backtests.of.mockResolvedValue({ backtest, verdict: { gate: 'backtest', verdict, detail: summary, blocking } });
}

const gated = (mode: 'gate' | 'warn' = 'gate') => ({
  gates: RolloutGates.parse({ backtest: { mode } }),
  bakeSeconds: 3,
});

describe('the gate before the first device', () => {
  it('tells nobody while the backtest is under way, also over a restart, and goes on once it has passed', async () => {
    says('waiting');
    const { id } = await world.release(2, gated());
    expect(world.backtests.ask).toHaveBeenLastCalledWith(
      expect.anything(),
      expect.objectContaining({ id }),
      'key:test',
    );
    await world.rounds(5);
    const detail = await world.rollouts.detail(id);
    expect(detail.state).toMatchObject({ phase: 'running', wave: 0, step: 'backtesting' });
    expect(detail.status).toContain(`it waits for its backtest, before any device is told: ${summary}`);
    expect(detail.backtest).toMatchObject({ id: 'b1' });
    world.restart();
    await world.rounds(5);
    expect(world.running()).toEqual({ a: 1, b: 1, c: 1 });
    says('passed');
    await world.rounds(20);
    expect(await world.phase(id)).toBe('completed');
    expect(world.running()).toEqual({ a: 2, b: 2, c: 2 });
    const { waves } = await world.rollouts.detail(id);
    expect(waves[0]?.gates.find(({ gate }) => gate === 'backtest')).toMatchObject({
      verdict: 'passed',
      detail: summary,
    });
  });

  it.each(['rollback', 'pause'] as const)(
    'tells nobody of a version that fails it, and ends as the policy says: %s',
    async (onFailure) => {
      says('failed');
      const { id } = await world.release(2, { ...gated(), onFailure });
      await world.rounds(5);
      const detail = await world.rollouts.detail(id);
      const reason = `before the first wave: ${summary}`;
      expect(detail.state).toMatchObject({ phase: onFailure === 'pause' ? 'paused' : 'rolled_back', reason });
      expect(detail.waves).toMatchObject([
        {
          wave: 0,
          outcome: 'failed',
          gates: expect.arrayContaining([expect.objectContaining({ gate: 'backtest', verdict: 'failed' })]),
        },
      ]);
      expect(detail.history.some(({ text }) => text.includes('version given'))).toBe(false);
      expect(world.running()).toEqual({ a: 1, b: 1, c: 1 });
      if (onFailure === 'rollback')
        expect(new Set(detail.devices.map(({ state }) => state))).toEqual(new Set(['unreached']));
    },
  );

  it('leaves devices to an older rollout until it begins itself, and for good when it never does', async () => {
    const { id: older } = await world.release(2, { bakeSeconds: 6, waves: [{ devices: 1 }, { percent: 100 }] });
    await world.rounds(2);
    says('waiting');
    const { id } = await world.release(3, gated());
    await world.rounds(12);
    expect(await world.phase(older)).toBe('completed');
    expect(world.running()).toEqual({ a: 2, b: 2, c: 2 });
    says('failed');
    await world.rounds(3);
    expect(await world.phase(id)).toBe('rolled_back');
    expect(world.running()).toEqual({ a: 2, b: 2, c: 2 });
    expect(await world.history(id)).toEqual([
      'created by key:test; 3 devices match now',
      'it is tried on captured samples before any device is told',
      `rolling back: before the first wave: ${summary}`,
      'rolled back',
    ]);
  });

  it('pauses for lack of samples, and has the backtest made anew when it is resumed', async () => {
    says('inconclusive');
    const { id } = await world.release(2, gated());
    await world.rounds(3);
    expect((await world.rollouts.detail(id)).state).toMatchObject({
      phase: 'paused',
      reason: `before the first wave: ${summary}`,
    });
    world.backtests.ask.mockClear();
    says('waiting');
    await world.rollouts.act('key:test', id, 'resume', '');
    expect(world.backtests.ask).toHaveBeenCalledOnce();
    await world.rounds(3);
    expect((await world.rollouts.detail(id)).state).toMatchObject({ phase: 'running', step: 'backtesting' });
    says('passed');
    await world.rounds(20);
    expect(await world.phase(id)).toBe('completed');
    // Once devices have been told, nothing is asked anew.
    world.backtests.ask.mockClear();
    const again = await world.release(3, gated());
    await world.rounds(2);
    await world.rollouts.act('key:test', again.id, 'pause', '');
    await world.rollouts.act('key:test', again.id, 'resume', '');
    expect(world.backtests.ask).toHaveBeenCalledOnce();
  });

  it('never passes when its backtest is lost', async () => {
    world.backtests.of.mockResolvedValue(undefined);
    const { id } = await world.release(2, gated());
    await world.rounds(3);
    expect((await world.rollouts.detail(id)).state).toMatchObject({
      phase: 'paused',
      reason: expect.stringContaining('there is no backtest'),
    });
    expect(world.running()).toEqual({ a: 1, b: 1, c: 1 });
  });

  it('only says what it thinks when it warns', async () => {
    says('failed', false);
    const { id } = await world.release(2, gated('warn'));
    await world.rounds(20);
    const detail = await world.rollouts.detail(id);
    expect(detail.state.phase).toBe('completed');
    expect(detail.waves[0]?.gates).toContainEqual(
      expect.objectContaining({ gate: 'backtest', verdict: 'failed', blocking: false }),
    );
  });

  it('is seen by whoever is to approve, and holds after the approval', async () => {
    says('failed');
    const { id } = await world.release(2, { ...gated(), approval: true });
    const { status } = await world.rollouts.detail(id);
    expect(status).toContain(`waits for approval`);
    expect(status).toContain(`its backtest: ${summary}`);
    expect((await world.rollouts.list({ limit: 1 })).items[0]?.status).toBe(status);
    await world.rollouts.approve({ name: 'key:test', role: 'operator' }, id, '');
    await world.rounds(5);
    expect(await world.phase(id)).toBe('rolled_back');
    expect(world.running()).toEqual({ a: 1, b: 1, c: 1 });
  });

  it('is excused by nobody being reachable as little as by anything else', async () => {
    says('inconclusive');
    for (const id of ['a', 'b', 'c']) await world.fleet.onPresence(id, { status: 'offline', session: 's' });
    const { id } = await world.release(2, { ...gated(), offlineAfterSeconds: 0 });
    await world.rounds(5);
    expect((await world.rollouts.detail(id)).state.phase).toBe('paused');
  });

  it('is asked of nobody by a plan without it', async () => {
    const { id } = await world.release(2);
    await world.rounds(20);
    expect(world.backtests.of).not.toHaveBeenCalled();
    const detail = await world.rollouts.detail(id);
    expect(detail).toMatchObject({ state: { phase: 'completed' }, backtest: null });
    expect(detail.waves.flatMap(({ gates }) => gates).some(({ gate }) => gate === 'backtest')).toBe(false);
  });
});
