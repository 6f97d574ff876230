// How a model runs best on this very device: measured once per model file and hardware in a process of its own, kept in
// the database, and handed to the serving process with every load. A failed measurement costs speed, never the model.
import { createRequire } from 'node:module';
import { availableParallelism } from 'node:os';
import { fileURLToPath } from 'node:url';
import { messageOf, parse, parseJson } from '@edgeloop/shared/errors';
import { runBounded, sourceExecArgv } from '@edgeloop/shared/node/bounded-process';
import { and, eq } from 'drizzle-orm';
import type { Logger } from 'pino';
import { z } from 'zod';
import type { DeviceDatabase } from '../../database/open.ts';
import { tunings } from '../../database/schema.ts';
import { type ModelFiles, Tuning } from '../../process/ipc.ts';
import type { PendingWrites } from '../../storage/pending-writes.ts';
import type { TuneOrder } from './tune-order.ts';

export interface TunerOptions {
  database: DeviceDatabase;
  writes: PendingWrites;
  cpuModel: string;
  /** Upper bound on inference threads: instances times threads of one run. */
  threads: number;
  /** Time to measure in; 0 measures nothing. */
  tuneMs: number;
  bounds: { timeoutMs: number; maxRssBytes: number };
  log: Logger;
}

export interface Tuner {
  /** What was measured for this file on this hardware. */
  tuningOf(digest: string): Tuning | undefined;
  /** Measures a proven model unless that was done before or says nothing. Failures are logged. */
  tune(model: ModelFiles, signal: AbortSignal): Promise<void>;
}

const extension = import.meta.url.endsWith('.ts') ? 'ts' : 'js';
const modulePath = fileURLToPath(new URL(`./tune-process.${extension}`, import.meta.url));
const PackageFile = z.object({ version: z.string() });
const runtimeVersion = PackageFile.parse(createRequire(import.meta.url)('onnxruntime-node/package.json')).version;

export function createTuner({ database, writes, cpuModel, threads, tuneMs, bounds, log }: TunerOptions): Tuner {
  const hardware = `${cpuModel}; ${availableParallelism()} cores; ${threads} threads; onnxruntime ${runtimeVersion}`;

  /** Measured in this life; its row may not be on disk yet. */
  const measured = new Map<string, Tuning>();

  function tuningOf(digest: string): Tuning | undefined {
    const present = measured.get(digest);
    if (present !== undefined) return present;
    const key = and(eq(tunings.digest, digest), eq(tunings.hardware, hardware));
    try {
      const row = database.select().from(tunings).where(key).get();
      return row === undefined ? undefined : parseJson(Tuning, row.tuning, 'stored tuning', 'integrity');
    } catch (error) {
      log.warn({ digest, reason: messageOf(error) }, 'what was measured cannot be read; defaults apply');
      return undefined;
    }
  }

  async function measure(model: ModelFiles, signal: AbortSignal): Promise<Tuning> {
    const order: TuneOrder = { model, threads, budgetMs: tuneMs, maxRssBytes: bounds.maxRssBytes };
    const result = await runBounded({
      modulePath,
      input: order,
      // Loading and the last run may take longer than the time to measure in.
      timeoutMs: tuneMs + bounds.timeoutMs,
      maxRssBytes: bounds.maxRssBytes,
      execArgv: sourceExecArgv(import.meta.url),
      env: { ORT_DISABLE_TELEMETRY: '1' },
      signal,
    });
    if (!result.ok) throw new Error(`its measurement ${result.detail}`);
    return parse(Tuning, result.output, 'tuning', 'internal');
  }

  return {
    tuningOf,
    async tune(model, signal) {
      const { digest, name, version } = model;
      if (tuneMs === 0 || digest === undefined || tuningOf(digest) !== undefined) return;
      try {
        const tuning = await measure(model, signal);
        measured.set(digest, tuning);
        const row = { digest, hardware, tuning: JSON.stringify(tuning), at: Date.now() };
        writes.write(`tuning ${digest}`, () => void database.insert(tunings).values(row).onConflictDoNothing().run());
        log.info({ model: name, version, ...tuning }, 'measured how the model runs best here');
      } catch (error) {
        if (signal.aborted) return;
        log.warn({ model: name, version, reason: messageOf(error) }, 'the model could not be measured; defaults apply');
      }
    },
  };
}
