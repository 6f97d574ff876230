import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { createTurns } from './turns.ts';

describe('turns of large requests', () => {
  beforeEach(() => void vi.useFakeTimers());
  afterEach(() => void vi.useRealTimers());
  const start = () => createTurns({ smallBytes: 10, atOnceBytes: 100, turnMs: 1000, waitMs: 3000 });

  /** Takes a turn and writes down that it began; gives what ends it. */
  function enter(turns: ReturnType<typeof start>, bytes: number, began: number[]): Promise<() => void> {
    const turn = turns.take(bytes);
    if (!turn) throw new Error('a small request');
    return turn.then((end) => {
      began.push(bytes);
      return end;
    });
  }
  const settled = () => vi.advanceTimersByTimeAsync(0);

  it('come in order, as many at once as fit together', async () => {
    const turns = start();
    const began: number[] = [];
    expect(turns.take(9)).toBeUndefined();
    const [first, second] = await Promise.all([enter(turns, 60, began), enter(turns, 40, began)]);
    void enter(turns, 50, began);
    void enter(turns, 30, began);
    void enter(turns, 21, began);
    await settled();
    expect(began).toEqual([60, 40]);
    second();
    second();
    await settled();
    expect(began).toEqual([60, 40]);
    first();
    await settled();
    expect(began).toEqual([60, 40, 50, 30]);
  });

  it('let one that is larger than all have it alone', async () => {
    const turns = start();
    const began: number[] = [];
    const end = await enter(turns, 500, began);
    void enter(turns, 10, began);
    await settled();
    expect(began).toEqual([500]);
    end();
    await settled();
    expect(began).toEqual([500, 10]);
  });

  it('are not held up by one that lasts, and are refused with a time to come back when none is free', async () => {
    const turns = start();
    const began: number[] = [];
    await enter(turns, 90, began);
    void enter(turns, 90, began);
    await vi.advanceTimersByTimeAsync(1000);
    expect(began).toEqual([90, 90]);
    const refused = Array.from({ length: 4 }, () => enter(turns, 90, began).catch((error: unknown) => error));
    await vi.advanceTimersByTimeAsync(3000);
    expect(await refused.at(-1)).toMatchObject({ code: 'unavailable', retryAfterSeconds: 1 });
    expect(began.length).toBeLessThan(6);
  });
});
