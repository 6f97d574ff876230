import { appendFileSync, existsSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Manifest } from '@edgeloop/shared/manifest';
import type { TelemetryItem } from '@edgeloop/shared/telemetry';
import fc from 'fast-check';
import pino from 'pino';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { type DeviceDatabase, openDatabase } from '../database/open.ts';
import { sampleBlocks, samples } from '../database/schema.ts';
import { Problems } from '../problems.ts';
import { pendingWrites } from '../storage/pending-writes-fixture.ts';
import { createDeviceClock } from './device-clock.ts';
import { createFeedback } from './feedback.ts';
import { readGivenUp } from './given-up.ts';
import { createJournal, journalPath } from './journal.ts';
import { tellRest, withOutcomes } from './labelled.ts';
import { createLosses } from './losses.ts';
import { mergeKey } from './merge.ts';
import { createOutbox } from './outbox.ts';
import { createPredictions } from './predictions.ts';
import { encodeRecord, type JournalRecord } from './record.ts';
import { createSamples } from './samples.ts';
import { requestsIn } from './shrink.ts';

const clock = createDeviceClock(Date.now, performance.now.bind(performance));
const log = pino({ level: 'silent' });
const manifest = Manifest.parse({
  inputs: { x: { features: ['a', 'b'] } },
  outputs: { labels: ['cat', 'dog'] },
  capture: { rate: 1 },
  monitoring: { reference: { rows: 1, features: { b: { edges: [0, 1], counts: [0, 1, 0, 0] } } } },
});
let present = manifest;
const manifestOf = () => present;

let folder = '';
let database: DeviceDatabase;
let written = '';

/** The room as after a start of the agent, on the same disk. */
function boot(budgetBytes = 1e7, captureBytes = 1e6) {
  database = openDatabase(join(folder, 'agent.db'), log);
  const outbox = createOutbox({ database, clock, writes: pendingWrites(), budgetBytes, log });
  const predictions = createPredictions(budgetBytes);
  const samples = createSamples({ database, budgetBytes: captureBytes, waitMs: 0, manifestOf, log });
  const losses = createLosses({
    paths: [join(folder, 'unjournalled')],
    journalPath: (number) => journalPath(join(folder, 'journal'), number),
    database,
    outbox,
    problems: new Problems(log),
  });
  const journal = createJournal({
    losses,
    folder: join(folder, 'journal'),
    database,
    outbox,
    manifestOf,
    complete: (transaction, windows) => withOutcomes(transaction, windows, 7000),
    clock,
    keep: (transaction, records) => {
      predictions.keep(transaction, records);
      samples.keep(transaction, records);
    },
    switchTo: async (path) => {
      written = path;
      writeFileSync(path, '');
    },
    log,
  });
  const feedback = createFeedback({ database, journal, predictions, samples, outbox, manifestOf, onAdded: () => {} });
  return { outbox, journal, samples, feedback };
}

function record(id: string, change: Partial<JournalRecord> = {}): JournalRecord {
  const answer = { model: 'm', version: 1, at: 1000, outcome: 'ok' as const, latencyMs: 2, rows: 1 };
  return {
    inferenceId: id,
    ...answer,
    predicted: ['cat'],
    scores: [0.5],
    features: Float32Array.of(9, 0.5),
    ...change,
  };
}

function append(...records: JournalRecord[]): void {
  appendFileSync(written, Buffer.concat(records.map(encodeRecord)));
}

function items({ outbox }: ReturnType<typeof boot>): TelemetryItem[] {
  return outbox.take()?.items.map(({ item }) => item) ?? [];
}

beforeEach(() => {
  present = manifest;
  folder = mkdtempSync(join(tmpdir(), 'agent-journal-'));
});
afterEach(() => {
  vi.useRealTimers();
  database.$client.close();
  rmSync(folder, { recursive: true });
});

