// What agents of before have left on the disk: all of it is sent, found and counted by this one.
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Manifest } from '@edgeloop/shared/manifest';
import Database from 'better-sqlite3';
import { pino } from 'pino';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { migrations } from '../database/migrations.ts';
import { openDatabase } from '../database/open.ts';
import { pendingWrites } from '../storage/pending-writes-fixture.ts';
import { deflated } from './block-parts.ts';
import { createDeviceClock } from './device-clock.ts';
import { readGivenUp } from './given-up.ts';
import { takeHeld } from './held-windows.ts';
import { createOutbox } from './outbox.ts';
import { encodeBlock, hashOf } from './prediction-block.ts';
import { createPredictions } from './predictions.ts';
import { encodeSamples } from './sample-block.ts';
import { createSamples } from './samples.ts';
import { emptyWindow } from './window.ts';

const log = pino({ level: 'silent' });
const manifest = Manifest.parse({ capture: { rate: 1 } });
let folder = '';
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'agent-former-'));
});
afterEach(() => rmSync(folder, { recursive: true }));

const windows = Array.from({ length: 30 }, (_, at) => ({
  ...emptyWindow({ model: 'm', version: 1 + (at % 3) }, 1_800_000_000_000 + at),
  succeeded: at + 1,
}));
const label = { inferenceId: 'p1', model: 'm', version: 1, predictedAt: 5, predicted: 'a', label: 'b', labelledAt: 6 };

/** As the agent had it whose schema had so many steps. */
function fill(path: string, steps: number): void {
  const client = new Database(path);
  for (const step of migrations.slice(0, steps)) client.exec(step);
  client.pragma(`user_version = ${steps}`);
  const fact = client.prepare('INSERT INTO facts VALUES (?, ?)');
  fact.run('outbox_epochs', JSON.stringify([{ epoch: 77, from: 1 }]));
  fact.run('outbox_next', String(windows.length + 2));
  fact.run('outbox_sent', '0');
  fact.run('samples_dropped', '9');
  const item = client.prepare('INSERT INTO outbox (sequence, kind, bytes, item) VALUES (?, ?, ?, ?)');
  const batch = JSON.stringify({ kind: 'labels', labels: [label] });
  item.run(1, 'labels', batch.length, batch);
  for (const [at, window] of windows.entries()) {
    const text = JSON.stringify(window);
    item.run(at + 2, 'window', text.length, text);
    if (steps >= 6 && at % 2 === 1)
      client.prepare("UPDATE outbox SET item = '', packed = ? WHERE sequence = ?").run(deflated(window), at + 2);
  }
  const features = Buffer.from(Float32Array.of(1, 2.5).buffer);
  const sample = client.prepare(
    'INSERT INTO samples (inference_id, model, version, at, reason, features, predicted, score, label, bytes) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)',
  );
  for (let at = 0; at < 50; at++)
    sample.run(
      `s${at}`,
      'm',
      1,
      1000 + at,
      at < 40 ? 'rate' : 'waiting',
      features,
      'a',
      0.5,
      at < 10 ? 'b' : null,
      160,
    );
  const answer = client.prepare(
    'INSERT INTO predictions (inference_id, model, version, predicted, at, label) VALUES (?, ?, ?, ?, ?, ?)',
  );
  answer.run('p1', 'm', 1, 'a', 5, 'b');
  answer.run('p2', 'm', 1, 'a', 5, null);
  const block = encodeBlock([{ hash: hashOf('p3'), model: 'm', version: 2, release: null, predicted: 'c', at: 7 }]);
  client.prepare('INSERT INTO prediction_blocks (answers, block) VALUES (1, ?)').run(block);
  if (steps >= 6) {
    const kept = {
      model: 'm',
      version: 1,
      release: null,
      reason: 'rate',
      predicted: 'a',
      score: 0.5,
      other: null,
    } as const;
    const in_ = encodeSamples([{ ...kept, inferenceId: 'b1', at: 2000, features: Float32Array.of(3, 4) }]);
    client
      .prepare(
        'INSERT INTO sample_blocks (waiting, count, bytes, from_at, to_at, block) VALUES (0, 1, ?, 2000, 2000, ?)',
      )
      .run(in_.length, in_);
    client.prepare('INSERT INTO held_windows (windows) VALUES (?)').run(deflated(windows.slice(0, 2)));
  }
  client.close();
}

it.each([5, 6])('of %i steps loses nothing', (steps) => {
  const path = join(folder, 'agent.db');
  fill(path, steps);
  const database = openDatabase(path, log);
  try {
    const clock = createDeviceClock(Date.now, performance.now.bind(performance));
    const outbox = createOutbox({ database, clock, writes: pendingWrites(), budgetBytes: 1e7, mostAgeMs: 1, log });
    const samples = createSamples({ database, budgetBytes: 1e6, waitMs: 0, manifestOf: () => manifest, log });
    outbox.beginEpoch();
    outbox.trim();
    const batch = outbox.take();
    expect(batch?.epoch).toBe(77);
    expect(batch?.items.map(({ sequence }) => sequence)).toEqual(windows.map((_, at) => at + 1).concat(31));
    expect(batch?.items.map(({ item }) => item)).toEqual([{ kind: 'labels', labels: [label] }, ...windows]);
    const ready = samples.ready(Date.now()).map(({ sample }) => [sample.inferenceId, sample.features, sample.label]);
    const rows = Array.from({ length: 40 }, (_, at) => [`s${at}`, [1, 2.5], at < 10 ? 'b' : undefined]);
    expect(ready).toEqual([...rows, ...(steps >= 6 ? [['b1', [3, 4], undefined]] : [])]);
    const predictions = createPredictions(1e6);
    expect(['p1', 'p2', 'p3'].map((id) => predictions.find(database, id))).toMatchObject([
      { predicted: 'a', label: 'b' },
      { predicted: 'a', label: null },
      { predicted: 'c', version: 2 },
    ]);
    // What waits for its label gets it.
    database.transaction((transaction) => samples.setLabel(transaction, { inferenceId: 's45', at: 1045 }, 'c'));
    expect(samples.ready(Date.now()).map(({ sample }) => sample.inferenceId)).toContain('s45');
    expect(readGivenUp(database, 2)).toEqual(
      expect.arrayContaining([
        { kind: 'sample', reason: 'budget', count: 9 },
        { kind: 'request', reason: 'disk', count: 2 },
      ]),
    );
    const held = database.transaction((transaction) => takeHeld(transaction));
    expect(held.map(({ succeeded }) => succeeded)).toEqual(steps >= 6 ? [1, 2] : []);
  } finally {
    database.$client.close();
  }
});
