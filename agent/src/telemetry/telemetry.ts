// Composition of the room: journal to windows to outbox to the control plane, samples and labels beside it, on one
// clock that no jump of the wall clock disturbs.
import { join } from 'node:path';
import { performance } from 'node:perf_hooks';
import { messageOf } from '@edgeloop/shared/errors';
import type { TelemetryAck, TelemetryBatch } from '@edgeloop/shared/telemetry';
import type { Logger } from 'pino';
import type { DeviceDatabase } from '../database/open.ts';
import type { DevicePort } from '../identity/device-port.ts';
import { createDelivery } from './delivery.ts';
import { createFeedback, type Feedback } from './feedback.ts';
import { createJournal } from './journal.ts';
import { createManifests } from './manifests.ts';
import { createOutbox, type Outbox } from './outbox.ts';
import { createPredictions } from './predictions.ts';
import { createSamples } from './samples.ts';
import { keepUploading } from './upload.ts';

export interface TelemetryOptions {
  dataDir: string;
  database: DeviceDatabase;
  bufferBytes: number;
  captureBytes: number;
  windowMs: number;
  log: Logger;
  folderOf(name: string, version: number): string;
  switchJournal(path: string): Promise<void>;
  publish(batch: TelemetryBatch): boolean;
  port(): DevicePort | undefined;
}

export interface Telemetry {
  start(signal: AbortSignal): void;
  /** A fresh serving process takes messages. */
  opened(): Promise<void>;
  /** Folds what a dead serving process left; also at the start. */
  recover(): Promise<void>;
  feedback: Feedback;
  connected(): void;
  acknowledged(ack: TelemetryAck): void;
  /** Closes the present windows now. */
  flush(): Promise<void>;
  status: Outbox['status'];
  /** Folds and keeps what is there; the serving process must be gone. */
  close(): Promise<void>;
}

const journalAtMostBytes = 32 * 1024 * 1024;
const tailMs = 1000;
const labelWaitAtMostMs = 15_000;

export function createTelemetry(options: TelemetryOptions): Telemetry {
  const { database, log, windowMs, bufferBytes } = options;
  const manifestOf = createManifests(options.folderOf, log);
  const outbox = createOutbox(database, bufferBytes, log);
  const predictions = createPredictions(database, bufferBytes);
  const waitMs = Math.min(2 * windowMs, labelWaitAtMostMs);
  const samples = createSamples({ database, budgetBytes: options.captureBytes, waitMs, manifestOf, log });
  const delivery = createDelivery({ outbox, publish: options.publish, log });
  const journal = createJournal({
    folder: join(options.dataDir, 'journal'),
    database,
    outbox,
    manifestOf,
    keep(transaction, records) {
      predictions.keep(transaction, records);
      samples.keep(transaction, records);
    },
    switchTo: options.switchJournal,
    log,
  });
  const added = () => delivery.kick();
  const feedback = createFeedback({ database, journal, predictions, samples, outbox, manifestOf, onAdded: added });
  let timer: NodeJS.Timeout | undefined;
  let uploading: Promise<void> = Promise.resolve();
  let closesAt = 0;

  async function flush(): Promise<void> {
    closesAt = performance.now() + windowMs;
    await journal.rotate();
    delivery.kick();
  }

  async function look(): Promise<void> {
    try {
      const bytes = await journal.tail();
      if (performance.now() >= closesAt || bytes > journalAtMostBytes) await flush();
    } catch (error) {
      log.warn({ reason: messageOf(error) }, 'the journal is folded later');
    }
  }

  return {
    start(signal) {
      closesAt = performance.now() + windowMs;
      const again = () => {
        timer = setTimeout(() => void look().then(() => signal.aborted || again()), Math.min(tailMs, windowMs));
      };
      again();
      signal.addEventListener('abort', () => clearTimeout(timer), { once: true });
      uploading = keepUploading({ samples, port: options.port, log }, signal);
    },
    opened: () => journal.open(),
    async recover() {
      await journal.foldAll(true);
      delivery.kick();
    },
    feedback,
    connected: () => delivery.connected(),
    acknowledged: (ack) => delivery.acknowledged(ack),
    flush,
    status: () => outbox.status(),
    async close() {
      clearTimeout(timer);
      await uploading;
      await journal.foldAll(false);
      delivery.close();
    },
  };
}