describe('the journal', () => {
  it('becomes one window per model version, with features in the bins of the reference', async () => {
    const room = boot();
    await room.journal.open(0);
    append(record('1'), record('2', { at: 1500, features: Float32Array.of(9, 7) }));
    await room.journal.tail();
    append(record('3', { outcome: 'invalid' }), record('4', { outcome: 'timeout' }), record('5', { version: 2 }));
    await room.journal.rotate();
    const [first, second] = items(room);
    expect(first).toMatchObject({
      succeeded: 2,
      invalid: 1,
      failed: { timeout: 1 },
      rows: 2,
      classes: { cat: 2 },
      endedAt: 1500,
    });
    expect(first).toMatchObject({ features: { b: { counts: [0, 1, 1, 0] } }, latencyMs: { count: 2 } });
    expect(first).not.toHaveProperty('recovered');
    expect(second).toMatchObject({ version: 2, succeeded: 1 });
    expect(readdirSync(join(folder, 'journal'))).toHaveLength(1);
  });

  it('is folded early into the window that is open, which stays one and outlives a kill', async () => {
    let room = boot();
    await room.journal.open(0);
    append(record('1'), record('2'));
    const first = written;
    await room.journal.pack();
    expect([existsSync(first), written === first, items(room)]).toEqual([false, false, []]);
    append(record('3'));
    await room.journal.pack();
    append(record('4'));
    expect(await room.journal.tail()).toMatchObject({ requests: 4 });
    await room.journal.rotate();
    expect(items(room)).toMatchObject([{ succeeded: 4, latencyMs: { count: 4 } }]);
    append(record('5'));
    await room.journal.pack();
    database.$client.close();
    room = boot();
    await room.journal.foldAll(true);
    const all = items(room);
    expect(all.map((item) => item.kind === 'window' && [item.succeeded, item.recovered])).toEqual([
      [4, undefined],
      [1, true],
    ]);
  });

  it('counts every whole record exactly once wherever it is killed', async () => {
    const step = fc.constantFrom('append', 'tail', 'pack', 'rotate', 'kill', 'torn', 'killedBeforeDelete');
    await fc.assert(
      fc.asyncProperty(fc.array(step, { maxLength: 25 }), async (steps) => {
        rmSync(join(folder, 'journal'), { recursive: true, force: true });
        rmSync(join(folder, 'agent.db'), { force: true });
        for (const suffix of ['-wal', '-shm']) rmSync(join(folder, `agent.db${suffix}`), { force: true });
        let room = boot();
        await room.journal.open(0);
        let appended = 0;
        for (const each of steps) {
          if (each === 'append') append(record(`r${appended++}`));
          else if (each === 'tail') await room.journal.tail();
          else if (each === 'pack') await room.journal.pack();
          else if (each === 'rotate') await room.journal.rotate();
          else {
            const before = written;
            if (each === 'torn') appendFileSync(written, encodeRecord(record('torn')).subarray(0, 20));
            if (each === 'killedBeforeDelete') {
              await room.journal.rotate();
              // As if the files of the last window had not been deleted yet.
              if (written !== before) writeFileSync(before, Buffer.concat([encodeRecord(record('again'))]));
            }
            database.$client.close();
            room = boot();
            await room.journal.foldAll(true);
            await room.journal.open(0);
          }
        }
        await room.journal.rotate();
        const counted = items(room).reduce((sum, item) => sum + (item.kind === 'window' ? requestsIn(item) : 0), 0);
        database.$client.close();
        expect(counted).toBe(appended);
      }),
      { numRuns: 12 },
    );
    boot();
  });

  it('keeps two releases of one number apart, in windows, labels and samples', async () => {
    const room = boot();
    await room.journal.open(0);
    const [one, two] = ['1'.repeat(64), '2'.repeat(64)];
    append(record('a', { release: one }), record('b', { release: two }), record('c', { release: one }), record('d'));
    await room.feedback('b', 'dog');
    await room.journal.rotate();
    const all = items(room);
    const windows = all.filter((item) => item.kind === 'window');
    expect(windows.map(({ release, succeeded }) => [release, succeeded])).toEqual([
      [one, 2],
      [two, 1],
      [undefined, 1],
    ]);
    expect(new Set(windows.map(mergeKey)).size).toBe(3);
    expect(all.find((item) => item.kind === 'labels')).toMatchObject({ labels: [{ inferenceId: 'b', release: two }] });
    const samples = room.samples.ready(Date.now()).map(({ sample }) => [sample.inferenceId, sample.release]);
    expect(samples.sort()).toEqual([
      ['a', one],
      ['b', two],
      ['c', one],
      ['d', undefined],
    ]);
  });

  it('stays in its files while the database is full, and is folded once there is room', async () => {
    const room = boot();
    await room.journal.open(0);
    append(record('1'));
    await room.journal.tail();
    database.$client.exec("CREATE TEMP TRIGGER refuse BEFORE INSERT ON outbox BEGIN SELECT RAISE(ABORT, 'full'); END");
    await expect(room.journal.rotate()).rejects.toThrow('full');
    append(record('2'));
    await expect(room.journal.foldAll(true)).rejects.toThrow('full');
    await room.journal.open(0);
    append(record('3'));
    expect(items(room)).toEqual([]);
    expect(readdirSync(join(folder, 'journal'))).toHaveLength(3);
    database.$client.exec('DROP TRIGGER refuse');
    await room.journal.rotate();
    expect(items(room)).toMatchObject([{ succeeded: 1 }, { succeeded: 1 }, { succeeded: 1 }]);
    expect(readdirSync(join(folder, 'journal'))).toHaveLength(1);
  });

  it('says so when a window was rebuilt after a death', async () => {
    const room = boot();
    await room.journal.open(0);
    append(record('1'));
    await room.journal.foldAll(true);
    expect(items(room)).toMatchObject([{ succeeded: 1, recovered: true }]);
  });
});

