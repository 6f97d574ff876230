// Budgets of what waits to be sent: what is given up, in which order, and that it is said once.
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { TelemetryItem } from '@edgeloop/shared/telemetry';
import { pino } from 'pino';
import { afterEach, beforeEach, expect, it, vi } from 'vitest';
import { type DeviceDatabase, openDatabase } from '../database/open.ts';
import { pendingWrites } from '../storage/pending-writes-fixture.ts';
import { createDeviceClock } from './device-clock.ts';
import { readGivenUp } from './given-up.ts';
import { createOutbox } from './outbox.ts';
import { emptyWindow } from './window.ts';

const log = pino({ level: 'silent' });
const day = 86_400_000;
let folder = '';
let database: DeviceDatabase;
let monotonicMs = 0;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'agent-outbox-'));
  database = openDatabase(join(folder, 'agent.db'), log);
  vi.useFakeTimers({ toFake: ['Date'] });
  vi.setSystemTime(Date.UTC(2026, 0, 1));
});
afterEach(() => {
  vi.useRealTimers();
  database.$client.close();
  rmSync(folder, { recursive: true });
});

function pass(ms: number): void {
  monotonicMs += ms;
  vi.setSystemTime(Date.now() + ms);
}

function boot(budgetBytes = 1e6) {
  const clock = createDeviceClock(Date.now, () => monotonicMs);
  const outbox = createOutbox({ database, clock, writes: pendingWrites(), budgetBytes, mostAgeMs: 30 * day, log });
  outbox.beginEpoch();
  const add = (...items: TelemetryItem[]) => database.transaction((tx) => outbox.add(tx, items));
  return { clock, outbox, add };
}

function windowOf(succeeded: number, version = 1): TelemetryItem {
  return { ...emptyWindow({ model: 'm', version }, Date.now()), succeeded };
}

function labels(): TelemetryItem {
  const of = { inferenceId: 'i', model: 'm', version: 1, predictedAt: 1, predicted: 'a', label: 'b' };
  return { kind: 'labels', labels: [{ ...of, labelledAt: Date.now() }] };
}

const given = () =>
  Object.fromEntries(
    readGivenUp(database, 0)
      .filter(({ count }) => count > 0)
      .map(({ kind, reason, count }) => [`${kind} ${reason}`, count]),
  );

it('gives up what is too old and was not sent, and says what', () => {
  const { outbox, add } = boot();
  add(windowOf(1));
  outbox.take();
  // What may have been sent is held for some further numbers, too.
  add(...Array.from({ length: 40 }, () => windowOf(2)), labels());
  pass(29 * day);
  add(windowOf(3));
  outbox.trim();
  expect(given()).toEqual({});
  pass(2 * day);
  outbox.trim();
  const items = outbox.take()?.items.map(({ item }) => item) ?? [];
  const windows = items.filter((item) => item.kind === 'window').map(({ succeeded }) => succeeded);
  expect(windows).toEqual([1, 3]);
  expect(items.at(-1)).toEqual({ kind: 'loss', windows: 40, requests: 80, labels: 1 });
  expect(given()).toEqual({ 'window age': 40, 'request age': 80, 'label age': 1 });
  expect(outbox.status().droppedItems).toBe(41);
  outbox.trim();
  expect(outbox.status().droppedItems).toBe(41);
});

it('takes no clock for age that was set in between', () => {
  for (const [offsetMs, isTold] of [
    [-60 * day, true],
    [60 * day, true],
    [-Date.now() + 5000, false],
  ] as const) {
    vi.setSystemTime(Date.UTC(2026, 0, 1) + offsetMs);
    const { clock, outbox, add } = boot();
    add(windowOf(1));
    vi.setSystemTime(Date.UTC(2026, 0, 1));
    clock.look();
    if (isTold) outbox.clockRead(0);
    outbox.trim();
    expect(given()).toEqual({});
    outbox.take();
  }
});

it('keeps the word of what was lost, as one, whatever else is given up after it', () => {
  const { outbox, add } = boot(4000);
  let added = 0;
  for (let round = 0; round < 12; round++) {
    for (let version = 1; version <= 6; version++) add(windowOf(1, ++added));
    outbox.trim();
  }
  const items = outbox.take()?.items.map(({ item }) => item) ?? [];
  const lost = items.filter((item) => item.kind === 'loss');
  const windows = items.filter((item) => item.kind === 'window').length;
  expect(lost.length).toBeLessThanOrEqual(2);
  expect(lost.reduce((sum, each) => sum + each.windows, 0)).toBe(added - windows);
  expect(given()).toEqual({ 'window budget': added - windows, 'request budget': added - windows });
  expect(outbox.status().droppedItems).toBe(added - windows);
});
