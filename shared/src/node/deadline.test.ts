import { getEventListeners, once } from 'node:events';
import { expect, it } from 'vitest';
import { withDeadline } from './deadline.ts';

const hour = 3_600_000;
const untilAborted = async (signal: AbortSignal): Promise<unknown> => {
  if (!signal.aborted) await once(signal, 'abort');
  return signal.reason;
};

it('ends work that takes too long, and work that is stopped', async () => {
  const stop = new AbortController();
  expect(await withDeadline(1, stop.signal, untilAborted)).toMatchObject({ name: 'TimeoutError' });
  const stopped = withDeadline(hour, stop.signal, untilAborted);
  stop.abort('enough');
  expect(await stopped).toBe('enough');
  expect(await withDeadline(hour, stop.signal, untilAborted)).toBe('enough');
});

it('settles as the work does, and leaves nothing on the signal', async () => {
  const { signal } = new AbortController();
  expect(await withDeadline(hour, signal, async () => 3)).toBe(3);
  await expect(withDeadline(hour, signal, () => Promise.reject(new Error('no')))).rejects.toThrow('no');
  expect(getEventListeners(signal, 'abort')).toEqual([]);
});
