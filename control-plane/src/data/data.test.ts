import { mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { CapturedSample } from '@edgeloop/shared/telemetry';
import { Registry } from 'prom-client';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { createFolderBlobs } from '../blobs/folder.ts';
import { type Database, openSqlite } from '../database/open.ts';
import type { Disregarded, Verdict } from '../fleet/fleet.ts';
import { createData, type Data } from './data.ts';
import { readParquet } from './tables.ts';

let folder: string;
let database: Database;
let data: Data;
let metrics: Registry;
let verdicts: Map<string, Verdict>;
let disregarded: Disregarded[];
let labelled: string[];

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'edgeloop-data-'));
  database = openSqlite(join(folder, 'test.db'));
  metrics = new Registry();
  verdicts = new Map();
  disregarded = [];
  labelled = [];
  data = createData({
    database,
    blobs: createFolderBlobs(join(folder, 'blobs')),
    now: () => 5_000,
    scratchDir: join(folder, 'scratch'),
    featuresOf: async () => ['a', 'b'],
    featureCount: async () => 2,
    claims: {
      judge: async () => (claim) => verdicts.get(`${claim.model} ${claim.version}`) ?? 'counted',
      disregard: async (_tx, entries) => void disregarded.push(...entries),
    },
    labelled: (models) => void labelled.push(...models),
    metrics,
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
  ).toEqual({ stored: 1, unknown: ['nobody'], ambiguous: [] });
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

test('a sample that a wrong clock has dated stands where its prediction was made by this server’s', async () => {
  const days = 400 * 86_400_000;
  await data.capture('device-1', {
    samples: [
      sample('ahead', 0, { predictedAt: 4_000 + days, clockOffsetMs: days }),
      sample('behind', 0, { predictedAt: 0, clockOffsetMs: -3_000_000 }),
      sample('right', 0, { predictedAt: 3_000, clockOffsetMs: 900 }),
    ],
  });
  const { items } = await data.samples({ limit: 10 });
  expect(Object.fromEntries(items.map(({ inferenceId, predictedAt }) => [inferenceId, predictedAt]))).toEqual({
    ahead: 4_000,
    behind: 3_000_000,
    right: 3_000,
  });
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

test('only samples that the device may have seen are stored; the others are refused one by one, and counted', async () => {
  verdicts = new Map([
    ['m 7', 'never_assigned'],
    ['m 8', 'unknown_release'],
  ]);
  const tomorrow = 5_000 + 86_400_001;
  const upload = [
    sample('good', 1, { label: 'x' }),
    sample('never', 2, { version: 7, label: 'x' }),
    sample('foreign', 3, { version: 8, label: 'x' }),
    sample('later', 4, { predictedAt: tomorrow, label: 'x' }),
    sample('wide', 5, { features: [1, 2, 3], label: 'x' }),
    sample('huge', 6, { features: [1e300, 1], label: 'x' }),
    { ...sample('odd', 7, { label: 'x' }), version: 'two' },
    'no sample',
    sample('gap', 8, { features: [null, 1], label: 'x' }),
  ];
  const result = await data.capture('device-1', { samples: upload });
  expect(result.stored).toBe(2);
  expect(result.refused.map(({ index, reason }) => [index, reason])).toEqual([
    [1, 'never_assigned'],
    [2, 'unknown_release'],
    [3, 'future'],
    [4, 'features'],
    [5, 'values'],
    [6, 'malformed'],
    [7, 'malformed'],
  ]);
  expect((await data.samples({ limit: 10 })).items.map((each) => each.inferenceId)).toEqual(['gap', 'good']);
  expect(disregarded.map(({ reason, count }) => `${count} ${reason}`)).toEqual([
    ...['1 never_assigned', '1 unknown_release', '1 future', '1 features', '1 values', '2 malformed'],
  ]);
  expect(await metrics.metrics()).toContain('edgeloop_samples_refused_total{reason="malformed"} 2');
  const version = await data.build('key:test', 'field', { fromField: { model: 'm' }, split });
  expect(version).toMatchObject({ lineage: { field: { rows: 2 } }, dropped: { missing: 1 } });
});

test('an upload of which nothing is left is refused in a way that ends it, naming the model', async () => {
  verdicts = new Map([['m 1', 'never_assigned']]);
  const refused = data.capture('device-1', { samples: [sample('i1', 1), sample('i2', 2)] });
  await expect(refused).rejects.toMatchObject({
    code: 'invalid_request',
    message: expect.stringContaining('model "m" version 1: this device was never told to run it'),
    errors: [{ field: 'samples.0' }, { field: 'samples.1' }],
  });
  expect(disregarded).toMatchObject([{ deviceId: 'device-1', model: 'm', version: 1, count: 2 }]);
  expect((await data.samples({ limit: 10 })).items).toEqual([]);
});

test('a label of what ran under a false number labels no sample', async () => {
  await data.capture('device-1', { samples: [sample('i1', 1)] });
  await database.transact(async (tx) => {
    await tx.insert(database.tables.labels).values({
      ...{ deviceId: 'device-1', inferenceId: 'i1', model: 'm', version: 1, predictedAt: 1 },
      ...{ predicted: 'x', label: 'y', labelledAt: 2, foreignRelease: 'b'.repeat(64) },
    });
  });
  expect(await data.labelledSince('m', 0)).toBe(0);
  expect((await data.samples({ limit: 10 })).items).toMatchObject([{ label: null }]);
});

test('the truth of one device’s input labels no input of another that uses the same id', async () => {
  await data.capture('device-1', { samples: [sample('i1', 1)] });
  await data.capture('device-2', { samples: [sample('i1', 100)] });
  const label = (deviceId?: string) =>
    data.label('key:test', { labels: [{ inferenceId: 'i1', label: 'y', ...(deviceId && { deviceId }) }] });
  expect(await label()).toEqual({ stored: 0, unknown: [], ambiguous: ['i1'] });
  expect(await data.labelledSince('m', 0)).toBe(0);
  expect(labelled).toEqual([]);
  expect(await label('device-1')).toEqual({ stored: 1, unknown: [], ambiguous: [] });
  expect(labelled).toEqual(['m']);
  expect(await label('device-3')).toEqual({ stored: 0, unknown: ['i1'], ambiguous: [] });
  const { items } = await data.samples({ limit: 10 });
  expect(items.map(({ deviceId, label: truth }) => [deviceId, truth])).toEqual([
    ['device-2', null],
    ['device-1', 'y'],
  ]);
});
