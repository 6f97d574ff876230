// How much a device sends and writes, counted here and remembered over restarts.
import { readFileSync } from 'node:fs';
import { parseJson } from '@edgeloop/shared/errors';
import { Instant } from '@edgeloop/shared/identifiers';
import type { Usage } from '@edgeloop/shared/messages';
import { z } from 'zod';
import { type Reader, readFact, writeFact } from '../database/facts.ts';
import { type Saving, savingOf } from './saving.ts';

export interface UsageOptions {
  database: Reader;
  monthlyBudgetBytes: number | undefined;
  dailyWritesBudgetBytes: number | undefined;
  /** The wall clock and one that never jumps. */
  nowMs(): number;
  monotonicMs(): number;
  writtenBytes?: () => number | undefined;
}

export interface UsageMeter {
  sent(bytes: number): void;
  /** Remembers what was counted, in the caller's transaction. */
  keep(transaction: Reader): void;
  saving(): Saving;
  report(): Usage;
}

const Kept = z.object({ since: Instant, sentBytes: z.number().int().min(0) });
/** Less than this says nothing of a rate. */
const leastMs = 600_000;
const leastShare = 1 / 30;

export function createUsage(options: UsageOptions): UsageMeter {
  const { database, monthlyBudgetBytes = null, dailyWritesBudgetBytes = null, nowMs, monotonicMs } = options;
  const { writtenBytes = ownWrittenBytes } = options;
  const text = readFact(database, 'usage');
  let month = text === undefined ? begun() : parseJson(Kept, text, 'the usage of this device', 'integrity');
  let written = { bytes: writtenBytes(), atMs: monotonicMs() };
  let rate: number | undefined;

  function begun(): z.infer<typeof Kept> {
    return { since: nowMs(), sentBytes: 0 };
  }

  /** A month of the calendar, by the device's clock. */
  function turn(): void {
    const [of, now] = [new Date(month.since), new Date(nowMs())];
    if (of.getUTCMonth() !== now.getUTCMonth() || of.getUTCFullYear() !== now.getUTCFullYear()) month = begun();
  }

  function measure(): void {
    const [bytes, elapsedMs] = [writtenBytes(), monotonicMs() - written.atMs];
    if (bytes === undefined || written.bytes === undefined || elapsedMs < leastMs) return;
    rate = ((bytes - written.bytes) / elapsedMs) * 86_400_000;
    written = { bytes, atMs: monotonicMs() };
  }

  function saving(): Saving {
    turn();
    measure();
    const budget = monthlyBudgetBytes;
    const sentOfAll = budget === null ? undefined : month.sentBytes / budget;
    const share = Math.max(leastShare, shareOfMonth(nowMs()));
    return savingOf({
      sentOfAll,
      sent: sentOfAll === undefined ? undefined : sentOfAll / share,
      written: rate === undefined || dailyWritesBudgetBytes === null ? undefined : rate / dailyWritesBudgetBytes,
    });
  }

  return {
    sent(bytes) {
      turn();
      month.sentBytes += bytes;
    },
    keep: (transaction) => writeFact(transaction, 'usage', JSON.stringify(month)),
    saving,
    report() {
      const { words } = saving();
      const writtenADayBytes = rate === undefined ? null : Math.round(rate);
      return { ...month, monthlyBudgetBytes, writtenADayBytes, dailyWritesBudgetBytes, saving: words };
    },
  };
}

/** How much of the month of the calendar is gone. */
function shareOfMonth(now: number): number {
  const at = new Date(now);
  const [year, month] = [at.getUTCFullYear(), at.getUTCMonth()];
  const from = Date.UTC(year, month);
  return (now - from) / (Date.UTC(year, month + 1) - from);
}

/** What this process has given to a disk; the one that serves writes in memory, or to the journal. */
function ownWrittenBytes(): number | undefined {
  try {
    const text = readFileSync('/proc/self/io', 'utf8');
    return Number(/^write_bytes: (\d+)$/m.exec(text)?.[1] ?? 0);
  } catch {
    return undefined; // Other systems do not say.
  }
}
