import type { DesiredModel } from '@edgeloop/shared/messages';
import { afterEach, beforeEach, expect, it, vi } from 'vitest';
import { Activation } from './activation.ts';

const release = (digit: number) => String(digit).repeat(64);
const wanted = (version: number, rolloutId = `r${version}`): DesiredModel => ({
  ...{ name: 'm', version, release: release(version), signature: '', rolloutId },
});

beforeEach(() => void vi.useFakeTimers());
afterEach(() => void vi.useRealTimers());

function activation() {
  const states: (string | undefined)[] = [];
  const served: number[] = [];
  const made: Activation = new Activation({
    activateMs: 100,
    changed: () => states.push(made.reports()[0]?.candidate?.state ?? `active ${made.active('m')?.version}`),
    served: (version) => served.push(version),
  });
  return { made, states, served };
}

it('takes a version in step by step, and answers with it from its probation on', () => {
  const { made, states, served } = activation();
  made.follow({ generation: 1, models: [wanted(1)] });
  expect(made.active('m')).toBeUndefined();
  vi.advanceTimersByTime(100);
  expect(made.active('m')).toEqual({ version: 1, release: release(1) });
  vi.advanceTimersByTime(100);
  expect(states).toEqual(['fetching', 'probation', 'active 1']);
  expect(served).toEqual([1]);
  expect(made.generation).toBe(1);
});

it('follows the newest word: an older one is passed over, a newer one takes over on the way', () => {
  const { made, served } = activation();
  made.follow({ generation: 5, models: [wanted(1)] });
  made.follow({ generation: 6, models: [wanted(2)] });
  made.follow({ generation: 4, models: [wanted(3)] });
  vi.advanceTimersByTime(1000);
  expect(made.active('m')?.version).toBe(2);
  expect(served).toEqual([2]);
});

it('goes on where it is when it is told the same once more, as after a reconnect', () => {
  const { made, served } = activation();
  made.follow({ generation: 1, models: [wanted(1)] });
  vi.advanceTimersByTime(90);
  made.follow({ generation: 1, models: [wanted(1)] });
  vi.advanceTimersByTime(110);
  expect(served).toEqual([1]);
  made.follow({ generation: 1, models: [wanted(1)] });
  vi.advanceTimersByTime(1000);
  expect(served).toEqual([1]);
});

it('runs nothing that it should not run any more', () => {
  const { made } = activation();
  made.follow({ generation: 1, models: [wanted(1)] });
  vi.advanceTimersByTime(1000);
  made.follow({ generation: 2, models: [] });
  expect(made.reports()).toEqual([]);
  expect(made.active('m')).toBeUndefined();
});
