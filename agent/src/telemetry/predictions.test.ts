import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { pino } from 'pino';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { type DeviceDatabase, openDatabase } from '../database/open.ts';
import { predictionBlocks, predictions as rows } from '../database/schema.ts';
import { decodeBlock, decodeRow, encodeBlock, hashesIn, hashOf, type Prediction, placeIn } from './prediction-block.ts';
import { createPredictions } from './predictions.ts';
import type { JournalRecord } from './record.ts';

const prediction: fc.Arbitrary<Prediction> = fc.record({
  hash: fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }),
  model: fc.constantFrom('a', 'b'),
  version: fc.integer({ min: 1, max: 9 }),
  release: fc.constantFrom(null, 'a'.repeat(64)),
  predicted: fc.constantFrom(null, 'cat', 'dog', ''),
  at: fc.integer({ min: 1e12, max: 1e12 + 1e9 }),
});

describe('a block of predictions', () => {
  it('gives back what it was made of, each found by its hash', () => {
    const byHash = (a: Prediction, b: Prediction) => (a.hash < b.hash ? -1 : 1);
    fc.assert(
      fc.property(fc.uniqueArray(prediction, { selector: ({ hash }) => hash, minLength: 1 }), (all) => {
        const block = encodeBlock(all);
        expect(decodeBlock(block)).toEqual([...all].sort(byHash));
        const hashes = hashesIn(block);
        for (const each of all) expect(decodeRow(block, placeIn(hashes, each.hash) ?? -1)).toEqual(each);
        const absent = [0n, 5n, 2n ** 64n - 1n].filter((hash) => !all.some((each) => each.hash === hash));
        for (const hash of absent) expect(placeIn(hashes, hash)).toBeUndefined();
      }),
    );
  });

  it('takes 16 bytes for each', () => {
    const many = Array.from({ length: 1000 }, (_, i): Prediction => {
      return {
        hash: hashOf(`id ${i}`),
        model: 'm',
        version: 1,
        release: 'a'.repeat(64),
        predicted: 'cat',
        at: 1e12 + i,
      };
    });
    expect(encodeBlock(many).length).toBeLessThan(16 * 1000 + 300);
  });
});

describe('recent answers', () => {
  let folder = '';
  let database: DeviceDatabase;
  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'agent-predictions-'));
    database = openDatabase(join(folder, 'agent.db'), pino({ level: 'silent' }));
  });
  afterEach(() => {
    database.$client.close();
    rmSync(folder, { recursive: true });
  });

  const answer = (inferenceId: string, at = 1000): JournalRecord => {
    return { inferenceId, model: 'm', version: 1, at, outcome: 'ok', latencyMs: 1, rows: 1, predicted: ['cat'] };
  };

  it('are found after a restart, and keep the label that they got', () => {
    const first = createPredictions(1e7);
    database.transaction((tx) => first.keep(tx, [answer('1'), answer('2'), { ...answer('3'), outcome: 'timeout' }]));
    first.setLabel(database, '2', 'dog');
    const again = createPredictions(1e7);
    expect(again.find(database, '1')).toMatchObject({ model: 'm', predicted: 'cat', at: 1000, label: null });
    expect([again.find(database, '2')?.label, again.find(database, '3')]).toEqual(['dog', undefined]);
    expect([database.select().from(predictionBlocks).all().length, database.select().from(rows).all().length]).toEqual([
      1, 1,
    ]);
  });

  it('of a transaction that is undone are not known, and others take their place', () => {
    const room = createPredictions(1e7);
    expect(() =>
      database.transaction((tx) => {
        room.keep(tx, [answer('1')]);
        throw new Error('no room');
      }),
    ).toThrow('no room');
    expect(room.find(database, '1')).toBeUndefined();
    room.keep(database, [answer('2')]);
    expect([room.find(database, '1'), room.find(database, '2')?.predicted]).toEqual([undefined, 'cat']);
  });

  it('go when there are too many, the oldest first, and do not become thousands of blocks', () => {
    const room = createPredictions(1000 * 200);
    room.keep(database, [answer('old')]);
    database.transaction((tx) => {
      for (let i = 0; i < 4500; i++) room.keep(tx, [answer(`few ${i % 900}`)]);
    });
    expect([room.find(database, 'old'), room.find(database, 'few 7')?.model]).toEqual([undefined, 'm']);
    const big = createPredictions(1e7);
    database.transaction((tx) => {
      for (let i = 0; i < 4500; i++) big.keep(tx, [answer(`more ${i}`)]);
    });
    expect(database.select().from(predictionBlocks).all().length).toBeLessThan(4001);
    for (const i of [0, 1, 2500, 4499]) expect(big.find(database, `more ${i}`)?.at).toBe(1000);
  });
});
