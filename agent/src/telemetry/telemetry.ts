// Composition of the room: journal to windows to outbox to the control plane, samples and labels beside it, on one
// clock that no jump of the wall clock disturbs.
import { performance } from 'node:perf_hooks';
import { AppError, messageOf } from '@edgeloop/shared/errors';
import type { Usage } from '@edgeloop/shared/messages';
import type { TelemetryAck, TelemetryBatch } from '@edgeloop/shared/telemetry';
import type { Logger } from 'pino';
import type { DeviceDatabase } from '../database/open.ts';
import type { DevicePort } from '../identity/device-port.ts';
import type { Problems } from '../problems.ts';
import type { PendingWrites } from '../storage/pending-writes.ts';
import { isFull, isStorageRefusal } from '../storage/refusal.ts';
import { createDelivery } from './delivery.ts';
import { createDeviceClock } from './device-clock.ts';
import { createFeedback, type Feedback } from './feedback.ts';
import { type Lost, readGivenUp } from './given-up.ts';
import { createJournal, journalPath } from './journal.ts';
import { bootId, journalPlace, removeIfEmpty } from './journal-folder.ts';
import { tellRest, withOutcomes } from './labelled.ts';
import { createLosses } from './losses.ts';
import { readMachine } from './machine.ts';
import { createManifests, type FolderOf } from './manifests.ts';
import type { Missing } from './missing-note.ts';
import { createOutbox, type Outbox } from './outbox.ts';
import { createPredictions } from './predictions.ts';
import { createResources } from './resources.ts';
import { createSamples } from './samples.ts';
import { isWindowOver } from './saving.ts';
import { keepUploading } from './upload.ts';
import { createUsage } from './usage.ts';

export interface TelemetryOptions {
  dataDir: string;
  /** Where the journal lies: `auto` is in memory, where there is some to give. */
  journal: 'disk' | 'memory';
  /** The agent was stopped in order the last time. */
  cleanStop: boolean;
  /** Of the missing notes, one for each serving process. */
  notePaths: readonly string[];
  database: DeviceDatabase;
  writes: PendingWrites;
  problems: Problems;
  bufferBytes: number;
  /** What waits for longer is given up. */
  bufferMs: number;
  captureBytes: number;
  windowMs: number;
  /** Of a window with few requests. */
  windowMostMs: number;
  monthlyBudgetBytes: number | undefined;
  dailyWritesBudgetBytes: number | undefined;
  log: Logger;
  folderOf: FolderOf;
  switchJournal(path: string, process: number): Promise<void>;
  publish(batch: TelemetryBatch): boolean;
  /** Something was given up. */
  onLost(): void;
  port(): DevicePort | undefined;
}

export interface Telemetry {
  start(signal: AbortSignal): void;
  /** A fresh serving process takes messages; it is named by its place. Where the disk gives it no journal, it gets one later. */
  opened(process: number): Promise<void>;
  /** What a serving process has answered and could not journal; undefined when that is nothing. */
  missing(missing: Missing | undefined, process: number): void;
  /** Folds what a dead serving process left; at the start, what all left. What the disk does not take is folded later. */
  recover(process?: number): Promise<void>;
  feedback: Feedback;
  connected(): void;
  /** The clock is so far from the server's now. */
  clockRead(offsetMs: number): void;
  acknowledged(ack: TelemetryAck): void;
  /** Closes the present windows now. */
  flush(): Promise<void>;
  /** Bytes went to the control plane. */
  sent(bytes: number): void;
  usage(): Usage;
  status: Outbox['status'];
  /** What was given up, ever. */
  lost(): Lost[];
  /** Folds and keeps what is there; the serving process must be gone. */
  close(): Promise<void>;
}

const journalAtMostBytes = 32 * 1024 * 1024;
const tailMs = 1000;
/** A journal file is removed before the system has written it, which Linux does after half a minute, where it is worth a commit. */
const packedFromBytes = 48 * 1024;
const packedAfterMs = 20_000;
const labelWaitAtMostMs = 15_000;

