import { RolloutGates } from '@edgeloop/shared/api/rollouts';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { variantOf } from './device-state.ts';
import { failedVariantGate } from './gates.ts';
import { openRollouts, type World } from './rollouts-fixture.ts';

let world: World;
const devices = Array.from({ length: 12 }, (_, at) => `edge-${String(at).padStart(2, '0')}`);
beforeAll(async () => {
  world = await openRollouts(3);
  for (const id of devices) await world.enrol(id);
});
afterAll(() => world.close());

/** Devices do as they are told; those of `int8` come with that variant and fail, or not. */
async function obey(int8: readonly string[], fails: boolean): Promise<void> {
  await world.obey();
  for (const [id, { models }] of world.desired) {
    const wanted = models.find(({ name }) => name === 'net');
    if (wanted === undefined || wanted.version === 1) continue;
    const { version, release, rolloutId } = wanted;
    const variant = int8.includes(id) ? 'int8' : 'default';
    const error = {
      code: 'unsupported',
      message: 'takes 9 ms on this device, its bound is 5 ms',
      kind: 'contract' as const,
    };
    const candidate = { version, variant, rolloutId, since: 0, error, state: 'failed' as const };
    if (fails && variant === 'int8') await world.report(id, { active: null, lastGood: null, candidate });
    else
      await world.report(id, { active: { version, release, variant, since: 0 }, lastGood: version, candidate: null });
  }
}

test('a variant that fails fails the wave, though the devices with the other do well', async () => {
  const plan = {
    waves: [{ percent: 100 }],
    gates: { minRequests: 0, maxFailedDevices: 0.3 },
    onFailure: 'pause' as const,
  };
  const rollout = await world.release(2, plan);
  for (let round = 0; round < 3; round++) {
    world.pass(2);
    await world.rollouts.look();
    // Two of twelve: fewer than may fail of all devices.
    await obey(devices.slice(0, 2), true);
  }
  await world.rollouts.look();
  const detail = await world.rollouts.detail(rollout.id);
  expect(detail.state).toMatchObject({ phase: 'paused' });
  expect(detail.status).toContain('2 of 2 devices of this wave with the variant "int8" failed, allowed are 30 %');
  expect(detail.devices.map(({ variant }) => variant)).toEqual(['int8', 'int8', ...Array(10).fill('default')]);
});

test('a device that tries the version beside its own has the variant that it says', () => {
  const since = 0;
  const active = { version: 1, since, variant: 'default' };
  const running = { version: 2, release: 'b'.repeat(64), rolloutId: 'r', state: 'running' as const, since };
  const of = (version: number, more: object) =>
    variantOf({ version }, { report: { name: 'net', active, lastGood: 1, candidate: null, ...more } });
  expect(of(2, { beside: { ...running, variant: 'int8' } })).toBe('int8');
  expect([of(2, { beside: running }), of(2, {}), of(3, { beside: { ...running, variant: 'int8' } })]).toEqual([
    undefined,
    undefined,
    undefined,
  ]);
  expect(of(1, { beside: { ...running, variant: 'int8' } })).toBe('default');
});

test('a device under way that has not said its variant may have any of them', () => {
  const gates = RolloutGates.parse({ maxFailedDevices: 0.3 });
  const none = { healthy: 0, bad: 0, pending: 0, skipped: 0 };
  const judged = (pending: number) => {
    const int8 = { name: 'int8', wave: { ...none, bad: 1 }, all: { ...none, bad: 1 } };
    const whole = { ...none, bad: 1, pending };
    return failedVariantGate(gates, { wave: whole, all: whole, variants: [int8] })?.detail;
  };
  expect(judged(4)).toBeUndefined();
  expect(judged(2)).toBe('1 of 3 devices of this wave with the variant "int8" failed, allowed are 30 %');
});
