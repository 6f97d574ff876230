// The rows of a dataset version as blobs: a Parquet file for each split.
import { mkdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { splits } from '@edgeloop/shared/api/data';
import { v7 as uuid } from 'uuid';
import type { Blobs } from '../blobs/folder.ts';
import type { SplitFiles } from './dataset-store.ts';
import { type LabelledRows, rowsOf } from './rows.ts';
import { readParquet, writeParquet } from './tables.ts';

/** Gives the digest of each split's file, which is written in `scratchDir` first. */
export async function storeSplits(
  { blobs, scratchDir }: { blobs: Blobs; scratchDir: string },
  rows: LabelledRows,
): Promise<SplitFiles> {
  const folder = join(scratchDir, uuid());
  await mkdir(folder, { recursive: true });
  try {
    const files = { train: '', validation: '', test: '' };
    for (const split of splits) {
      const path = join(folder, `${split}.parquet`);
      await writeParquet(path, rowsOf(rows, split));
      files[split] = (await blobs.putFile(path)).digest;
    }
    return files;
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

/** All rows, split by split. */
export async function readSplits(blobs: Blobs, files: SplitFiles): Promise<LabelledRows> {
  const parts = await Promise.all(splits.map((split) => readParquet(blobs.path(files[split]), split)));
  const width = parts[0]?.features.length ?? 0;
  const values = new Float32Array(parts.reduce((sum, part) => sum + part.labels.length, 0) * width);
  let offset = 0;
  for (const part of parts) {
    values.set(part.values, offset);
    offset += part.values.length;
  }
  return {
    features: parts[0]?.features ?? [],
    values,
    labels: parts.flatMap((part) => part.labels),
    splits: parts.flatMap((part) => part.splits),
  };
}
