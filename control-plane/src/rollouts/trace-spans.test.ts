import { type Rollout, RolloutPlan } from '@edgeloop/shared/api/rollouts';
import { expect, it } from 'vitest';
import { deviceSpans, rolloutSpans, type TracedMember } from './trace-spans.ts';

const traceId = 'a'.repeat(32);
const rollout: Rollout = {
  ...{ id: 'r1', model: 'net', version: 2, plan: RolloutPlan.parse({}), createdBy: 'key:ci' },
  ...{ createdAt: 1000, updatedAt: 9000, traceparent: `00-${traceId}-${'b'.repeat(16)}-01` },
  state: { phase: 'rolled_back', at: 9000, reason: 'wave 1: 1 of 1 devices failed' },
};
const member: TracedMember = {
  ...{ deviceId: 'cam', wave: 0, assignedAt: 2000, attempt: 1, outcome: null, detail: null },
  activation: {
    steps: [
      { state: 'fetching', at: 1900 },
      { state: 'verifying', at: 3000 },
    ],
    end: { at: 4000, state: 'failed', detail: 'integrity: bad hash' },
  },
};
const wave = {
  ...{ wave: 0, startedAt: 2000, endedAt: 5000, outcome: 'failed' as const, counts: { failed: 1 } },
  gates: [{ gate: 'failed_devices' as const, verdict: 'failed' as const, detail: '1 of 1 failed' }],
};

it('shows a device from being told to its last report, and the steps within', () => {
  const [device, ...steps] = deviceSpans(rollout, member);
  expect(device).toMatchObject({
    ...{ traceId, name: 'rollout.device', startedAt: 2000, endedAt: 4000, error: 'integrity: bad hash' },
    attributes: { 'edgeloop.device.id': 'cam', 'edgeloop.rollout.id': 'r1', 'edgeloop.outcome': 'failed' },
  });
  expect(steps).toMatchObject([
    { name: 'rollout.device.fetching', startedAt: 2000, endedAt: 3000, parentId: device?.id },
    { name: 'rollout.device.verifying', startedAt: 3000, endedAt: 4000, error: 'integrity: bad hash' },
  ]);
  expect(steps[0]).not.toHaveProperty('error');
});

it('shows a rollout under its request, waves under it and devices under their waves', () => {
  const history = [{ at: 1000, text: 'created by key:ci' }];
  const [whole, ofWave, ...rest] = rolloutSpans(rollout, { waves: [wave], history, members: [member] });
  expect(whole).toMatchObject({
    ...{ name: 'rollout', parentId: 'b'.repeat(16), startedAt: 1000, endedAt: 9000 },
    ...{ error: 'wave 1: 1 of 1 devices failed', events: [{ at: 1000, name: 'created by key:ci' }] },
  });
  expect(ofWave).toMatchObject({
    ...{ name: 'rollout.wave', parentId: whole?.id, startedAt: 2000, endedAt: 5000, error: '1 of 1 failed' },
    attributes: { 'edgeloop.wave': 0, 'edgeloop.gate.failed_devices': 'failed', 'edgeloop.devices.failed': 1 },
  });
  expect(deviceSpans(rollout, member)[0]?.parentId).toBe(ofWave?.id);
  // It ended before, and was sent then.
  expect(rest).toEqual([]);
});

it('ends devices under way with the rollout', () => {
  const open = { ...member, outcome: 'unreached' as const, detail: 'did not run it yet' };
  const members = [{ ...open, activation: { steps: [], end: null } }];
  const spans = rolloutSpans(rollout, { waves: [], history: [], members });
  expect(spans.slice(1)).toMatchObject([
    { name: 'rollout.device', endedAt: 9000, attributes: { 'edgeloop.outcome': 'unreached' } },
  ]);
});

it('gives each span an id of its own, and the same whenever it is made', () => {
  const make = () => [
    ...rolloutSpans(rollout, { waves: [wave, { ...wave, wave: 1 }], history: [], members: [] }),
    ...deviceSpans(rollout, member),
    ...deviceSpans(rollout, { ...member, deviceId: 'other' }),
    ...deviceSpans(rollout, { ...member, assignedAt: 2500, attempt: 2 }),
    ...deviceSpans(rollout, { ...member, wave: 1 }),
  ];
  const ids = make().map(({ id }) => id);
  expect(new Set(ids).size).toBe(ids.length);
  expect(ids.every((id) => /^[0-9a-f]{16}$/.test(id))).toBe(true);
  expect(make().map(({ id }) => id)).toEqual(ids);
});

it('shows nothing of a rollout without a trace, of one that goes on, and of a device that was not told', () => {
  const { traceparent: _, ...untraced } = rollout;
  const about = { waves: [wave], history: [], members: [member] };
  expect(rolloutSpans(untraced, about)).toEqual([]);
  expect(deviceSpans(untraced, member)).toEqual([]);
  const state = { phase: 'running' as const, wave: 0, step: 'deploying' as const, since: 0 };
  expect(rolloutSpans({ ...rollout, state }, about)).toEqual([]);
  expect(deviceSpans(rollout, { ...member, assignedAt: null })).toEqual([]);
  expect(deviceSpans(rollout, { ...member, activation: null })).toEqual([]);
});
