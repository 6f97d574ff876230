import { gzipSync } from 'node:zlib';
import { maxBatchBytes } from '@edgeloop/shared/telemetry';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { readPayload, unpackedBytes } from './payload.ts';
import { batchOf, windowOf } from './telemetry-fixture.ts';

const batch = batchOf([windowOf({ latencies: [1, 2], model: 'm', classes: { ä: 1 } })]);
const plain = Buffer.from(JSON.stringify(batch));

test('reads a batch as it is and compressed', () => {
  expect(readPayload(plain)).toEqual(batch);
  expect(readPayload(gzipSync(plain))).toEqual(batch);
  expect(unpackedBytes(gzipSync(plain))).toBe(plain.length);
});

test('never unpacks more than the message says, nor more than a batch may have', () => {
  const bomb = gzipSync(Buffer.alloc(50 * 1024 * 1024, ' '));
  expect(bomb.length).toBeLessThan(256 * 1024);
  expect(() => readPayload(bomb)).toThrow(`52428800 bytes unpacked, and at most ${maxBatchBytes}`);
  const liar = Buffer.from(bomb);
  liar.writeUInt32LE(100, liar.length - 4);
  expect(() => readPayload(liar)).toThrow('telemetry cannot be unpacked');
  const members = Buffer.concat([bomb, gzipSync(plain)]);
  expect(() => readPayload(members)).toThrow('telemetry cannot be unpacked');
});

test('whatever the bytes, they are a batch or are refused with a reason', () => {
  const cut = fc.nat(plain.length).map((length) => plain.subarray(0, length));
  const compressed = gzipSync(plain);
  const broken = fc.tuple(fc.nat(compressed.length - 1), fc.nat(255)).map(([at, byte]) => {
    const bytes = Buffer.from(compressed);
    bytes[at] = byte;
    return bytes;
  });
  const headed = fc.uint8Array({ maxLength: 60 }).map((bytes) => Buffer.concat([Buffer.from([0x1f, 0x8b]), bytes]));
  fc.assert(
    fc.property(fc.oneof(fc.uint8Array({ maxLength: 60 }), headed, cut, broken), (bytes) => {
      expect(unpackedBytes(bytes)).toBeGreaterThanOrEqual(bytes.length);
      try {
        expect(readPayload(bytes)).toEqual(batch);
      } catch (error) {
        expect(error).toMatchObject({ code: 'invalid_request' });
      }
    }),
    { numRuns: 300 },
  );
});
