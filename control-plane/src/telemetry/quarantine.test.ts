import { Writable } from 'node:stream';
import { pino } from 'pino';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { createQuarantine } from './quarantine.ts';
import { openTelemetry } from './telemetry-fixture.ts';

let room: ReturnType<typeof openTelemetry>;
let lines: string[];
beforeEach(() => {
  room = openTelemetry();
  lines = [];
});
afterEach(() => room.close());

/** `broken`: writes fail while it says so. */
function open(broken: () => boolean = () => false) {
  const sink = new Writable({
    write(chunk, _encoding, done) {
      lines.push(String(chunk));
      done();
    },
  });
  const database = {
    ...room.database,
    transact: async <T>(work: Parameters<typeof room.database.transact<T>>[0]) => {
      if (broken()) throw new Error('disk full');
      return room.database.transact(work);
    },
  };
  return createQuarantine({ database, now: room.clock.now, log: pino(sink), writeEveryMs: 3_600_000 });
}
const said = (text: string, reason = 'telemetry is not valid JSON') => ({
  ...{ deviceId: 'cam', channel: 'telemetry', reason },
  payload: Buffer.from(text),
});

it('counts all, and keeps the last with time, reason, size and beginning', async () => {
  const quarantine = open();
  quarantine.note(said('no json'));
  room.clock.at = 2_000_000;
  quarantine.note({
    ...said(''),
    channel: 'reported',
    payload: Buffer.from([0x1f, 0x8b, 0x41, 0xff, ...new Array(5000).fill(0x42)]),
  });
  await quarantine.flush();
  const { count, items } = await quarantine.of('cam');
  expect(count).toBe(2);
  expect(items).toEqual([
    { ...items[0], at: 2_000_000, channel: 'reported', bytes: 5004, head: `\\x1f\\x8bA\\xff${'B'.repeat(196)}` },
    { at: 1_000_000, channel: 'telemetry', bytes: 7, reason: 'telemetry is not valid JSON', head: 'no json' },
  ]);
  expect(await quarantine.of('other')).toEqual({ count: 0, items: [] });
  await quarantine.close();
});

it('a device that sends nothing else fills neither memory nor disk nor log', async () => {
  const quarantine = open();
  for (let turn = 0; turn < 8; turn++) {
    for (let i = 0; i < 500; i++) quarantine.note(said(`${turn} ${i}`, 'x'.repeat(10_000)));
    await quarantine.flush();
  }
  const { count, items } = await quarantine.of('cam');
  expect(count).toBe(4000);
  expect(items.length).toBeLessThanOrEqual(10);
  expect(items.slice(0, 4).map(({ head }) => head)).toEqual(['7 499', '7 498', '7 497', '6 499']);
  expect(items.every(({ reason }) => reason.length <= 300)).toBe(true);
  expect(lines.length).toBe(1);
  const rows = await room.database.read.select().from(room.database.tables.malformed);
  expect(rows.length).toBeLessThanOrEqual(10);
  await quarantine.close();
});

it('loses no count when it cannot be written down at first', async () => {
  let full = true;
  const quarantine = open(() => full);
  quarantine.note(said('first'));
  await quarantine.flush();
  expect(await quarantine.of('cam')).toEqual({ count: 0, items: [] });
  quarantine.note(said('second'));
  full = false;
  await quarantine.flush();
  const { count, items } = await quarantine.of('cam');
  expect([count, ...items.map(({ head }) => head)]).toEqual([2, 'second', 'first']);
  await quarantine.close();
});

it('counts on after a restart, and what is not written down yet is when it closes', async () => {
  const former = open();
  former.note(said('a'));
  await former.close();
  const next = open();
  next.note(said('b'));
  await next.close();
  expect((await next.of('cam')).items.map(({ head }) => head)).toEqual(['b', 'a']);
  expect((await next.of('cam')).count).toBe(2);
});
