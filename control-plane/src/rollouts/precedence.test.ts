import { type Rollout, RolloutPlan, type RolloutState } from '@edgeloop/shared/api/rollouts';
import { describe, expect, it } from 'vitest';
import { claimantOf, claimsOn, fallbackOf, followedBy } from './precedence.ts';

const running: RolloutState = { phase: 'running', wave: 0, step: 'deploying', since: 0 };
const states = {
  running,
  paused: { phase: 'paused', reason: '', resume: running },
  completed: { phase: 'completed', at: 0 },
  cancelled: { phase: 'cancelled', at: 0, reason: '' },
  rolled_back: { phase: 'rolled_back', at: 0, reason: '' },
} as const;

function rollout(id: string, selector: string, phase: keyof typeof states, follow = true): Rollout {
  const plan = RolloutPlan.parse({ selector, follow });
  return {
    id,
    model: 'net',
    version: 1,
    plan,
    state: states[phase],
    createdAt: 0,
    createdBy: 'key:test',
    updatedAt: 0,
  };
}
const at = (site: string, owner?: string) => ({ labels: { site }, owner });

describe('a device is taken no more by a rollout', () => {
  const claimant = (device: ReturnType<typeof at>, ...others: Rollout[]) =>
    claimantOf(rollout('r1', '', 'running'), claimsOn('net', others), device);

  it('when a newer one has started and matches it, the newest of those', () => {
    const others = [
      rollout('r0', '', 'running'),
      rollout('r2', 'site=x', 'paused'),
      rollout('r3', 'site=x', 'running'),
    ];
    expect(claimant(at('x'), ...others)).toBe('r3');
    expect(claimant(at('y'), ...others)).toBeNull();
    expect(claimant(at('x'), { ...rollout('r2', '', 'running'), model: 'other' })).toBeNull();
  });

  it('when a newer one has it, even if that was cancelled; by itself a cancelled or rolled back one claims nothing', () => {
    expect(claimant(at('x', 'r2'), rollout('r2', '', 'cancelled'))).toBe('r2');
    expect(claimant(at('x', 'r0'), rollout('r2', '', 'cancelled'), rollout('r3', '', 'rolled_back'))).toBeNull();
    expect(claimant(at('x'), rollout('r2', '', 'completed', false))).toBeNull();
  });
});

it('many releases to the same devices cost no more than the newest', () => {
  const many = Array.from({ length: 50 }, (_, i) => rollout(`r${10 + i}`, 'site=x', 'completed'));
  expect(
    claimsOn('net', [...many, rollout('r70', 'site=x', 'running')]).newestFirst.map(({ rollout: { id } }) => id),
  ).toEqual(['r70', 'r59']);
});

describe('a device follows', () => {
  const follows = (device: ReturnType<typeof at>, ...others: Rollout[]) =>
    followedBy(claimsOn('net', others), device)?.id;
  const two = [rollout('r1', '', 'completed'), rollout('r2', 'site=x', 'completed')];

  it('the newest completed rollout that it matches, unless it has that or a newer one', () => {
    expect(
      [at('x'), at('x', 'r1'), at('x', 'r2'), at('x', 'r3'), at('y')].map((each) => follows(each, ...two)),
    ).toEqual(['r2', 'r2', undefined, undefined, 'r1']);
    expect(follows(at('x'), rollout('r1', '', 'completed', false))).toBeUndefined();
  });

  it('nothing older than a rollout under way, but for a device that runs nothing yet', () => {
    const under = rollout('r3', '', 'running');
    expect(follows(at('x', 'r1'), ...two, under)).toBeUndefined();
    expect(follows(at('x'), ...two, under)).toBe('r2');
  });
});

describe('a device goes back', () => {
  const back = (site: string, had: string | undefined, ...others: Rollout[]) =>
    fallbackOf(claimsOn('net', others), { labels: { site }, had });

  it('to the newest that completed on it, or that it would follow', () => {
    expect(back('x', 'r1', rollout('r2', 'site=y', 'completed'), rollout('r3', '', 'running'))).toBe('r1');
    expect(back('y', 'r1', rollout('r2', 'site=y', 'completed'))).toBe('r2');
    expect(back('y', 'r3', rollout('r2', 'site=y', 'completed'))).toBe('r3');
    expect(back('x', undefined, rollout('r2', '', 'running'), rollout('r3', '', 'cancelled'))).toBeUndefined();
  });
});

describe('priority', () => {
  const urgent = (id: string, phase: keyof typeof states): Rollout => ({
    ...rollout(id, '', phase),
    plan: RolloutPlan.parse({ priority: 5 }),
  });
  const normal = rollout('r2', '', 'running');

  it('goes before age while a rollout is under way, and is spent when it is over', () => {
    expect(claimantOf(normal, claimsOn('net', [urgent('r1', 'running')]), at('x'))).toBe('r1');
    expect(claimantOf(normal, claimsOn('net', [urgent('r1', 'paused')]), at('x', 'r1'))).toBe('r1');
    expect(claimantOf(normal, claimsOn('net', [urgent('r1', 'completed')]), at('x', 'r1'))).toBeNull();
    const mine = urgent('r1', 'running');
    expect(claimantOf(mine, claimsOn('net', [rollout('r2', '', 'running')]), at('x'))).toBeNull();
    expect(claimantOf(mine, claimsOn('net', [rollout('r2', '', 'running')]), at('x', 'r2'))).toBeNull();
    expect(claimantOf(mine, claimsOn('net', [urgent('r2', 'running')]), at('x'))).toBe('r2');
  });

  it('leaves a device to what completed meanwhile only when that takes it', () => {
    for (const priority of [0, 5]) {
      const mine = { ...rollout('r1', '', 'running'), plan: RolloutPlan.parse({ priority }) };
      const claims = claimsOn('net', [mine, rollout('r2', '', 'completed')]);
      const left = claimantOf(mine, claims, at('x', 'r1')) === 'r2';
      expect(left).toBe(followedBy(claims, at('x', 'r1'))?.id === 'r2');
      expect(left).toBe(priority === 0);
      // Also while it only tries its version beside what completed.
      expect(claimantOf(mine, claims, at('x', 'r2'))).toBe(priority === 0 ? 'r2' : null);
    }
    // What a cancelled one has given stays given, however urgent another is.
    expect(claimantOf(urgent('r1', 'running'), claimsOn('net', [rollout('r2', '', 'cancelled')]), at('x', 'r2'))).toBe(
      'r2',
    );
    const over = urgent('r1', 'completed');
    expect(claimantOf(over, claimsOn('net', [over, rollout('r2', '', 'completed')]), at('x', 'r2'))).toBe('r2');
  });

  it('keeps a device from following what completed meanwhile', () => {
    const claims = (phase: keyof typeof states) =>
      claimsOn('net', [urgent('r1', phase), rollout('r2', '', 'completed')]);
    expect(followedBy(claims('running'), at('x', 'r1'))).toBeUndefined();
    expect(followedBy(claims('completed'), at('x', 'r1'))?.id).toBe('r2');
  });
});
