import { mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { CapturedSample } from '@edgeloop/shared/telemetry';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { createFolderBlobs } from '../blobs/folder.ts';
import { type Database, openSqlite } from '../database/open.ts';
import { createData, type Data } from './data.ts';
import { readParquet } from './tables.ts';

let folder: string;
let database: Database;
let data: Data;

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'edgeloop-data-'));
  database = openSqlite(join(folder, 'test.db'));
  data = createData({
    database,
    blobs: createFolderBlobs(join(folder, 'blobs')),
    now: () => 5_000,
    scratchDir: join(folder, 'scratch'),
    featuresOf: async () => ['a', 'b'],
  });
});
afterEach(async () => {
  await database.close();
  await rm(folder, { recursive: true, force: true });
});

const split = { train: 0.7, validation: 0.15, test: 0.15 };
const sample = (id: string, a: number, extra: Partial<CapturedSample> = {}): CapturedSample => ({
  inferenceId: id,
  model: 'm',
  version: 1,
  predictedAt: 1000 + a,
  reason: 'rate',
  features: [a, 1],
  predicted: 'x',
  score: 0.5,
  ...extra,
});

async function importCsv(text: string) {
  const path = join(folder, 'table.csv');
  await writeFile(path, text);
  return data.importTable('key:test', 'numbers', {
    path,
    fileDigest: '0'.repeat(64),
    options: { format: 'csv', label: 'kind', splitColumn: 'part', split },
  });
}

test('a CSV file becomes a version with the splits it names, readable as Parquet', async () => {
  const version = await importCsv('a,kind,b,part\n1,x,2,train\n3,y,4.5,test\n5,x,,train\n');
  expect(version).toMatchObject({
    version: 1,
    rows: { train: 1, validation: 0, test: 1 },
    dropped: { missing: 1 },
    schema: { features: ['a', 'b'], classes: ['x', 'y'] },
  });
  const { test: path } = await data.files('numbers', 1);
  expect(await readParquet(path, 'test')).toEqual({
    features: ['a', 'b'],
    values: Float32Array.of(3, 4.5),
    labels: ['y'],
    splits: ['test'],
  });
  expect(await readdir(join(folder, 'scratch'))).toEqual([]);
});

test.each([
  ['a,b\n1,2\n', /no column "kind"/],
  ['kind,part\nx,train\n', /no feature column/],
  ['a,kind,part\n1,x,practice\n', /split "practice"/],
  ['a,kind,part\nred,x,train\n', /cannot be read as a table/],
  ['a,kind,part\n,x,train\n', /no usable row/],
])('the table %j is refused with the reason', async (text, reason) => {
  await expect(importCsv(text)).rejects.toThrow(reason);
  expect((await data.datasets({ limit: 10 })).items).toEqual([]);
});

test('the same rows again give the version that is there', async () => {
  const text = 'a,kind,b,part\n1,x,2,train\n';
  const first = await importCsv(text);
  expect(await importCsv(text)).toEqual(first);
});

test('labelled field samples join a base version; labels count whenever they come', async () => {
  await importCsv('a,kind,b,part\n1,x,2,train\n3,y,4,test\n');
  await data.capture('device-1', { samples: [sample('i1', 7, { label: 'x' }), sample('i2', 8), sample('i3', 9)] });
  expect(await data.labelledSince('m', 0)).toBe(1);
  expect(
    await data.label('key:test', {
      labels: [
        { inferenceId: 'i2', label: 'y' },
        { inferenceId: 'nobody', label: 'y' },
      ],
    }),
  ).toEqual({ stored: 1, unknown: ['nobody'] });
  expect(await data.labelledSince('m', 1008)).toBe(1);

  const version = await data.build('key:test', 'numbers', { base: 1, fromField: { model: 'm' }, split });
  expect(version).toMatchObject({ version: 2, lineage: { base: 1, field: { model: 'm', rows: 2 } } });
  expect(version.rows.train + version.rows.validation + version.rows.test).toBe(4);
});

test('a sample that comes twice is stored once and keeps its label', async () => {
  await data.capture('device-1', { samples: [sample('i1', 7, { label: 'x' })] });
  await data.capture('device-1', { samples: [sample('i1', 7)] });
  expect((await data.samples({ limit: 10 })).items).toMatchObject([{ inferenceId: 'i1', label: 'x' }]);
});

test('samples are listed page by page, newest first', async () => {
  await data.capture('device-1', { samples: [sample('i1', 1), sample('i2', 2), sample('i3', 3)] });
  const first = await data.samples({ limit: 2 });
  expect(first.items.map((each) => each.inferenceId)).toEqual(['i3', 'i2']);
  const second = await data.samples({ limit: 2, cursor: first.nextCursor });
  expect(second).toMatchObject({ items: [{ inferenceId: 'i1' }] });
  expect(second.nextCursor).toBeUndefined();
});

test('field samples of another schema than the base are refused', async () => {
  await importCsv('c,kind,d,part\n1,x,2,train\n');
  await expect(data.build('key:test', 'numbers', { base: 1, fromField: { model: 'm' }, split })).rejects.toThrow(
    /other features/,
  );
});
