// A batch of telemetry as it comes in a message: JSON, or JSON that was compressed with gzip. Bounded before it is unpacked.
import { gunzipSync } from 'node:zlib';
import { AppError, messageOf } from '@edgeloop/shared/errors';
import { maxBatchBytes, TelemetryBatch } from '@edgeloop/shared/telemetry';
import { createQuickParse } from './quick-check.ts';

/** What devices may compress with. */
export const acceptedEncodings = ['gzip'];

const parseBatch = createQuickParse(TelemetryBatch, 'telemetry');
const trailerBytes = 8;

/** @throws AppError `invalid_request` */
export function readPayload(payload: Uint8Array): TelemetryBatch {
  const text = textOf(payload);
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (cause) {
    throw new AppError('invalid_request', `telemetry is not valid JSON: ${messageOf(cause)}`, { cause });
  }
  return parseBatch(value);
}

/** Bytes of the batch as the message itself says, of which no more are ever unpacked. */
export function unpackedBytes(payload: Uint8Array): number {
  if (!isGzip(payload)) return payload.length;
  const bytes = Buffer.from(payload.buffer, payload.byteOffset, payload.length);
  return Math.max(Math.min(bytes.readUInt32LE(bytes.length - 4), maxBatchBytes), bytes.length);
}

function textOf(payload: Uint8Array): string {
  const bytes = Buffer.from(payload.buffer, payload.byteOffset, payload.length);
  if (!isGzip(payload)) return bytes.toString('utf8');
  const unpacked = bytes.readUInt32LE(bytes.length - 4);
  if (unpacked > maxBatchBytes)
    throw new AppError(
      'invalid_request',
      `telemetry is ${unpacked} bytes unpacked, and at most ${maxBatchBytes} are taken`,
    );
  try {
    return gunzipSync(bytes, { maxOutputLength: Math.max(1, unpacked) }).toString('utf8');
  } catch (cause) {
    throw new AppError('invalid_request', `telemetry cannot be unpacked: ${messageOf(cause)}`, { cause });
  }
}

function isGzip(payload: Uint8Array): boolean {
  return payload.length > trailerBytes && payload[0] === 0x1f && payload[1] === 0x8b;
}
