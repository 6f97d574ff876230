// Captured samples of one fold as one block of bytes, compressed: a few dozen bytes for each where a row takes hundreds. Pure.
import { Instant, ModelName, ModelVersion } from '@edgeloop/shared/identifiers';
import { OtherPrediction } from '@edgeloop/shared/telemetry';
import { z } from 'zod';
import { createNames, packed, planesOf, rowsOf, unpacked } from './block-parts.ts';

export const keptReasons = ['rate', 'low_confidence', 'labelled', 'waiting', 'disagreement'] as const;

/** A sample as it is kept; `waiting` ones are uploaded only if their label comes. */
export interface KeptSample {
  inferenceId: string;
  model: string;
  version: number;
  release: string | null;
  at: number;
  reason: (typeof keptReasons)[number];
  predicted: string | null;
  score: number | null;
  features: Float32Array;
  /** What a shadow said, of a disagreement. */
  other: OtherPrediction | null;
}

const Head = z.object({
  from: Instant,
  count: z.number().int(),
  /** With how many features each has. */
  kinds: z.array(z.tuple([ModelName, ModelVersion, z.string().nullable(), z.enum(keptReasons), z.number().int()])),
  classes: z.array(z.string()),
  /** Where some are no UUIDs. */
  ids: z.array(z.string()).optional(),
  others: z.array(z.tuple([z.number().int(), OtherPrediction])),
});

/** Instant, kind, class, score. */
const rowBytes = 18;
const idBytes = 16;
const none = 0xffff;
/** A block names so many kinds and classes at most. */
export const blockSamples = 20_000;
const uuid = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/;

/** Up to `blockSamples` of them. */
export function encodeSamples(samples: readonly KeptSample[]): Buffer {
  const from = samples.reduce((least, { at }) => Math.min(least, at), Number.MAX_SAFE_INTEGER);
  const kinds = createNames<z.infer<typeof Head>['kinds'][number]>();
  const classes = createNames<string>();
  const rows = Buffer.alloc(samples.length * rowBytes);
  for (const [place, { model, version, release, reason, features, at, predicted, score }] of samples.entries()) {
    const offset = place * rowBytes;
    rows.writeUIntLE(at - from, offset, 6);
    rows.writeUInt16LE(kinds.placeOf([model, version, release, reason, features.length]), offset + 6);
    rows.writeUInt16LE(predicted === null ? none : classes.placeOf(predicted), offset + 8);
    rows.writeDoubleLE(score ?? Number.NaN, offset + 10);
  }
  const values = Buffer.concat(samples.map(({ features }) => bytesOf(features)));
  const areUuids = samples.every(({ inferenceId }) => uuid.test(inferenceId));
  const ids = samples.map(({ inferenceId }) => inferenceId);
  const head: z.infer<typeof Head> = {
    ...{ from, count: samples.length, kinds: kinds.all, classes: classes.all },
    others: samples.flatMap(({ other }, place): [number, OtherPrediction][] =>
      other === null ? [] : [[place, other]],
    ),
    ...(areUuids ? {} : { ids }),
  };
  const idRows = areUuids ? Buffer.from(ids.join('').replaceAll('-', ''), 'hex') : Buffer.alloc(0);
  return packed(head, [planesOf(rows, rowBytes), planesOf(idRows, idBytes), planesOf(values, 4)]);
}

export function decodeSamples(block: Uint8Array): KeptSample[] {
  const { head, rest } = unpacked(block);
  const { from, count, kinds, classes, ids, others } = Head.parse(head);
  const rowsEnd = count * rowBytes;
  const idsEnd = rowsEnd + (ids === undefined ? count * idBytes : 0);
  const rows = rowsOf(rest.subarray(0, rowsEnd), rowBytes);
  const idRows = rowsOf(rest.subarray(rowsEnd, idsEnd), idBytes);
  const values = new Float32Array(Uint8Array.from(rowsOf(rest.subarray(idsEnd), 4)).buffer);
  const othersByPlace = new Map(others);
  let end = 0;
  return Array.from({ length: count }, (_, place): KeptSample => {
    const offset = place * rowBytes;
    const kind = kinds[rows.readUInt16LE(offset + 6)];
    if (kind === undefined) throw new Error(`sample ${place} of a block is of no kind`);
    const [model, version, release, reason, width] = kind;
    const score = rows.readDoubleLE(offset + 10);
    end += width;
    return {
      inferenceId: ids?.[place] ?? uuidAt(idRows, place),
      ...{ model, version, release, reason },
      at: from + rows.readUIntLE(offset, 6),
      predicted: classes[rows.readUInt16LE(offset + 8)] ?? null,
      score: Number.isNaN(score) ? null : score,
      features: values.slice(end - width, end),
      other: othersByPlace.get(place) ?? null,
    };
  });
}

export function bytesOf(features: Float32Array): Buffer {
  return Buffer.from(features.buffer, features.byteOffset, features.byteLength);
}

function uuidAt(idRows: Buffer, place: number): string {
  const hex = idRows.toString('hex', place * idBytes, (place + 1) * idBytes);
  return [hex.slice(0, 8), hex.slice(8, 12), hex.slice(12, 16), hex.slice(16, 20), hex.slice(20)].join('-');
}
