import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { pino } from 'pino';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { startServing } from './serving-life.ts';
import { createSpare, type SpareOptions } from './spare.ts';

describe('the spare serving process', () => {
  const started: ChildProcess[] = [];
  afterEach(() => {
    for (const child of started.splice(0)) child.kill('SIGKILL');
  });
  const log = pino({ level: 'silent' });
  const env = { ...process.env, EDGELOOP_SERVING_CONFIG: JSON.stringify({ agentVersion: '0.0.1', logLevel: 'warn' }) };
  const spareOf = (more: Partial<SpareOptions> = {}) => {
    const start = vi.fn(() => {
      const child = startServing({ marker: 'spare-test', env, log }, true);
      started.push(child);
      return child;
    });
    return { spare: createSpare({ log, start, mode: 'on', memoryBytes: 2 ** 31, ...more }), start };
  };

  it('says nothing before it is told to begin, and then serves', async () => {
    const { spare, start } = spareOf();
    spare.keep();
    spare.keep();
    expect(start).toHaveBeenCalledTimes(1);
    const child = spare.take();
    expect(spare.take()).toBeUndefined();
    if (child === undefined) return expect.unreachable();
    const said: unknown[] = [];
    child.on('message', (message) => said.push(message));
    // Others say something every second, once they have begun.
    const other = startServing({ marker: 'spare-test', env, log }, false);
    started.push(other);
    await once(other, 'message');
    await once(other, 'message');
    expect(said).toEqual([]);
    child.send({ kind: 'begin' });
    await vi.waitUntil(() => said.length > 0, { timeout: 30_000 });
    expect(said[0]).toEqual({ kind: 'started' });
  });

  it('is not there when it has ended, on a machine with little memory, or when nobody wants it', async () => {
    const { spare, start } = spareOf();
    spare.keep();
    const [child] = started;
    child?.kill('SIGKILL');
    if (child) await once(child, 'exit');
    expect(spare.take()).toBeUndefined();
    spare.keep();
    expect(start).toHaveBeenCalledTimes(2);
    spare.end();
    await vi.waitUntil(() => started[1]?.signalCode === 'SIGKILL', { timeout: 15_000 });

    const small = spareOf({ memoryBytes: 2 ** 29 });
    small.spare.keep();
    expect(small.start).not.toHaveBeenCalled();

    const unwanted = spareOf({ mode: 'off' });
    unwanted.spare.keep();
    expect(unwanted.start).not.toHaveBeenCalled();
  });

  it('waits by itself only while a death is likely, once the process that serves is up', () => {
    vi.useFakeTimers();
    try {
      const { spare, start } = spareOf({ mode: 'auto' });
      spare.keep();
      expect(start).not.toHaveBeenCalled();
      spare.expectDeath(1000);
      expect(start).toHaveBeenCalledTimes(1);
      spare.expectDeath(100);
      vi.advanceTimersByTime(900);
      spare.expectDeath(1000);
      vi.advanceTimersByTime(900);
      expect(spare.take()).toBe(started[0]);
      // The next one is not begun beside a start that callers wait for.
      spare.expectDeath(5000);
      expect(start).toHaveBeenCalledTimes(1);
      spare.keep();
      expect(start).toHaveBeenCalledTimes(2);
      vi.advanceTimersByTime(5000);
      expect(started[1]?.killed).toBe(true);
      expect(spare.take()).toBeUndefined();
      spare.keep();
      expect(start).toHaveBeenCalledTimes(2);
    } finally {
      vi.useRealTimers();
    }
  });

  it('is done without when it cannot be started', async () => {
    const throwing = spareOf({
      start: () => {
        throw new Error('no memory');
      },
    });
    throwing.spare.keep();
    expect(throwing.spare.take()).toBeUndefined();
    const missing = spareOf({ start: () => fork('nothing', [], { execPath: '/nowhere/node' }) });
    missing.spare.keep();
    await vi.waitUntil(() => missing.spare.take() === undefined, { timeout: 15_000 });
  });
});