describe('the outbox', () => {
  it('gives its numbers once, over restarts, and forgets only what this epoch acknowledges', async () => {
    let room = boot();
    await room.journal.open(0);
    append(record('1'));
    await room.journal.rotate();
    const batch = room.outbox.take();
    expect(room.outbox.acknowledge({ epoch: 1, sequence: 99 })).toBe(false);
    expect(room.outbox.take()).toEqual(batch);
    expect(room.outbox.acknowledge({ epoch: batch?.epoch ?? 0, sequence: 1 })).toBe(true);
    database.$client.close();
    room = boot();
    append(record('2'));
    await room.journal.foldAll(true);
    // What is stored is deleted with what is written next; told again, it is not stored again.
    expect(room.outbox.take()).toMatchObject({ epoch: batch?.epoch, items: [{ sequence: 1 }, { sequence: 2 }] });
  });

  it('over its budget says what it dropped', async () => {
    const room = boot(3000);
    for (let version = 1; version <= 20; version += 1) {
      await room.journal.open(0);
      append(record(`v${version}`, { version }));
      await room.journal.foldAll(false);
    }
    const all = items(room);
    const sum = (of: (item: TelemetryItem) => number) => all.reduce((total, item) => total + of(item), 0);
    const present = sum((item) => (item.kind === 'window' ? requestsIn(item) : 0));
    expect(present).toBeLessThan(20);
    expect(present + sum((item) => (item.kind === 'loss' ? item.requests : 0))).toBe(20);
  });
});

