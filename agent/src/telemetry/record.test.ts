import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { decodeRecords, encodeRecord, type JournalRecord } from './record.ts';

const record: fc.Arbitrary<JournalRecord> = fc.record(
  {
    inferenceId: fc.string({ minLength: 1, unit: 'binary' }),
    model: fc.constantFrom('m', 'file-type.v2'),
    version: fc.integer({ min: 1, max: 1000 }),
    at: fc.nat(),
    outcome: fc.constantFrom('ok' as const, 'invalid' as const, 'internal' as const, 'unavailable' as const),
    latencyMs: fc.double({ min: 0, max: 1e6, noNaN: true }).map((value) => value + 0),
    rows: fc.nat(100),
    predicted: fc.array(fc.string({ unit: 'grapheme' })),
    scores: fc.array(fc.float({ noDefaultInfinity: true }).map((value) => (value === 0 ? 0 : value))),
    features: fc.float32Array({ minLength: 1 }),
  },
  { requiredKeys: ['inferenceId', 'model', 'version', 'at', 'outcome', 'latencyMs', 'rows'] },
);

describe('journal records', () => {
  it('are read as they were written', () => {
    fc.assert(
      fc.property(fc.array(record), (records) => {
        const bytes = Buffer.concat(records.map(encodeRecord));
        expect(decodeRecords(bytes)).toEqual({ records, consumedBytes: bytes.length });
      }),
    );
  });

  it('are read up to a torn tail', () => {
    fc.assert(
      fc.property(fc.array(record, { minLength: 1, maxLength: 4 }), fc.nat(), (records, cut) => {
        const frames = records.map(encodeRecord);
        const bytes = Buffer.concat(frames);
        const kept = bytes.subarray(0, cut % bytes.length);
        const decoded = decodeRecords(kept);
        let whole = 0;
        let end = 0;
        while (end + (frames[whole]?.length ?? Infinity) <= kept.length) end += frames[whole++]?.length ?? 0;
        expect(decoded.consumedBytes).toBe(end);
        expect(decoded.records).toEqual(records.slice(0, whole));
      }),
    );
  });

  it('are not read where a bit is wrong', () => {
    fc.assert(
      fc.property(record, fc.nat(), fc.nat(7), (written, at, bit) => {
        const bytes = encodeRecord(written);
        const place = at % bytes.length;
        bytes.writeUInt8(bytes.readUInt8(place) ^ (1 << bit), place);
        expect(decodeRecords(bytes)).toEqual({ records: [], consumedBytes: 0 });
      }),
    );
  });

  it('are never found in garbage, and garbage does no harm', () => {
    fc.assert(
      fc.property(fc.uint8Array(), (garbage) => {
        expect(decodeRecords(Buffer.from(garbage)).records).toEqual([]);
      }),
    );
    // A frame of no payload has a valid checksum of 0.
    expect(decodeRecords(Buffer.alloc(64))).toEqual({ records: [], consumedBytes: 0 });
  });
});
