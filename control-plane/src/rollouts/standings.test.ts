import { RolloutPlan, type RolloutState } from '@edgeloop/shared/api/rollouts';
import { expect, it, vi } from 'vitest';
import { type DeviceView, observe } from './device-state.ts';
import { decide } from './rollout-state.ts';
import { waveOrder } from './waves.ts';

vi.mock('./waves.ts', { spy: true });
vi.mock('./device-state.ts', { spy: true });

const now = 1_000_000;
const subject = {
  id: 'rollout-2',
  model: 'net',
  version: 2,
  plan: RolloutPlan.parse({ waves: [{ percent: 20 }, { percent: 60 }, { percent: 100 }], bakeSeconds: 10 }),
};
const running = { phase: 'running', wave: 0, step: 'judging', since: now - 1000 } as const;

/** Ten devices; two of them have the version and serve it well. */
const devices = Array.from({ length: 10 }, (_, i): DeviceView => {
  const given = i < 2;
  const times = { assignedAt: now - 60_000, connectionSince: now - 60_000, servingSince: now - 50_000 };
  return {
    id: `d${i}`,
    matches: true,
    claimedBy: null,
    online: true,
    lastSeenAt: now,
    problems: [],
    report: { name: 'net', active: { version: given ? 2 : 1, since: 0 }, lastGood: 1, candidate: null },
    desired: { version: given ? 2 : 1, release: 'a'.repeat(64), rolloutId: given ? 'rollout-2' : 'rollout-1' },
    member: given ? { wave: 0, online: true, ...times } : null,
  };
});

it.each<[string, RolloutState, number]>([
  ['that waits for requests', running, 0],
  ['whose next wave begins', running, 5000],
  ['that fails', running, -5000],
  ['that is paused', { phase: 'paused', reason: '', resume: running }, 0],
  ['that is rolled back', { phase: 'rolling_back', since: now, reason: '' }, 0],
  ['that is completed', { phase: 'completed', at: now }, 0],
])('one look at a rollout %s puts the waves in order once and takes up each member once', (_, state, requests) => {
  const counts = { requests: Math.abs(requests), failed: requests < 0 ? -requests : 0 };
  vi.clearAllMocks();
  const decision = decide({
    subject,
    state,
    devices,
    evidence: { wave: counts, all: counts },
    now,
    listeningSince: 0,
  });
  expect(decision.assign.length > 0).toBe(requests > 0);
  expect(decision.revert.length > 0).toBe(requests < 0 || state.phase === 'rolling_back');
  expect(vi.mocked(waveOrder)).toHaveBeenCalledTimes(1);
  expect(vi.mocked(observe)).toHaveBeenCalledTimes(2);
});
