// Answers of one fold as one block of bytes: some 11 for each, in the order of a hash of their ids, so that one is found in a block by
// halving and a block is written in one piece. Pure.
import { createHash } from 'node:crypto';
import { deflateRawSync, inflateRawSync } from 'node:zlib';
import { Instant, ModelName, ModelVersion } from '@edgeloop/shared/identifiers';
import { z } from 'zod';
import { createNames, planesOf, rowsOf } from './block-parts.ts';

export interface Prediction {
  /** Of its inference id, see `hashOf`. */
  hash: bigint;
  model: string;
  version: number;
  release: string | null;
  /** The class; null where there is not one alone. */
  predicted: string | null;
  at: number;
}

const Head = z.object({
  from: Instant,
  models: z.array(z.tuple([ModelName, ModelVersion, z.string().nullable()])),
  classes: z.array(z.string()),
});

const rowBytes = 16;
/** Added to the length of the head; blocks that agents of before have written are not. */
const compressed = 2 ** 31;
const none = 0xffff;
/** A block names so many models and classes at most. */
export const blockRows = 20_000;

/** The first eight bytes of its SHA-256: among a million answers two are alike once in 37 million devices. */
export function hashOf(inferenceId: string): bigint {
  return createHash('sha256').update(inferenceId).digest().readBigUInt64LE();
}

/** Up to `blockRows` of them. */
export function encodeBlock(predictions: readonly Prediction[]): Buffer {
  const sorted = [...predictions].sort((a, b) => (a.hash < b.hash ? -1 : a.hash > b.hash ? 1 : 0));
  const from = predictions.reduce((least, { at }) => Math.min(least, at), Number.MAX_SAFE_INTEGER);
  const models = createNames<[string, number, string | null]>();
  const classes = createNames<string>();
  const rows = Buffer.alloc(sorted.length * rowBytes);
  for (const [place, { hash, model, version, release, predicted, at }] of sorted.entries()) {
    const offset = place * rowBytes;
    rows.writeBigUInt64LE(hash, offset);
    // After a jump of the clock by more than seven weeks the later ones stand at the end of these.
    rows.writeUInt32LE(Math.min(at - from, 2 ** 32 - 1), offset + 8);
    rows.writeUInt16LE(models.placeOf([model, version, release]), offset + 12);
    rows.writeUInt16LE(predicted === null ? none : classes.placeOf(predicted), offset + 14);
  }
  const head = Buffer.from(JSON.stringify({ from, models: models.all, classes: classes.all }));
  const length = Buffer.alloc(4);
  length.writeUInt32LE(head.length + compressed);
  return Buffer.concat([length, head, deflateRawSync(planesOf(rows, rowBytes))]);
}

/** Of each row, in their order. */
export function hashesIn(block: Buffer): BigUint64Array {
  const rows = rowsIn(block);
  return BigUint64Array.from({ length: rows.length / rowBytes }, (_, place) => rows.readBigUInt64LE(place * rowBytes));
}

/** The row with this hash, or undefined. */
export function placeIn(hashes: BigUint64Array, hash: bigint): number | undefined {
  let [low, high] = [0, hashes.length];
  while (low < high) {
    const middle = (low + high) >>> 1;
    if ((hashes[middle] ?? 0n) < hash) low = middle + 1;
    else high = middle;
  }
  return hashes[low] === hash ? low : undefined;
}

export function decodeRow(block: Buffer, place: number): Prediction {
  return readRow(headOf(block), rowsIn(block), place);
}

export function decodeBlock(block: Buffer): Prediction[] {
  const [head, rows] = [headOf(block), rowsIn(block)];
  return Array.from({ length: rows.length / rowBytes }, (_, place) => readRow(head, rows, place));
}

function readRow({ from, models, classes }: z.infer<typeof Head>, rows: Buffer, place: number): Prediction {
  const offset = place * rowBytes;
  const [model = '', version = 0, release = null] = models[rows.readUInt16LE(offset + 12)] ?? [];
  const predicted = classes[rows.readUInt16LE(offset + 14)] ?? null;
  return {
    hash: rows.readBigUInt64LE(offset),
    model,
    version,
    release,
    predicted,
    at: from + rows.readUInt32LE(offset + 8),
  };
}

function headOf(block: Buffer): z.infer<typeof Head> {
  return Head.parse(JSON.parse(block.toString('utf8', 4, headEnd(block))));
}

function rowsIn(block: Buffer): Buffer {
  const rest = block.subarray(headEnd(block));
  return block.readUInt32LE() < compressed ? rest : rowsOf(inflateRawSync(rest), rowBytes);
}

function headEnd(block: Buffer): number {
  return 4 + (block.readUInt32LE() % compressed);
}
