import { PassThrough } from 'node:stream';
import { expect, it } from 'vitest';
import { createValve } from './valve.ts';

/** Connections that are read as the broker reads them. */
function connections(count: number) {
  const valve = createValve();
  const read: number[] = [];
  const all = Array.from({ length: count }, (_, i) => {
    const connection = new PassThrough({ highWaterMark: 1000 });
    valve.fit(connection);
    connection.on('readable', () => {
      const chunk: Buffer | null = connection.read();
      if (chunk !== null) read.push(i);
    });
    return connection;
  });
  return { valve, read, all };
}
const turn = () => new Promise((resolve) => setImmediate(resolve));

it('reads nothing while it is shut, and the sender has to wait', async () => {
  const { valve, read, all } = connections(1);
  valve.set('shut');
  const [one] = all;
  let taken = true;
  for (let i = 0; i < 10; i++) taken = one?.write(Buffer.alloc(500)) ?? true;
  await turn();
  expect(read).toEqual([]);
  expect(taken).toBe(false);
  expect(one?.readableLength).toBeLessThanOrEqual(1000);
  valve.set('open');
  await expect.poll(() => one?.readableLength).toBe(0);
  expect(read.length).toBeGreaterThan(0);
});

it('opens a few connections at a time, and stops at once when it is shut again', async () => {
  const { valve, read, all } = connections(100);
  valve.set('shut');
  for (const each of all) each.write(Buffer.alloc(10));
  await turn();
  valve.set('open');
  await turn();
  valve.set('shut');
  const before = read.length;
  expect(before).toBeGreaterThan(0);
  expect(before).toBeLessThan(100);
  await turn();
  await turn();
  expect(read.length).toBe(before);
  valve.set('open');
  await expect.poll(() => read.length).toBe(100);
  expect(new Set(read).size).toBe(100);
});

it('forgets connections that end meanwhile', async () => {
  const { valve, read, all } = connections(3);
  valve.set('shut');
  for (const each of all) each.write(Buffer.alloc(10));
  await turn();
  all[1]?.destroy();
  await turn();
  valve.set('open');
  await expect.poll(() => read.length).toBe(2);
  expect(read).toEqual([0, 2]);
});
