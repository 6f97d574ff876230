// Labelled rows in memory, and the pure steps that make a dataset version of them: cleaning, splitting, hashing.
import { createHash } from 'node:crypto';
import { type DatasetBuild, type Split, splits } from '@edgeloop/shared/api/data';
import type { Sha256 } from '@edgeloop/shared/identifiers';

/** `values`: row-major, one row of `features.length` numbers for each label. */
export interface LabelledRows {
  features: string[];
  values: Float32Array;
  labels: string[];
  splits: Split[];
}

/** A row before it is known whether it is kept; without `split` the split is by hash. */
export interface RawRow {
  values: Float32Array;
  label: string;
  split?: Split;
}

export interface CleanedRows {
  rows: LabelledRows;
  dropped: Record<string, number>;
}

type Shares = DatasetBuild['split'];

/**
 * Keeps the rows that are whole and new, in their order. Dropped are rows with another number of features
 * (`schema`), a missing value (`missing`), no label (`unlabelled`), the values of an earlier row (`duplicate`), or
 * its values with another label (`contradiction`).
 */
export function clean(features: string[], raw: Iterable<RawRow>, shares: Shares): CleanedRows {
  const dropped: Record<string, number> = {};
  const labelOf = new Map<string, string>();
  const kept: { values: Float32Array; label: string; split: Split }[] = [];
  for (const row of raw) {
    const reason = defectOf(row, features.length);
    const key = reason === undefined ? hashOf(row.values) : '';
    const earlier = labelOf.get(key);
    const verdict =
      reason ?? (earlier === undefined ? undefined : earlier === row.label ? 'duplicate' : 'contradiction');
    if (verdict !== undefined) {
      dropped[verdict] = (dropped[verdict] ?? 0) + 1;
      continue;
    }
    labelOf.set(key, row.label);
    kept.push({ values: row.values, label: row.label, split: row.split ?? splitOf(key, shares) });
  }
  return { rows: pack(features, kept), dropped };
}

/** Whether no version with these shares trains on the row. */
export function isHeldOut(values: Float32Array, shares: Shares): boolean {
  return splitOf(hashOf(values), shares) !== 'train';
}

/** The rows of one split, in their order. */
export function rowsOf(rows: LabelledRows, split: Split): LabelledRows {
  const width = rows.features.length;
  const indexes = [...rows.splits.keys()].filter((i) => rows.splits[i] === split);
  return pack(
    rows.features,
    indexes.map((i) => ({
      values: rows.values.subarray(i * width, (i + 1) * width),
      label: rows.labels[i] ?? '',
      split,
    })),
  );
}

export function* eachRow(rows: LabelledRows): Iterable<RawRow> {
  const width = rows.features.length;
  for (const [i, label] of rows.labels.entries()) {
    const split = rows.splits[i];
    yield {
      values: rows.values.subarray(i * width, (i + 1) * width),
      label,
      ...(split === undefined ? {} : { split }),
    };
  }
}

export function countBySplit(rows: LabelledRows): Record<Split, number> {
  const counts = { train: 0, validation: 0, test: 0 };
  for (const split of rows.splits) counts[split]++;
  return counts;
}

/** Class names, sorted. */
export function classesOf(rows: LabelledRows): string[] {
  return [...new Set(rows.labels)].sort();
}

/** SHA-256 over the feature names and, split by split, every row in its order: values as little-endian float32, then the label. */
export function digestOf(rows: LabelledRows): Sha256 {
  const hash = createHash('sha256').update(JSON.stringify({ format: 1, features: rows.features }));
  for (const split of splits) {
    hash.update(`\n${split}\n`);
    for (const row of eachRow(rowsOf(rows, split))) hash.update(bytesOf(row.values)).update(JSON.stringify(row.label));
  }
  return hash.digest('hex');
}

function defectOf(row: RawRow, width: number): string | undefined {
  if (row.values.length !== width) return 'schema';
  if (row.label === '') return 'unlabelled';
  return row.values.every(Number.isFinite) ? undefined : 'missing';
}

/** By the row's own hash, so that the same row falls into the same split in every version. */
function splitOf(hash: string, shares: Shares): Split {
  const position = Number.parseInt(hash.slice(0, 8), 16) / 2 ** 32;
  if (position < shares.train) return 'train';
  return position < shares.train + shares.validation ? 'validation' : 'test';
}

/** Rows side by side; each has one value for each feature. */
export function pack(features: string[], rows: { values: Float32Array; label: string; split: Split }[]): LabelledRows {
  const values = new Float32Array(rows.length * features.length);
  for (const [i, row] of rows.entries()) values.set(row.values, i * features.length);
  return { features, values, labels: rows.map((row) => row.label), splits: rows.map((row) => row.split) };
}

function hashOf(values: Float32Array): string {
  return createHash('sha256').update(bytesOf(values)).digest('hex');
}

function bytesOf(values: Float32Array): Uint8Array {
  return new Uint8Array(values.buffer, values.byteOffset, values.byteLength);
}
