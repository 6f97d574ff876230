import { appendFileSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { pino } from 'pino';
import { describe, expect, it } from 'vitest';
import { type DeviceDatabase, openDatabase } from '../database/open.ts';
import { Problems } from '../problems.ts';
import { pendingWrites } from '../storage/pending-writes-fixture.ts';
import { createDeviceClock } from './device-clock.ts';
import { createJournal, journalPath } from './journal.ts';
import { createLosses } from './losses.ts';
import { makeMissingNote, writeMissing } from './missing-note.ts';
import { createOutbox } from './outbox.ts';
import { encodeRecord, type JournalRecord } from './record.ts';
import { requestsIn } from './shrink.ts';

const clock = createDeviceClock(Date.now, performance.now.bind(performance));
const log = pino({ level: 'silent' });
const record: JournalRecord = { inferenceId: '1', model: 'm', version: 1, at: 1, outcome: 'ok', latencyMs: 1, rows: 1 };
const bytes = encodeRecord(record);

/** A device on one disk: a serving process as the note and the journal show it, and the room of the supervisor. */
class Device {
  readonly #folder = mkdtempSync(join(tmpdir(), 'losses-'));
  readonly #notePath = join(this.#folder, 'note');
  readonly problems = new Problems(log);
  #database!: DeviceDatabase;
  #room!: ReturnType<Device['boot']>;
  answered = 0;
  #life = 0;
  #file = 0;
  #size = 0;
  #pending = 0;
  #lost = 0;

  constructor(withNote: boolean) {
    mkdirSync(join(this.#folder, 'journal'));
    if (withNote) makeMissingNote(this.#notePath);
    this.#room = this.boot();
  }

  boot() {
    this.#database = openDatabase(join(this.#folder, 'agent.db'), log);
    const database = this.#database;
    const journalFolder = join(this.#folder, 'journal');
    const outbox = createOutbox({ database, clock, writes: pendingWrites(), budgetBytes: 1e7, log });
    const losses = createLosses({
      paths: [this.#notePath],
      journalPath: (number) => journalPath(journalFolder, number),
      database,
      outbox,
      problems: this.problems,
    });
    const journal = createJournal({
      complete: (_, windows) => windows,
      clock,
      folder: journalFolder,
      database,
      outbox,
      losses,
      manifestOf: () => undefined,
      keep: () => undefined,
      switchTo: async (path) => {
        writeFileSync(path, '');
        this.#file = Number.parseInt(path.split('/').at(-1) ?? '', 10);
        this.#size = 0;
        this.#note();
        this.flush(this.#pending);
      },
      log,
    });
    return { outbox, losses, journal };
  }

  #note(): void {
    const missing = {
      life: this.#life,
      file: this.#file,
      sizeBytes: this.#size,
      pending: this.#pending,
      lost: this.#lost,
    };
    writeMissing(this.#notePath, missing);
    this.#room?.losses.heard(missing, 0);
  }

  async begin(): Promise<void> {
    this.#life++;
    this.#pending = 0;
    this.#lost = 0;
    await this.#room.journal.open(0);
  }

  /** Requests that the disk does not take. */
  miss(count: number): void {
    this.answered += count;
    this.#pending += count;
    this.#note();
  }

  giveUp(count: number): void {
    this.answered += count;
    this.#lost += count;
    this.#note();
  }

  /** `unnoted`: killed before it could say so. */
  flush(count: number, unnoted = false): void {
    const written = Math.min(count, this.#pending);
    for (let each = 0; each < written; each++)
      appendFileSync(journalPath(join(this.#folder, 'journal'), this.#file), bytes);
    if (unnoted) return;
    this.#pending -= written;
    this.#size += written * bytes.length;
    this.#note();
  }

  rotate = () => this.#room.journal.rotate();
  recover = () => this.#room.journal.foldAll(true);

  /** Kills the supervisor. */
  reboot(): void {
    this.#database.$client.close();
    this.#room = this.boot();
  }

  /** The database grows no more. */
  setFull(full: boolean): void {
    const pages = Number(this.#database.$client.pragma('page_count', { simple: true }));
    this.#database.$client.pragma(`max_page_count = ${full ? pages : 1_000_000}`);
    if (full)
      this.#database.$client.exec(
        "CREATE TEMP TRIGGER IF NOT EXISTS refuse BEFORE INSERT ON outbox BEGIN SELECT RAISE(ABORT, 'full'); END",
      );
    else this.#database.$client.exec('DROP TRIGGER IF EXISTS refuse');
  }

  told(): number {
    const items = this.#room.outbox.take()?.items ?? [];
    return items.reduce(
      (sum, { item }) => sum + (item.kind === 'window' ? requestsIn(item) : item.kind === 'loss' ? item.requests : 0),
      0,
    );
  }

  remove(): void {
    this.#database.$client.close();
    rmSync(this.#folder, { recursive: true });
  }
}

const steps = fc.array(
  fc.constantFrom('miss', 'giveUp', 'flush', 'rotate', 'kill', 'killUnnoted', 'killBoth', 'full', 'room'),
  { maxLength: 30 },
);

describe('what the disk did not take', () => {
  it('is counted once wherever anything is killed, however long the database is full', {
    timeout: 120_000,
  }, async () => {
    await fc.assert(
      fc.asyncProperty(steps, async (sequence) => {
        const device = new Device(true);
        try {
          await device.begin();
          const refused = (error: unknown) => expect(String(error)).toMatch(/full/);
          for (const step of [...sequence, 'room', 'kill'] as const) {
            if (step === 'miss') device.miss(3);
            if (step === 'giveUp') device.giveUp(2);
            if (step === 'flush') device.flush(2);
            if (step === 'rotate') await device.rotate().catch(refused);
            if (step === 'full') device.setFull(true);
            if (step === 'room') device.setFull(false);
            if (step === 'killUnnoted') device.flush(2, true);
            if (step === 'killBoth') device.reboot();
            if (step.startsWith('kill')) {
              await device.recover().catch(refused);
              await device.begin();
            }
          }
          expect(device.told()).toBe(device.answered);
          expect(device.problems.list()).toEqual([]);
        } finally {
          device.remove();
        }
      }),
      { numRuns: 60 },
    );
  });

  it('is known from what the process said last where there was no room even for the note', async () => {
    const device = new Device(false);
    await device.begin();
    device.miss(5);
    device.giveUp(1);
    await device.recover();
    expect(device.told()).toBe(6);
    await device.begin();
    await device.recover();
    expect(device.told()).toBe(6);
    device.remove();
  });
});