describe('feedback', () => {
  it('finds a prediction that was answered a moment ago and is idempotent', async () => {
    const room = boot();
    await room.journal.open(0);
    append(record('p1'), record('p2'));
    await Promise.all([room.feedback('p1', 'dog'), room.feedback('p2', 'cat')]);
    await room.feedback('p1', 'dog');
    const labels = items(room).flatMap((item) => (item.kind === 'labels' ? item.labels : []));
    expect(labels).toMatchObject([
      { inferenceId: 'p1', predicted: 'cat', label: 'dog', model: 'm', version: 1, predictedAt: 1000 },
      { inferenceId: 'p2', label: 'cat' },
    ]);
  });

  it('puts a corrected label behind the former one, and never into an item that was sent', async () => {
    const room = boot();
    await room.journal.open(0);
    append(record('p1'));
    await room.feedback('p1', 'dog');
    const sent = room.outbox.take();
    await room.feedback('p1', 'cat');
    expect(room.outbox.take()?.items[0]).toEqual(sent?.items[0]);
    expect(room.outbox.take()?.items[1]).toMatchObject({ item: { kind: 'labels', labels: [{ label: 'cat' }] } });
  });

  it('goes in sums with the next windows, once over a kill, also where nothing else was answered', async () => {
    const labelled = (room: ReturnType<typeof boot>) =>
      items(room).flatMap((item) => (item.kind === 'window' && item.labelled ? [[item.version, item.labelled]] : []));
    let room = boot();
    await room.journal.open(0);
    append(record('1'), record('2'), record('3', { version: 2 }));
    await Promise.all([room.feedback('1', 'dog'), room.feedback('2', 'cat')]);
    database.$client.close();
    room = boot();
    await room.journal.foldAll(true);
    const first = [1, { labels: 2, correct: 1, confusion: { cat: { dog: 1, cat: 1 } }, other: 0 }];
    expect(labelled(room)).toEqual([first]);
    await room.feedback('3', 'cat');
    await room.journal.open(0);
    append(record('4'));
    await room.journal.rotate();
    expect(labelled(room)).toEqual([first, [2, { labels: 1, correct: 1, confusion: { cat: { cat: 1 } }, other: 0 }]]);
    const windows = items(room).filter((item) => item.kind === 'window');
    expect(windows.find(({ labelled: outcomes, version }) => version === 2 && outcomes)).toMatchObject({
      succeeded: 0,
    });
    expect(windows.reduce((sum, window) => sum + requestsIn(window), 0)).toBe(4);
    await room.feedback('4', 'dog');
    await room.journal.rotate();
    tellRest(database, room.outbox, 9000);
    tellRest(database, room.outbox, 9001);
    expect(labelled(room).slice(2)).toEqual([[1, { labels: 1, correct: 0, confusion: { cat: { dog: 1 } }, other: 0 }]]);
  });

  it('of a regression is a number, and says by how much its value was off', async () => {
    present = Manifest.parse({ task: 'regression', outputs: { labels: ['price'] } });
    const room = boot();
    await room.journal.open(0);
    const value = (id: string, said: number) => record(id, { value: said, predicted: undefined, scores: undefined });
    append(value('1', 2.5), value('2', -1), value('3', Number.NaN));
    await Promise.all([room.feedback('1', '2'), room.feedback('2', ' -3.5 ')]);
    await expect(room.feedback('1', 'cheap')).rejects.toMatchObject({
      code: 'invalid_request',
      message: expect.stringContaining('label "cheap" is no number'),
    });
    await expect(room.feedback('3', '1')).rejects.toMatchObject({ code: 'invalid_request' });
    await room.journal.rotate();
    const [window, ...others] = items(room);
    expect(others).toEqual([]);
    expect(window).toMatchObject({
      succeeded: 3,
      classes: {},
      labelled: { labels: 2, confusion: {}, errors: { count: 2, sum: 3, absolute: 3, squared: 6.5 } },
      signals: { 'output:value': { sum: 1.5, missing: 1 } },
    });
  });

  it('settles together what came while a slow disk held the ones before', async () => {
    const { outbox, samples, journal } = boot();
    await journal.open(0);
    const ids = Array.from({ length: 50 }, (_, at) => `p${at}`);
    append(...ids.map((id) => record(id)));
    const predictions = createPredictions(1e7);
    const folds: (() => void)[] = [];
    let batches = 0;
    const keepNow = async () => {
      await new Promise<void>((resolve) => folds.push(resolve));
      return journal.keepNow();
    };
    const onAdded = () => batches++;
    const feedback = createFeedback({
      database,
      journal: { keepNow },
      predictions,
      samples,
      outbox,
      manifestOf,
      onAdded,
    });
    vi.useFakeTimers({ toFake: ['setTimeout'] });
    const given: Promise<void>[] = [];
    for (const id of ids) {
      given.push(feedback(id, 'dog'));
      await vi.advanceTimersByTimeAsync(10);
    }
    expect(folds).toHaveLength(1);
    folds[0]?.();
    await Promise.all(given);
    expect(batches).toBe(2);
    expect(folds).toHaveLength(1);
  });

  it('is not taken when the disk does not take it', async () => {
    const room = boot();
    await room.journal.open(0);
    append(record('1'));
    await room.journal.tail();
    const pages = Number(database.$client.pragma('page_count', { simple: true }));
    database.$client.pragma(`max_page_count = ${pages}`);
    let answer: unknown;
    for (let at = 0; answer === undefined && at < 200; at++) {
      append(...Array.from({ length: 100 }, (_, each) => record(`${at}-${each}`)));
      answer = await room.feedback(`${at}-0`, 'dog').catch((error: unknown) => error);
    }
    expect(answer).toMatchObject({ code: 'insufficient_storage', message: expect.stringContaining('free some room') });
    database.$client.pragma('max_page_count = 1000000');
    await room.feedback('1', 'dog');
  });

  it('refuses an unknown id and an unknown label, naming those it knows', async () => {
    const room = boot();
    await room.journal.open(0);
    append(record('p1'));
    await expect(room.feedback('p9', 'dog')).rejects.toMatchObject({ code: 'not_found' });
    await expect(room.feedback('p1', 'cow')).rejects.toMatchObject({
      code: 'invalid_request',
      message: expect.stringContaining('unknown label "cow"; m 1 knows "cat", "dog"'),
    });
    expect(items(room)).toEqual([]);
  });
});

