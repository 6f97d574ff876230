import { Socket } from 'node:net';
import { afterEach, beforeEach, expect, it, vi } from 'vitest';
import { Admission } from './admission.ts';

beforeEach(() => void vi.useFakeTimers());
afterEach(() => void vi.useRealTimers());

let ports = 0;
class FakeSocket extends Socket {
  override readonly remoteAddress = '10.0.0.1';
  override readonly remotePort = ++ports;
}

function admission(atOnce = 2) {
  const begun: Socket[] = [];
  const made = new Admission({
    ...{ atOnce, patienceMs: 1000, waitMs: 9000, now: Date.now },
    begin: (socket) => begun.push(socket),
  });
  return { made, begun };
}
const sockets = (count: number) => Array.from({ length: count }, () => new FakeSocket());

it('lets in a few at a time, in the order in which they came', () => {
  const { made, begun } = admission();
  const all = sockets(5);
  for (const socket of all) made.enter(socket);
  expect(begun).toEqual(all.slice(0, 2));
  made.arrived(all[1] as FakeSocket);
  expect(begun).toEqual(all.slice(0, 3));
  made.arrived(all[0] as FakeSocket);
  made.arrived(all[0] as FakeSocket);
  expect(begun).toEqual(all.slice(0, 4));
  expect(made.waiting).toBe(1);
});

it('does not wait for who breaks off, or says nothing', async () => {
  const { made, begun } = admission();
  const all = sockets(5);
  for (const socket of all) made.enter(socket);
  all[0]?.destroy();
  await vi.advanceTimersByTimeAsync(0);
  expect(begun).toEqual(all.slice(0, 3));
  vi.advanceTimersByTime(1000);
  expect(begun).toEqual(all);
});

it('sends away who has waited for longer than clients do, and passes over who has left', () => {
  const { made, begun } = admission(1);
  const [first, left, late, fresh] = sockets(4) as [FakeSocket, FakeSocket, FakeSocket, FakeSocket];
  for (const socket of [first, left, late]) made.enter(socket);
  left.destroy();
  vi.setSystemTime(Date.now() + 9001);
  made.enter(fresh);
  made.arrived(first);
  expect(begun).toEqual([first, fresh]);
  expect(late.destroyed).toBe(true);
});

it('sends all away that wait when it closes', () => {
  const { made, begun } = admission(1);
  const all = sockets(3);
  for (const socket of all) made.enter(socket);
  made.close();
  expect(begun).toHaveLength(1);
  expect(all.map(({ destroyed }) => destroyed)).toEqual([false, true, true]);
});
