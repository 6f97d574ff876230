// Turns batches as they came in messages into what is stored, and that into bytes and back: a thread does the former and hands over
// the latter, since objects that are handed between threads cost as much as parsing them does.
import { AppError, messageOf } from '@edgeloop/shared/errors';
import type { LabelBatch, Loss, TelemetryBatch } from '@edgeloop/shared/telemetry';
import { pack, unpack } from '../database/packed.ts';
import { readPayload } from './payload.ts';
import { placed } from './placing.ts';
import { PendingRollups, type Rollup } from './rollup.ts';
import { cellsOf, type SentWindow, sentWindow, type WindowHead } from './window-row.ts';

export type DecodedItem = { sequence: number } & (({ kind: 'window' } & SentWindow) | LabelBatch | Loss);

export interface DecodedBatch {
  epoch: number;
  items: DecodedItem[];
}

/** Of each batch what it holds, or why it is none. */
export type Decoded = DecodedBatch | AppError;

export interface DecodedGroup {
  batches: Decoded[];
  /** All windows of the group put together, where that was done already. */
  fleet?: Rollup[];
}

/** As it came, or parsed before. */
export type Undecoded = Uint8Array | TelemetryBatch;

export function decode(batch: Undecoded, receivedAt: number): Decoded {
  return attempt(() => {
    const { epoch, items } = batch instanceof Uint8Array ? readPayload(batch) : batch;
    return {
      epoch,
      items: items.map(({ sequence, ...sent }): DecodedItem => {
        const item = placed(sent, receivedAt);
        return item.kind === 'window' ? { sequence, kind: 'window', ...sentWindow(item) } : { sequence, ...item };
      }),
    };
  });
}

/** Numbers and bytes of a window, in the order of `readWindow`. */
type PackedWindow = [
  ...[sequence: number, model: string, version: number, release: string | null, startedAt: number, endedAt: number],
  ...[succeeded: number, failed: Record<string, number>, invalid: number, rows: number],
  ...[classes: Record<string, number>, latency: Buffer, confidenceSum: number, confidenceCount: number, body: Buffer],
];
type PackedItem = { w: PackedWindow } | { o: { sequence: number } & (LabelBatch | Loss) };
type PackedBatch = { e: number; i: PackedItem[] } | { refused: string };
interface PackedGroup {
  batches: PackedBatch[];
  fleet: Rollup[];
}

/** Bytes of what `unpackGroup` reads. */
export function decodeToBytes(payloads: readonly Uint8Array[], receivedAt: number): Uint8Array<ArrayBuffer> {
  const fleet = new PendingRollups('fleet');
  const batches = payloads.map((payload): PackedBatch => {
    const read = attempt(() => readPayload(payload));
    if (read instanceof AppError) return { refused: read.message };
    const items = read.items.map(({ sequence, ...sent }): PackedItem => {
      const item = placed(sent, receivedAt);
      if (item.kind !== 'window') return { o: { sequence, ...item } };
      fleet.addWindow('', item);
      const { model, version, release = null, startedAt, endedAt, succeeded, failed, invalid, rows, classes } = item;
      const { latency, confidenceSum, confidenceCount, body } = cellsOf(item);
      const w: PackedWindow = [
        ...([sequence, model, version, release, startedAt, endedAt, succeeded, failed, invalid, rows] as const),
        ...([classes, latency, confidenceSum, confidenceCount, body] as const),
      ];
      return { w };
    });
    return { e: read.epoch, i: items };
  });
  // A copy: what the packer gives lies in memory that it uses again.
  return new Uint8Array(pack({ batches, fleet: [...fleet.finest()] } satisfies PackedGroup));
}

/** What the own thread packed. */
export function unpackGroup(bytes: Uint8Array<ArrayBuffer>): DecodedGroup {
  const { batches, fleet } = unpack(Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length)) as PackedGroup;
  return { fleet, batches: batches.map(readBatch) };
}

function readBatch(batch: PackedBatch): Decoded {
  if ('refused' in batch) return new AppError('invalid_request', batch.refused);
  return { epoch: batch.e, items: batch.i.map((item) => ('w' in item ? readWindow(item.w) : item.o)) };
}

function readWindow(packed: PackedWindow): DecodedItem {
  const [sequence, model, version, release, startedAt, endedAt, succeeded, failed, invalid, rows, classes] = packed;
  const [, , , , , , , , , , , latency, confidenceSum, confidenceCount, body] = packed;
  const counts = { startedAt, endedAt, succeeded, failed, invalid, rows, classes };
  const head: WindowHead = { model, version, ...(release === null ? {} : { release }), ...counts };
  return { sequence, kind: 'window', head, cells: { latency, confidenceSum, confidenceCount, body } };
}

function attempt<T>(work: () => T): T | AppError {
  try {
    return work();
  } catch (error) {
    if (error instanceof AppError) return error;
    // Whatever a device sends is at worst a message that nobody understands.
    return new AppError('invalid_request', `telemetry cannot be read: ${messageOf(error)}`, { cause: error });
  }
}
