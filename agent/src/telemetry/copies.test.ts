// A disk that is copied or put back: what each copy adds is its own, what both held is one.
import { cpSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { TelemetryBatch } from '@edgeloop/shared/telemetry';
import fc from 'fast-check';
import { pino } from 'pino';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { writeFact } from '../database/facts.ts';
import { type DeviceDatabase, openDatabase } from '../database/open.ts';
import { outbox as outboxTable } from '../database/schema.ts';
import { pendingWrites } from '../storage/pending-writes-fixture.ts';
import { createDeviceClock } from './device-clock.ts';
import { createOutbox, type Outbox } from './outbox.ts';

const log = pino({ level: 'silent' });
let root = '';
let open: DeviceDatabase[] = [];

beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), 'agent-copies-'));
});
afterEach(() => {
  for (const database of open) database.$client.close();
  open = [];
  rmSync(root, { recursive: true });
});

/** One start of an agent on a disk. */
class Device {
  readonly disk: string;
  database: DeviceDatabase;
  outbox: Outbox;

  constructor(disk: string) {
    this.disk = disk;
    this.database = openDatabase(join(disk, 'agent.db'), log);
    open.push(this.database);
    const clock = createDeviceClock(Date.now, performance.now.bind(performance));
    this.outbox = createOutbox({ database: this.database, clock, writes: pendingWrites(), budgetBytes: 1e6, log });
    this.outbox.beginEpoch();
  }

  add(requests: number): void {
    this.database.transaction((tx) => this.outbox.add(tx, [{ kind: 'loss', windows: 0, requests, labels: 0 }]));
  }

  stop(): void {
    this.database.$client.close();
    open = open.filter((each) => each !== this.database);
  }
}

/** Stores each (epoch, sequence) once, as the control plane does. */
class Server {
  readonly #stored = new Map<string, number>();

  take({ epoch, items }: TelemetryBatch): void {
    for (const { sequence, item } of items) {
      const key = `${epoch} ${sequence}`;
      if (item.kind === 'loss' && !this.#stored.has(key)) this.#stored.set(key, item.requests);
    }
  }

  get requests(): number {
    return [...this.#stored.values()].reduce((sum, each) => sum + each, 0);
  }
}

function deliver(device: Device, server: Server, batches = Number.POSITIVE_INFINITY): void {
  for (let sent = 0; sent < batches; sent++) {
    const batch = device.outbox.take();
    if (batch === undefined) return;
    server.take(batch);
    device.outbox.acknowledge({ epoch: batch.epoch, sequence: batch.items.at(-1)?.sequence ?? 0 });
  }
}

it('is counted once whatever is copied, put back, restarted and sent in which order', () => {
  const step = fc.record({
    do: fc.constantFrom('add', 'send', 'sendOne', 'takeOnly', 'copy', 'restart', 'putBack'),
    of: fc.nat(3),
    requests: fc.integer({ min: 1, max: 99 }),
  });
  let run = 0;
  fc.assert(
    fc.property(fc.array(step, { maxLength: 20 }), (steps) => {
      const folder = join(root, String(++run));
      const server = new Server();
      let disks = 0;
      const nextDisk = () => join(folder, String(disks++));
      const devices = [new Device(nextDisk())];
      let added = 0;
      for (const { do: what, of, requests } of steps) {
        const at = of % devices.length;
        const device = devices[at];
        if (device === undefined) continue;
        if (what === 'add') {
          device.add(requests);
          added += requests;
        } else if (what === 'send') deliver(device, server);
        else if (what === 'sendOne') deliver(device, server, 1);
        else if (what === 'takeOnly') {
          const batch = device.outbox.take();
          if (batch !== undefined) server.take(batch);
        } else {
          device.stop();
          const copy = nextDisk();
          // An old disk that is put back replaces one that has delivered since.
          if (what !== 'restart') cpSync(device.disk, copy, { recursive: true });
          devices[at] = new Device(device.disk);
          if (what === 'copy') devices.push(new Device(copy));
          if (what === 'putBack') {
            const present = devices[at];
            present?.add(requests);
            added += requests;
            if (present) deliver(present, server);
            present?.stop();
            devices[at] = new Device(copy);
          }
        }
      }
      for (const device of devices) deliver(device, server);
      for (const device of devices) device.stop();
      expect(server.requests).toBe(added);
    }),
    { numRuns: 25 },
  );
});

it('goes on with the numbers that an agent of before has given, and forgets epochs of which nothing waits', () => {
  const first = openDatabase(join(root, 'agent.db'), log);
  writeFact(first, 'outbox_epoch', 7);
  writeFact(first, 'outbox_next', 6);
  const item = JSON.stringify({ kind: 'loss', windows: 0, requests: 3, labels: 0 });
  first.insert(outboxTable).values({ sequence: 5, kind: 'loss', bytes: 2, item }).run();
  first.$client.close();
  const device = new Device(root);
  device.add(4);
  expect(device.outbox.take()).toMatchObject({ epoch: 7, items: [{ sequence: 5, item: { requests: 3 } }] });
  expect(device.outbox.acknowledge({ epoch: 7, sequence: 900 })).toBe(true);
  const next = device.outbox.take();
  expect(next).toMatchObject({ items: [{ sequence: 1, item: { requests: 4 } }] });
  expect(next?.epoch).not.toBe(7);
  device.outbox.acknowledge({ epoch: next?.epoch ?? 0, sequence: 1 });
  device.stop();
  // What was acknowledged is deleted with what is added next; until then it may be sent again.
  const again = new Device(root);
  deliver(again, new Server());
  again.add(1);
  again.stop();
  const last = new Device(root);
  last.add(1);
  expect(last.outbox.acknowledge({ epoch: 7, sequence: 5 })).toBe(false);
  expect(last.outbox.take()?.items).toHaveLength(1);
});

it('gives an epoch again that could not be written down', () => {
  const device = new Device(root);
  const broken = new Error('no room');
  expect(() =>
    device.database.transaction((tx) => {
      device.outbox.add(tx, [{ kind: 'loss', windows: 0, requests: 1, labels: 0 }]);
      throw broken;
    }),
  ).toThrow(broken);
  device.add(2);
  const batch = device.outbox.take();
  device.stop();
  expect(new Device(root).outbox.take()).toEqual(batch);
});

it('sends what waits, however often writing down more was undone, as on a full disk', () => {
  const disk = join(root, 'full');
  const first = new Device(disk);
  for (const requests of [1, 2, 3]) first.add(requests);
  const sent = first.outbox.take();
  first.stop();
  const device = new Device(disk);
  device.outbox.acknowledge({ epoch: sent?.epoch ?? 0, sequence: 1 });
  const full = new Error('database or disk is full');
  for (let i = 0; i < 2; i++)
    expect(() =>
      device.database.transaction((tx) => {
        device.outbox.add(tx, [{ kind: 'loss', windows: 0, requests: 4, labels: 0 }]);
        throw full;
      }),
    ).toThrow(full);
  const server = new Server();
  device.add(5);
  deliver(device, server);
  device.stop();
  deliver(new Device(disk), server);
  // The first was stored before.
  expect(server.requests).toBe(2 + 3 + 5);
});
