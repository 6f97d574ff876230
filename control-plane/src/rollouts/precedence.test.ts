import { type Rollout, RolloutPlan } from '@edgeloop/shared/api/rollouts';
import { describe, expect, it } from 'vitest';
import { followers, successorOf } from './precedence.ts';

function rollout(id: string, selector: string, follow = true): Rollout {
  const plan = RolloutPlan.parse({ selector, follow });
  const state = { phase: 'completed' as const, at: 0 };
  return { id, model: 'net', version: 1, plan, state, createdAt: 0, createdBy: 'key:test', updatedAt: 0 };
}
const device = (id: string, site: string, owner?: string) => ({ id, labels: { site }, owner });

describe('completed rollouts', () => {
  it('are followed by what neither they nor a newer one has, the newest first', () => {
    const devices = [
      device('new', 'x'),
      device('own', 'x', 'r2'),
      device('old', 'x', 'r1'),
      device('newer', 'x', 'r3'),
    ];
    const found = followers([rollout('r1', ''), rollout('r2', 'site=x')], () => [...devices, device('other', 'y')]);
    expect(found.map(({ rollout: { id }, deviceIds }) => [id, deviceIds])).toEqual([
      ['r2', ['new', 'old']],
      ['r1', ['other']],
    ]);
  });

  it('that say so are not followed', () => {
    expect(followers([rollout('r1', '', false)], () => [device('a', 'x')])).toEqual([]);
  });
});

describe('a rollout', () => {
  const devices = [device('a', 'x'), device('b', 'y')];
  const claims = { devices, members: new Set<string>() };

  it('is succeeded by the newest that started on a device it matches, or has', () => {
    const started = [rollout('r2', 'site=x'), rollout('r3', 'site=x'), rollout('r4', 'site=y'), rollout('r0', '')];
    expect(successorOf(rollout('r1', 'site=x'), started, claims)).toBe('r3');
    expect(successorOf(rollout('r1', 'site=x'), started, { devices, members: new Set(['b']) })).toBe('r4');
    expect(successorOf(rollout('r1', 'site=z'), started, claims)).toBeUndefined();
    expect(successorOf(rollout('r1', 'site=x'), [{ ...rollout('r2', ''), model: 'other' }], claims)).toBeUndefined();
  });
});
