import { getEventListeners } from 'node:events';
import { expect, it } from 'vitest';
import { z } from 'zod';
import { pause } from './backoff.ts';
import { createBell } from './bell.ts';

const hour = 3_600_000;

/** What hangs on a signal: its listeners, and the signals that `AbortSignal.any` has made from it. */
function hangingOn(signal: AbortSignal): number {
  const made = Object.getOwnPropertySymbols(signal).find(({ description }) => description === 'kDependantSignals');
  const { size } = z.object({ size: z.number() }).parse((made && Reflect.get(signal, made)) ?? { size: 0 });
  return getEventListeners(signal, 'abort').length + size;
}

it('what hangs on a signal can be counted', () => {
  const { signal } = new AbortController();
  expect(hangingOn(signal)).toBe(0);
  AbortSignal.any([signal, new AbortController().signal]);
  expect(hangingOn(signal)).toBe(1);
  signal.addEventListener('abort', () => undefined);
  expect(hangingOn(signal)).toBe(2);
});

it('a rest ends when its time is over, when the bell is rung and when it is aborted', async () => {
  const bell = createBell();
  const stop = new AbortController();
  await bell.rest(1, stop.signal);
  expect(bell.answer()).toBe(false);
  const rung = bell.rest(hour, stop.signal);
  bell.ring();
  await rung;
  expect(bell.answer()).toBe(true);
  const stopped = bell.rest(hour, stop.signal);
  stop.abort();
  await stopped;
  await bell.rest(hour, stop.signal);
  expect(bell.answer()).toBe(false);
});

it('who rings while nobody rests ends the next rest, until it is answered', async () => {
  const bell = createBell();
  const { signal } = new AbortController();
  bell.ring();
  bell.ring();
  await bell.rest(hour, signal);
  expect(bell.answer()).toBe(true);
  expect(bell.answer()).toBe(false);
  let over = false;
  const resting = bell.rest(hour, signal).then(() => {
    over = true;
  });
  await Promise.resolve();
  expect(over).toBe(false);
  bell.ring();
  await resting;
});

it('a thousand rests leave nothing on the signal, however they end', async () => {
  const bell = createBell();
  const { signal } = new AbortController();
  for (let i = 0; i < 1000; i++) {
    const resting = i % 100 === 0 ? bell.rest(0, signal) : bell.rest(hour, signal);
    if (i % 100 !== 0) bell.ring();
    await resting;
    bell.answer();
  }
  expect(hangingOn(signal)).toBe(0);
});

it('neither do pauses', async () => {
  const { signal } = new AbortController();
  for (let i = 0; i < 20; i++) await pause(0, signal);
  expect(hangingOn(signal)).toBe(0);
});