export function createTelemetry(options: TelemetryOptions): Telemetry {
  const { database, writes, problems, log, windowMs, bufferBytes, bufferMs: mostAgeMs } = options;
  const usage = createUsage({ ...options, nowMs: Date.now, monotonicMs: performance.now.bind(performance) });
  const manifestOf = createManifests(options.folderOf, log);
  const clock = createDeviceClock(Date.now, performance.now.bind(performance));
  const outbox = createOutbox({ database, clock, writes, budgetBytes: bufferBytes, mostAgeMs, log });
  const predictions = createPredictions(bufferBytes);
  const waitMs = Math.min(2 * windowMs, labelWaitAtMostMs);
  const samples = createSamples({
    database,
    budgetBytes: options.captureBytes,
    waitMs,
    manifestOf,
    keptForLabels: () => usage.saving().keptForLabels,
    log,
  });
  const delivery = createDelivery({ outbox, publish: options.publish, log });
  const { folder, inMemory } = journalPlace(options.dataDir, options.journal, log);
  const losses = createLosses({
    paths: options.notePaths,
    journalPath: (number) => journalPath(folder, number),
    database,
    outbox,
    problems,
  });
  const resources = createResources({ read: () => readMachine(options.dataDir), nowMs: () => performance.now() });
  const journal = createJournal({
    folder,
    losses,
    database,
    outbox,
    manifestOf,
    clock,
    boot: inMemory ? bootId() : undefined,
    cleanStop: options.cleanStop,
    keep(transaction, records) {
      predictions.keep(transaction, records);
      samples.keep(transaction, records);
      usage.keep(transaction);
    },
    complete(transaction, windows) {
      const usage = windows.length === 0 ? undefined : resources.take();
      const told = usage === undefined ? windows : windows.map((window) => ({ ...window, resources: usage }));
      return withOutcomes(transaction, told, Date.now());
    },
    switchTo: options.switchJournal,
    log,
  });
  const added = () => delivery.kick();
  const feedback = createFeedback({ database, journal, predictions, samples, outbox, manifestOf, onAdded: added });
  let timer: NodeJS.Timeout | undefined;
  let uploading: Promise<void> = Promise.resolve();
  let openedAt = 0;
  let packedAt = 0;

  /** Requests that each serving process holds in memory. */
  const holding = new Map<number, number>();
  let refusal: string | undefined;

  function say(): void {
    const held = [...holding.values()].reduce((sum, count) => sum + count, 0);
    const reasons = [
      ...(refusal === undefined ? [] : [`it cannot be folded: ${refusal}`]),
      ...(held === 0 ? [] : [`${held} answered requests are not in the journal yet`]),
    ];
    const words = `telemetry waits for room on the disk of ${options.dataDir} (${reasons.join('; ')}): free some`;
    if (reasons.length === 0) problems.clear('telemetry');
    else problems.set('telemetry', words);
  }

  async function flush(): Promise<void> {
    openedAt = packedAt = performance.now();
    await resources.look('now');
    await journal.rotate();
    tellRest(database, outbox, Date.now());
    delivery.kick();
  }

  /** What the disk refuses now waits where it is; everything else is the caller's. */
  async function unlessRefused(work: () => Promise<void>): Promise<void> {
    try {
      await work();
      refusal = undefined;
    } catch (error) {
      if (!isRefusal(error)) throw error;
      refusal = messageOf(error);
      // Windows go before samples; it is tried again with the next look.
      if (isFull(error)) makeRoom();
    } finally {
      say();
    }
  }

  function makeRoom(): void {
    try {
      samples.makeRoom();
    } catch (error) {
      if (!isStorageRefusal(error)) throw error;
      log.warn({ reason: messageOf(error) }, 'the disk is so full that nothing can be deleted in the database');
    }
  }

  const lost = () => readGivenUp(database, losses.total());
  let told = JSON.stringify(lost());

  function tellLost(): void {
    const now = JSON.stringify(lost());
    if (now === told) return;
    told = now;
    options.onLost();
  }

  async function look(): Promise<void> {
    try {
      await resources.look();
      await unlessRefused(async () => {
        const { bytes, ...open } = await journal.tail();
        const bounds = { usualMs: windowMs, mostMs: options.windowMostMs, times: usage.saving().windows };
        const isOver = isWindowOver({ ...open, ageMs: performance.now() - openedAt }, bounds);
        if (clock.look() || isOver || bytes > journalAtMostBytes) await flush();
        else if (!inMemory && bytes >= packedFromBytes && performance.now() - packedAt >= packedAfterMs) {
          packedAt = performance.now();
          await journal.pack();
        }
      });
      tellLost();
    } catch (error) {
      log.warn({ reason: messageOf(error) }, 'the journal is folded later');
    }
  }

  return {
    start(signal) {
      openedAt = packedAt = performance.now();
      const again = () => {
        timer = setTimeout(() => void look().then(() => signal.aborted || again()), Math.min(tailMs, windowMs));
      };
      again();
      signal.addEventListener('abort', () => clearTimeout(timer), { once: true });
      uploading = keepUploading({ samples, usage, isBehind: outbox.isBehind, clock, port: options.port, log }, signal);
    },
    opened: (process) => unlessRefused(() => journal.open(process)),
    missing(missing, process) {
      if (missing !== undefined) losses.heard(missing, process);
      holding.set(process, missing?.pending ?? 0);
      say();
    },
    async recover(process) {
      if (process === undefined) holding.clear();
      else holding.delete(process);
      try {
        await unlessRefused(() => (process === undefined ? journal.foldAll(true) : journal.gone(process)));
      } catch (error) {
        // It stays where it is; what serves does not wait for it.
        log.error({ err: error }, 'the journal is folded later');
      }
      if (process === undefined) outbox.beginEpoch();
      delivery.kick();
    },
    feedback,
    connected: () => delivery.connected(),
    clockRead: (offsetMs) => outbox.clockRead(offsetMs),
    acknowledged: (ack) => delivery.acknowledged(ack),
    flush,
    sent: usage.sent,
    usage: usage.report,
    status: () => outbox.status(),
    lost,
    async close() {
      clearTimeout(timer);
      await uploading;
      await unlessRefused(() => journal.foldAll(false));
      if (inMemory) removeIfEmpty(folder);
      delivery.close();
    },
  };
}

/** Of this process's disk, or the serving process's word about it. */
function isRefusal(error: unknown): boolean {
  return isStorageRefusal(error) || (error instanceof AppError && error.code === 'insufficient_storage');
}
