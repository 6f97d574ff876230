import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { afterEach, expect, it } from 'vitest';
import { type WatchOptions, watchServing } from './watch.ts';

let child: ChildProcess | undefined;
afterEach(async () => {
  if (child === undefined) return;
  child.kill('SIGKILL');
  await once(child, 'exit');
});

async function process_(script: string): Promise<number> {
  child = spawn(process.execPath, ['-e', `${script}; setInterval(() => {}, 1000); console.log('up')`]);
  if (child.stdout !== null) await once(child.stdout, 'data');
  return child.pid ?? 0;
}

function fault(pid: number, bounds: Partial<WatchOptions>): Promise<{ reason: string; detail: string }> {
  return new Promise((resolve) => {
    watchServing({
      pid,
      silenceMs: 60_000,
      startMs: 60_000,
      maxRssBytes: 2 ** 40,
      onFault: (reason, detail) => resolve({ reason, detail }),
      ...bounds,
    });
  });
}

it('sees that a process takes more memory than it may, and names the setting', async () => {
  const pid = await process_('globalThis.kept = Buffer.alloc(200e6, 1)');
  expect(await fault(pid, { maxRssBytes: 150e6 })).toEqual({
    reason: 'memory',
    detail: expect.stringMatching(/^it used \d+ MB, allowed are 143 MB \(EDGELOOP_MEMORY_MB\)/),
  });
});

it('sees that a process leaks, a little at a time', async () => {
  const pid = await process_('globalThis.kept = []; setInterval(() => kept.push(Buffer.alloc(4e6, 1)), 20)');
  const { reason, detail } = await fault(pid, { maxRssBytes: 150e6 });
  expect(reason).toBe('memory');
  // Soon after it has passed the bound.
  expect(Number(/^it used (\d+) MB/.exec(detail)?.[1])).toBeLessThan(1000);
});

it('counts a process that says nothing as stuck, sooner once it has said something', async () => {
  const pid = await process_('');
  expect(await fault(pid, { startMs: 250 })).toMatchObject({ reason: 'silence' });
  const stuck = new Promise<string>((resolve) => {
    const watch = watchServing({
      pid,
      silenceMs: 250,
      startMs: 60_000,
      maxRssBytes: 2 ** 40,
      onFault: (reason) => resolve(reason),
    });
    watch.heard();
  });
  expect(await stuck).toBe('silence');
});
