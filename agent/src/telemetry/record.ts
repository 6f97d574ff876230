// One answered request as the journal holds it. The serving process appends records, the supervisor makes windows of
// them, also after a death of either: whatever part of a file is whole can be read.
import { crc32 } from 'node:zlib';
import { errorCodes } from '@edgeloop/shared/errors';
import { Instant, ModelName, ModelVersion, Sha256 } from '@edgeloop/shared/identifiers';
import { z } from 'zod';
import { compactMark, readCompact, writeCompact } from './compact-record.ts';

const Count = z.number().int().min(0);
/** JSON has no other numbers than finite ones; the others travel as null and come back as NaN. */
const Score = z
  .number()
  .nullable()
  .transform((score) => score ?? Number.NaN);

/** Of a run in the shadow of an answer: what answered and what it said, per row, and how far both say the same. */
const ShadowRun = z.object({
  version: ModelVersion,
  release: Sha256.optional(),
  /** Rows; none when the run failed. */
  compared: Count,
  agreed: Count,
  /** Answers since the former record that were not compared. */
  skipped: Count,
  differences: z.array(Score).optional(),
  formerMs: z.number().min(0),
  predicted: z.array(z.string()).optional(),
  scores: z.array(Score).optional(),
});

/**
 * A few numbers about one tensor of the request: `of` says which, `summary/fields.ts` in which order; of `values` all are of
 * one signal, `name`. What a later agent tells beside it is read over.
 */
const Summary = z.object({ of: z.string(), name: z.string(), values: z.array(Score) });
export type Summary = z.infer<typeof Summary>;

/** What is told of a request beside its features: numbers, and texts by the name of their signal. */
export interface Summaries {
  summaries: Summary[];
  texts: Record<string, string[]>;
}

const RecordHeader = z.object({
  inferenceId: z.string(),
  model: ModelName,
  version: ModelVersion,
  /** Which bytes stand behind the version's number. Absent where no fleet said, and in journals of former agents. */
  release: Sha256.optional(),
  /** Which file of a version with several. */
  variant: z.string().optional(),
  at: Instant,
  outcome: z.enum(['ok', 'invalid', ...errorCodes]),
  latencyMs: z.number().min(0),
  rows: Count,
  predicted: z.array(z.string()).optional(),
  scores: z.array(Score).optional(),
  /** Of a regression that was asked for one value. */
  value: Score.optional(),
  /** Milliseconds that it waited for a thread. */
  queueMs: z.number().min(0).optional(),
  /** Rows of the run that it was part of, of one request of each run. */
  batchRows: Count.optional(),
  /** Of a sample of the requests; journals of former agents have neither. */
  summaries: z.array(Summary).optional(),
  texts: z.record(z.string(), z.array(z.string())).optional(),
  shadow: ShadowRun.optional(),
});

/**
 * `outcome`: `ok`, `invalid` for what the caller did wrong, else the error code. `at` and `latencyMs` in milliseconds.
 * `shadow`: nobody was answered with this. `predicted` and `scores` per row, of classifiers. `features` row-major, in the order of the manifest's names.
 */
export type JournalRecord = z.infer<typeof RecordHeader> & { features?: Float32Array | undefined };

/** Length and CRC-32 of the payload. */
const frameBytes = 8;

/**
 * Bytes of a record, little endian: u32 payload length, u32 CRC-32 of the payload, then the payload: that of
 * `compact-record.ts`, or, where it is none of the usual ones, u32 header length, the header as JSON, the features as float32.
 */
export function encodeRecord(record: JournalRecord): Buffer {
  const compact = writeCompact(record, frameBytes);
  if (compact === undefined) return framed(jsonRecord(record));
  return framed(compact);
}

function jsonRecord(record: JournalRecord): Buffer {
  const { features } = record;
  const json = JSON.stringify(features ? { ...record, features: undefined } : record);
  const jsonBytes = Buffer.byteLength(json);
  const headerEnd = frameBytes + 4 + jsonBytes;
  const bytes = Buffer.allocUnsafe(headerEnd + (features?.byteLength ?? 0));
  bytes.writeUInt32LE(jsonBytes, frameBytes);
  bytes.write(json, frameBytes + 4);
  if (features) bytes.set(new Uint8Array(features.buffer, features.byteOffset, features.byteLength), headerEnd);
  return bytes;
}

/** With room for the frame at its beginning. */
function framed(bytes: Buffer): Buffer {
  bytes.writeUInt32LE(bytes.length - frameBytes, 0);
  bytes.writeUInt32LE(crc32(bytes.subarray(frameBytes)), 4);
  return bytes;
}

/** The records at the beginning of `buffer`, up to a torn or damaged one, and how many bytes they take. Never throws. */
export function decodeRecords(buffer: Buffer): { records: JournalRecord[]; consumedBytes: number } {
  const records: JournalRecord[] = [];
  let consumedBytes = 0;
  while (buffer.length - consumedBytes >= frameBytes) {
    const length = buffer.readUInt32LE(consumedBytes);
    const start = consumedBytes + frameBytes;
    if (length > buffer.length - start) break;
    const payload = buffer.subarray(start, start + length);
    if (crc32(payload) !== buffer.readUInt32LE(consumedBytes + 4)) break;
    const record = decodePayload(payload);
    if (!record) break;
    records.push(record);
    consumedBytes = start + length;
  }
  return { records, consumedBytes };
}

function decodePayload(payload: Buffer): JournalRecord | undefined {
  if (payload.length < 4) return undefined;
  const mark = payload.readUInt32LE(0);
  if (mark === compactMark) return readCompact(payload);
  const headerEnd = 4 + mark;
  if (headerEnd > payload.length || (payload.length - headerEnd) % 4 !== 0) return undefined;
  const header = RecordHeader.safeParse(jsonOf(payload.toString('utf8', 4, headerEnd)));
  if (!header.success) return undefined;
  if (headerEnd === payload.length) return header.data;
  // A copy: floats must be aligned, and the record must not hold the whole file in memory.
  const bytes = Uint8Array.from(payload.subarray(headerEnd));
  return { ...header.data, features: new Float32Array(bytes.buffer) };
}

function jsonOf(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    // Not a header: the caller's schema refuses it.
    return undefined;
  }
}
