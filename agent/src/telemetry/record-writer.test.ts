import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { decodeRecords, type JournalRecord } from './record.ts';
import { createFeatureBudget } from './record-sampling.ts';
import { createRecordWriter } from './record-writer.ts';

const record = (inferenceId: string, floats = 0): JournalRecord => ({
  inferenceId,
  model: 'm',
  version: 1,
  at: 1,
  outcome: 'ok',
  latencyMs: 1,
  rows: 1,
  ...(floats > 0 ? { features: new Float32Array(floats) } : {}),
});

describe('the record writer', () => {
  let folder: string;
  let failures: unknown[];
  let nowMs: number;
  const create = () => createRecordWriter({ onFailure: (error) => failures.push(error), nowMs: () => nowMs });
  const idsIn = (name: string) =>
    decodeRecords(readFileSync(join(folder, name))).records.map(({ inferenceId }) => inferenceId);

  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'journal-'));
    failures = [];
    nowMs = 0;
  });
  afterEach(() => rmSync(folder, { recursive: true }));

  it('holds records until there is a file, then writes each turn at its end', async () => {
    const writer = create();
    writer.append(record('early'));
    await writer.switchTo(join(folder, 'one'));
    expect(idsIn('one')).toEqual(['early']);
    writer.append(record('a'));
    writer.append(record('b'));
    expect(idsIn('one')).toEqual(['early']);
    await Promise.resolve();
    expect(idsIn('one')).toEqual(['early', 'a', 'b']);
    await writer.close();
  });

  it('completes the former file when it switches', async () => {
    const writer = create();
    await writer.switchTo(join(folder, 'one'));
    writer.append(record('a'));
    const switched = writer.switchTo(join(folder, 'two'));
    writer.append(record('b'));
    await switched;
    expect(idsIn('one')).toEqual(['a']);
    expect(idsIn('two')).toEqual(['b']);
    await writer.close();
  });

  it('keeps the old file when the new one cannot be made', async () => {
    const writer = create();
    await writer.switchTo(join(folder, 'one'));
    await expect(writer.switchTo(join(folder, 'missing', 'two'))).rejects.toThrow('ENOENT');
    writer.append(record('a'));
    await Promise.resolve();
    expect(idsIn('one')).toEqual(['a']);
    await writer.close();
  });

  it.runIf(existsSync('/dev/full'))('goes on without a disk, says so once, and catches up', async () => {
    const writer = create();
    await writer.switchTo('/dev/full');
    for (const id of ['a', 'b']) {
      writer.append(record(id));
      await Promise.resolve();
      nowMs += 2000;
    }
    expect(failures).toMatchObject([{ code: 'ENOSPC' }]);
    expect(writer.status()).toMatchObject({ failedWrites: 2, lostRecords: 0 });
    // The device can neither be cut nor synced, so its end is an error; the records move on all the same.
    await writer.switchTo(join(folder, 'two')).catch((error) => expect(error).toMatchObject({ code: 'EINVAL' }));
    expect(idsIn('two')).toEqual(['a', 'b']);
    await writer.close();
  });

  it('bounds what it holds, and counts what it lost', () => {
    const writer = create();
    for (let i = 0; i < 5; i++) writer.append(record(`${i}`, 1024 * 1024));
    expect(writer.status().lostRecords).toBe(2);
    expect(writer.status().pendingBytes).toBeLessThan(16 * 1024 * 1024);
  });
});

describe('the feature budget', () => {
  it('records 512 rows a second, and large batches now and then', () => {
    let nowMs = 0;
    const budget = createFeatureBudget();
    const taken = (count: number) =>
      Array.from({ length: count }, () => budget.take(1, 10, nowMs)).filter(Boolean).length;
    expect(taken(1000)).toBe(512);
    nowMs += 500;
    expect(taken(1000)).toBe(256);
    nowMs += 1000;
    expect(budget.take(5120, 10, nowMs)).toBe(true);
    nowMs += 8000;
    expect(budget.take(1, 10, nowMs)).toBe(false);
    nowMs += 2000;
    expect(budget.take(1, 10, nowMs)).toBe(true);
  });
});
