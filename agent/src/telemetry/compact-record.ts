// A record as few bytes: each request writes one, in the time of its caller. Little endian; texts and lists with their lengths in
// front, as u16. What does not fit into that is left to the other form.
import { errorCodes } from '@edgeloop/shared/errors';
import type { JournalRecord, Summary } from './record.ts';

/** Stands where the other form has the length of a header. */
export const compactMark = 0xfffffffe;

const has = {
  release: 1,
  variant: 2,
  predicted: 4,
  scores: 8,
  value: 16,
  queueMs: 32,
  batchRows: 64,
  summaries: 128,
  texts: 256,
};
const scratch = Buffer.allocUnsafe(16 * 1024);
const fixedBytes = 128;
const outcomes = new Map<string, JournalRecord['outcome']>(
  (['ok', 'invalid', ...errorCodes] as const).map((outcome) => [outcome, outcome]),
);

/** The record behind so many bytes of room; undefined where it is not for this form. */
export function writeCompact(record: JournalRecord, room: number): Buffer | undefined {
  if (record.shadow !== undefined || mostBytesOf(record) > scratch.length) return undefined;
  if (record.version > 0xffffffff || record.rows > 0xffffffff || record.at >= 2 ** 48) return undefined;
  const { release, features } = record;
  if (release !== undefined && release.length !== 64) return undefined;
  const end = writeParts(record);
  const bytes = Buffer.allocUnsafe(room + end + (features?.byteLength ?? 0));
  scratch.copy(bytes, room, 0, end);
  if (features) bytes.set(new Uint8Array(features.buffer, features.byteOffset, features.byteLength), room + end);
  return bytes;
}

function mostBytesOf({ inferenceId, model, variant = '', predicted, scores, summaries, texts }: JournalRecord): number {
  let most = fixedBytes + 3 * (inferenceId.length + model.length + variant.length) + 8 * (scores?.length ?? 0);
  for (const label of predicted ?? []) most += 2 + 3 * label.length;
  for (const { of, name, values } of summaries ?? []) most += 6 + 3 * (of.length + name.length) + 8 * values.length;
  return texts === undefined ? most : most + 2 + 3 * JSON.stringify(texts).length;
}

function writeParts(record: JournalRecord): number {
  const { release, variant, predicted, scores, value, queueMs, batchRows, summaries, texts } = record;
  scratch.writeUInt32LE(compactMark, 0);
  scratch.writeUInt32LE(record.version, 6);
  scratch.writeUInt32LE(record.rows, 10);
  scratch.writeUIntLE(record.at, 14, 6);
  let end = scratch.writeDoubleLE(record.latencyMs, 20);
  end = writeText(record.inferenceId, end);
  end = writeText(record.model, end);
  end = writeText(record.outcome, end);
  let parts = 0;
  if (release !== undefined) {
    parts |= has.release;
    end += scratch.write(release, end, 'hex');
  }
  if (variant !== undefined) {
    parts |= has.variant;
    end = writeText(variant, end);
  }
  if (predicted !== undefined) {
    parts |= has.predicted;
    end = scratch.writeUInt16LE(predicted.length, end);
    for (const label of predicted) end = writeText(label, end);
  }
  if (scores !== undefined) {
    parts |= has.scores;
    end = writeNumbers(scores, end);
  }
  if (value !== undefined) {
    parts |= has.value;
    end = scratch.writeDoubleLE(value, end);
  }
  if (queueMs !== undefined) {
    parts |= has.queueMs;
    end = scratch.writeDoubleLE(queueMs, end);
  }
  if (batchRows !== undefined) {
    parts |= has.batchRows;
    end = scratch.writeUInt32LE(batchRows, end);
  }
  if (summaries !== undefined) {
    parts |= has.summaries;
    end = scratch.writeUInt16LE(summaries.length, end);
    for (const { of, name, values } of summaries) end = writeNumbers(values, writeText(name, writeText(of, end)));
  }
  if (texts !== undefined) {
    parts |= has.texts;
    end = writeText(JSON.stringify(texts), end);
  }
  scratch.writeUInt16LE(parts, 4);
  return end;
}

function writeText(text: string, at: number): number {
  const bytes = scratch.write(text, at + 2);
  scratch.writeUInt16LE(bytes, at);
  return at + 2 + bytes;
}

function writeNumbers(numbers: readonly number[], at: number): number {
  let end = scratch.writeUInt16LE(numbers.length, at);
  for (const number of numbers) end = scratch.writeDoubleLE(number, end);
  return end;
}

/** Undefined when it is none, whatever its checksum says. */
export function readCompact(payload: Buffer): JournalRecord | undefined {
  try {
    return readParts(payload);
  } catch (error) {
    // It ends too early, or the texts are none.
    if (error instanceof RangeError || error instanceof SyntaxError) return undefined;
    throw error;
  }
}

function readParts(payload: Buffer): JournalRecord | undefined {
  const from = createCursor(payload, 28);
  const [inferenceId, model, outcome] = [from.text(), from.text(), outcomes.get(from.text())];
  if (outcome === undefined) return undefined;
  const parts = payload.readUInt16LE(4);
  const record: JournalRecord = {
    ...{ inferenceId, model, outcome, version: payload.readUInt32LE(6), rows: payload.readUInt32LE(10) },
    ...{ at: payload.readUIntLE(14, 6), latencyMs: payload.readDoubleLE(20) },
  };
  if (parts & has.release) record.release = from.hex(32);
  if (parts & has.variant) record.variant = from.text();
  if (parts & has.predicted) record.predicted = from.list(from.text);
  if (parts & has.scores) record.scores = from.list(from.number);
  if (parts & has.value) record.value = from.number();
  if (parts & has.queueMs) record.queueMs = from.number();
  if (parts & has.batchRows) record.batchRows = from.count();
  if (parts & has.summaries)
    record.summaries = from.list(
      (): Summary => ({ of: from.text(), name: from.text(), values: from.list(from.number) }),
    );
  if (parts & has.texts) record.texts = JSON.parse(from.text());
  const features = from.rest();
  if (features.length % 4 !== 0) return undefined;
  // A copy: floats must be aligned, and the record must not hold the whole file in memory.
  if (features.length > 0) record.features = new Float32Array(Uint8Array.from(features).buffer);
  return record;
}

function createCursor(payload: Buffer, from: number) {
  let at = from;
  const take = (bytes: number): Buffer => {
    if (at + bytes > payload.length) throw new RangeError('the record ends too early');
    at += bytes;
    return payload.subarray(at - bytes, at);
  };
  const length = () => take(2).readUInt16LE();
  return {
    text: () => take(length()).toString('utf8'),
    hex: (bytes: number) => take(bytes).toString('hex'),
    count: () => take(4).readUInt32LE(),
    /** What no JSON has is told as one. */
    number() {
      const number = take(8).readDoubleLE();
      return Number.isFinite(number) ? number : Number.NaN;
    },
    list: <T>(read: () => T): T[] => Array.from({ length: length() }, read),
    rest: () => payload.subarray(at),
  };
}