describe('captured samples', () => {
  it('are one row a fold, and are not uploaded again once they were, label or not', async () => {
    const room = boot();
    await room.journal.open(0);
    append(...Array.from({ length: 300 }, (_, at) => record(`s${at}`)));
    await room.journal.rotate();
    const kept = database.select().from(sampleBlocks).all();
    expect([kept.length, database.select().from(samples).all().length]).toEqual([1, 0]);
    const first = room.samples.ready(Date.now());
    expect(first).toHaveLength(200);
    room.samples.remove(first);
    await room.feedback('s5', 'dog');
    await room.feedback('s250', 'dog');
    const rest = room.samples.ready(Date.now());
    expect(new Set(rest.map(({ sample }) => sample.inferenceId)).size).toBe(rest.length);
    expect(rest.filter(({ sample }) => sample.label === 'dog').map(({ sample }) => sample.inferenceId)).toEqual([
      's5',
      's250',
    ]);
    expect(rest).toHaveLength(101);
    room.samples.remove(rest);
    expect(room.samples.ready(Date.now())).toEqual([]);
    expect(database.select().from(sampleBlocks).all()).toEqual([]);
  });

  it('that wait for a label are uploaded once it comes, also after a restart', async () => {
    present = { ...manifest, capture: { rate: 0, labelledRate: 1 } };
    let room = boot();
    await room.journal.open(0);
    append(record('w1', { at: 1000 }), record('w2', { at: 2000 }));
    await room.journal.rotate();
    expect(room.samples.ready(Date.now())).toEqual([]);
    database.$client.close();
    room = boot();
    await room.feedback('w2', 'dog');
    expect(room.samples.ready(Date.now()).map(({ sample }) => sample)).toMatchObject([
      { inferenceId: 'w2', label: 'dog', reason: 'labelled', features: [9, 0.5], predictedAt: 2000 },
    ]);
  });

  it('carry the label that came in time, and are deleted only as they were uploaded', async () => {
    const room = boot();
    await room.journal.open(0);
    append(record('s1'), record('s2', { features: Float32Array.of(Number.NaN, 2) }));
    await room.feedback('s1', 'dog');
    const ready = room.samples.ready(Date.now());
    expect(ready.map(({ sample }) => sample)).toMatchObject([
      { inferenceId: 's1', label: 'dog', reason: 'rate', features: [9, 0.5], predicted: 'cat', score: 0.5 },
      { inferenceId: 's2', features: [null, 2] },
    ]);
    await room.feedback('s2', 'cat');
    room.samples.remove(ready);
    expect(room.samples.ready(Date.now())).toMatchObject([{ sample: { inferenceId: 's2', label: 'cat' } }]);
  });

  it('stay within their budget, the newest of them, and the others are counted', async () => {
    const room = boot(1e7, 2400);
    await room.journal.open(0);
    append(...Array.from({ length: 500 }, (_, at) => record(`s${at}`)));
    await room.journal.keepNow();
    const left = room.samples.ready(Date.now()).map(({ sample }) => sample.inferenceId);
    expect(left).toEqual(Array.from({ length: left.length }, (_, at) => `s${500 - left.length + at}`));
    expect(readGivenUp(database, 0)).toContainEqual({ kind: 'sample', reason: 'budget', count: 500 - left.length });
    expect(left.length).toBeGreaterThan(15);
    expect(left.length).toBeLessThan(200);
  });
});
