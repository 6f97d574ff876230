// Answers of one fold as one block of bytes: 16 for each, in the order of a hash of their ids, so that one is found in a block by
// halving and a block is written in one piece. Pure.
import { createHash } from 'node:crypto';
import { Instant, ModelName, ModelVersion } from '@edgeloop/shared/identifiers';
import { z } from 'zod';

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
  length.writeUInt32LE(head.length);
  return Buffer.concat([length, head, rows]);
}

/** Of each row, in their order. */
export function hashesIn(block: Buffer): BigUint64Array {
  const rows = rowsOf(block);
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
  return readRow(headOf(block), rowsOf(block), place);
}

export function decodeBlock(block: Buffer): Prediction[] {
  const [head, rows] = [headOf(block), rowsOf(block)];
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
  return Head.parse(JSON.parse(block.toString('utf8', 4, 4 + block.readUInt32LE())));
}

function rowsOf(block: Buffer): Buffer {
  return block.subarray(4 + block.readUInt32LE());
}

/** Names in the order in which they came. */
function createNames<T>() {
  const all: T[] = [];
  const places = new Map<string, number>();
  return {
    all,
    placeOf(name: T): number {
      const key = JSON.stringify(name);
      const known = places.get(key);
      if (known !== undefined) return known;
      places.set(key, all.length);
      return all.push(name) - 1;
    },
  };
}
