// The journals of several serving processes, which die, and to which the disk refuses files, at any instant.
import { appendFileSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { TelemetryItem } from '@edgeloop/shared/telemetry';
import fc from 'fast-check';
import { pino } from 'pino';
import { describe, expect, it } from 'vitest';
import { openDatabase } from '../database/open.ts';
import { Problems } from '../problems.ts';
import { pendingWrites } from '../storage/pending-writes-fixture.ts';
import { createDeviceClock } from './device-clock.ts';
import { createJournal, journalPath } from './journal.ts';
import { createLosses } from './losses.ts';
import { makeMissingNote, newLife, writeMissing } from './missing-note.ts';
import { createOutbox } from './outbox.ts';
import { encodeRecord } from './record.ts';

const clock = createDeviceClock(Date.now, performance.now.bind(performance));
const log = pino({ level: 'silent' });
const answered = encodeRecord({
  inferenceId: '1',
  model: 'm',
  version: 1,
  at: 1,
  outcome: 'ok',
  latencyMs: 1,
  rows: 1,
});
/** What a killed process leaves of a record that it was writing. */
const torn = answered.subarray(0, 20);

const sumOf = (counts: readonly number[]) => counts.reduce((sum, count) => sum + count, 0);

/** Two serving processes and what the supervisor makes of their journals. */
class Device {
  readonly #folder = mkdtempSync(join(tmpdir(), 'journal-of-several-'));
  readonly #notes = [0, 1].map((process) => join(this.#folder, `note-${process}`));
  /** Where each process appends to; undefined while it is away. */
  readonly #files = new Map<number, string>();
  readonly #lives = [newLife(), newLife()];
  #database = openDatabase(join(this.#folder, 'agent.db'), log);
  #room = this.#boot();
  answered = 0;
  lost = 0;
  /** Of these processes the disk takes no next file. */
  readonly refused = new Set<number>();

  constructor() {
    for (const path of this.#notes) makeMissingNote(path);
  }

  #boot() {
    const folder = join(this.#folder, 'journal');
    const database = this.#database;
    const outbox = createOutbox({ database, clock, writes: pendingWrites(), budgetBytes: 1e7, log });
    const losses = createLosses({
      paths: this.#notes,
      journalPath: (number) => journalPath(folder, number),
      database,
      outbox,
      problems: new Problems(log),
    });
    const journal = createJournal({
      complete: (_, windows) => windows,
      clock,
      folder,
      database,
      outbox,
      losses,
      manifestOf: () => undefined,
      keep: () => undefined,
      switchTo: async (path, process) => {
        if (this.refused.has(process)) throw new Error('no room');
        this.#files.set(process, path);
        writeFileSync(path, '', { flag: 'a' });
      },
      log,
    });
    return { outbox, journal };
  }

  get journal() {
    return this.#room.journal;
  }

  append(process: number, bytes = answered): void {
    const path = this.#files.get(process);
    if (path === undefined) return;
    appendFileSync(path, bytes);
    if (bytes === answered) this.answered++;
  }

  /** Answers that its disk did not take and that go with it. */
  async die(process: number, unwritten: number): Promise<void> {
    this.append(process, torn);
    writeMissing(this.#notes[process] ?? '', {
      life: this.#lives[process] ?? 0,
      file: 0,
      sizeBytes: 0,
      pending: unwritten,
      lost: 0,
    });
    this.lost += unwritten;
    this.#files.delete(process);
    this.#lives[process] = newLife();
    await this.journal.gone(process);
    await this.open(process);
  }

  open(process: number): Promise<void> {
    return this.journal.open(process).catch(() => undefined);
  }

  /** The supervisor is killed, and its processes with it. */
  async reboot(): Promise<void> {
    this.#database.$client.close();
    this.#database = openDatabase(join(this.#folder, 'agent.db'), log);
    this.#files.clear();
    this.#room = this.#boot();
    await this.journal.foldAll(true);
    for (const process of [0, 1]) await this.open(process);
  }

  items(): TelemetryItem[] {
    const all: TelemetryItem[] = [];
    for (let batch = this.#room.outbox.take(); batch !== undefined; batch = this.#room.outbox.take()) {
      all.push(...batch.items.map(({ item }) => item));
      this.#room.outbox.acknowledge({ epoch: batch.epoch, sequence: batch.items.at(-1)?.sequence ?? 0 });
    }
    return all;
  }

  close(): void {
    this.#database.$client.close();
    rmSync(this.#folder, { recursive: true });
  }
}

describe('the journals of several serving processes', () => {
  it('become one window', async () => {
    const device = new Device();
    for (const process of [0, 1]) await device.open(process);
    for (const process of [0, 1, 1]) device.append(process);
    await device.journal.rotate();
    expect(device.items()).toMatchObject([{ kind: 'window', succeeded: 3 }]);
    device.append(0);
    device.append(1);
    await device.die(1, 0);
    device.append(1);
    await device.journal.rotate();
    expect(device.items()).toMatchObject([{ succeeded: 3, recovered: true }]);
    device.close();
  });

  const process = fc.constantFrom(0, 1);
  const event = fc.oneof(
    { weight: 6, arbitrary: fc.record({ kind: fc.constant('append' as const), process }) },
    {
      weight: 3,
      arbitrary: fc.constantFrom({ kind: 'tail' as const }, { kind: 'pack' as const }, { kind: 'rotate' as const }),
    },
    { weight: 1, arbitrary: fc.record({ kind: fc.constant('die' as const), process, unwritten: fc.nat(3) }) },
    { weight: 1, arbitrary: fc.record({ kind: fc.constantFrom('refuse' as const, 'take' as const), process }) },
    { weight: 1, arbitrary: fc.constant({ kind: 'reboot' as const }) },
  );

  it('count every answer once, whoever dies and whatever the disk refuses', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(event, { maxLength: 25 }), async (events) => {
        const device = new Device();
        try {
          for (const each of [0, 1]) await device.open(each);
          for (const each of events) {
            if (each.kind === 'append') device.append(each.process);
            else if (each.kind === 'die') await device.die(each.process, each.unwritten);
            else if (each.kind === 'refuse') device.refused.add(each.process);
            else if (each.kind === 'take') device.refused.delete(each.process);
            else if (each.kind === 'reboot') await device.reboot();
            else await device.journal[each.kind]().catch((error: Error) => expect(error.message).toBe('no room'));
          }
          device.refused.clear();
          await device.journal.rotate();
          await device.journal.foldAll(false);
          const items = device.items();
          const counted = items.map((item) => (item.kind === 'window' ? item.succeeded : 0));
          const lost = items.map((item) => (item.kind === 'loss' ? item.requests : 0));
          expect([sumOf(counted), sumOf(lost)]).toEqual([device.answered, device.lost]);
        } finally {
          device.close();
        }
      }),
      { numRuns: 60 },
    );
  });
});
