import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Manifest } from '@edgeloop/shared/manifest';
import pino from 'pino';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { softmaxClassifier } from '../../../../test/support/onnx-models.ts';
import { type DeviceDatabase, openDatabase } from '../../database/open.ts';
import { pendingWrites } from '../../storage/pending-writes-fixture.ts';
import { createTuner } from './tuning.ts';

let folder = '';
let database: DeviceDatabase;
const lines: string[] = [];
const log = pino({ level: 'info' }, { write: (line: string) => void lines.push(line) });

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'agent-tuning-'));
  database = openDatabase(join(folder, 'agent.db'), log);
  lines.length = 0;
});
afterEach(() => {
  database.$client.close();
  rmSync(folder, { recursive: true });
});

const tuner = (cpuModel = 'some cpu', tuneMs = 600) =>
  createTuner({
    writes: pendingWrites(),
    database,
    cpuModel,
    threads: 2,
    tuneMs,
    bounds: { timeoutMs: 60_000, maxRssBytes: 2 ** 31 },
    log,
  });
const never = new AbortController().signal;

function model(digest: string) {
  const path = join(folder, 'model.onnx');
  writeFileSync(path, softmaxClassifier([[1, -1]], [0, 0]));
  return { name: 'm', version: 1, path, digest, manifest: Manifest.parse({ batching: { maxBatch: 8 } }) };
}

it('measures a model once per file and hardware', async () => {
  await tuner().tune(model('d'), never);
  const tuning = tuner().tuningOf('d');
  expect(lines.join('')).not.toContain('could not');
  expect(tuning).toMatchObject({ instances: expect.any(Number), intraOpThreads: expect.any(Number) });
  expect((tuning?.instances ?? 9) * (tuning?.intraOpThreads ?? 9)).toBeLessThanOrEqual(2);
  expect(tuning?.maxBatch).toBeLessThanOrEqual(8);
  expect(lines.filter((line) => line.includes('measured'))).toHaveLength(1);
  await tuner().tune(model('d'), never);
  expect(lines).toHaveLength(1);
  expect(tuner('another cpu').tuningOf('d')).toBeUndefined();
});

it('leaves the defaults to a model that cannot be measured, and measures nothing without time', async () => {
  await tuner('some cpu', 0).tune(model('d'), never);
  expect(lines).toEqual([]);
  const broken = model('d');
  writeFileSync(broken.path, 'no model');
  await tuner().tune(broken, never);
  expect(tuner().tuningOf('d')).toBeUndefined();
  expect(lines.join()).toContain('could not be measured');
});
