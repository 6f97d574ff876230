import { describe, expect, it } from 'vitest';
import type { Lane } from './lane.ts';
import { createWatchdog } from './watchdog.ts';

describe('the watchdog', () => {
  it('tells once of a run that is late, once when it exceeds its bound, and never of short runs or of idle threads', () => {
    const state = { runs: 0, running: 5, nowMs: 0 };
    const stuck: number[] = [];
    const late: number[] = [];
    const lane: Lane = {
      plannedMs: 0,
      plannedBytes: 0,
      opening: false,
      late: false,
      full: false,
      thread: {
        started: Promise.resolve(),
        runs: () => state.runs,
        running: () => state.running,
        processorMs: () => undefined,
        submit: () => undefined,
        cancel: () => false,
        depth: () => 0,
        open: () => Promise.reject(new Error('not here')),
        close: () => Promise.resolve(),
        end: () => Promise.resolve(),
        wake: () => undefined,
        takeBack: () => undefined,
      },
    };
    const onStuck = (_: Lane, model: number): void => void stuck.push(model);
    const look = createWatchdog({
      lanes: () => [lane],
      lateMs: 300,
      onLate: (_, model) => void late.push(model),
      maxRunMs: () => 1000,
      onStuck,
      nowMs: () => state.nowMs,
    });
    const lookAt = (nowMs: number, runs: number): void => {
      Object.assign(state, { nowMs, runs });
      look();
    };
    for (let i = 0; i < 40; i++) lookAt(i * 100, 0);
    for (let i = 0; i < 40; i++) lookAt(4000 + i * 100, i);
    expect([...late, ...stuck]).toEqual([]);
    for (let i = 0; i < 5; i++) lookAt(8000 + i * 100, 41);
    expect({ late, stuck }).toEqual({ late: [5], stuck: [] });
    for (let i = 5; i < 20; i++) lookAt(8000 + i * 100, 41);
    expect(late).toEqual([5]);
    expect(stuck).toEqual([5]);
    for (let i = 0; i < 20; i++) lookAt(10000 + i * 100, 43);
    expect(stuck).toEqual([5, 5]);
  });
});
