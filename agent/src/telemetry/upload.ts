// Brings captured samples to the control plane, which stores each once per inference id.
import { AppError, messageOf } from '@edgeloop/shared/errors';
import { backoffMs, pause } from '@edgeloop/shared/node/backoff';
import type { CapturedSample, CaptureUpload } from '@edgeloop/shared/telemetry';
import type { Logger } from 'pino';
import { type DevicePort, textOf } from '../identity/device-port.ts';
import type { DeviceClock } from './device-clock.ts';
import type { Samples } from './samples.ts';
import type { UsageMeter } from './usage.ts';

export interface UploadOptions {
  samples: Samples;
  usage: Pick<UsageMeter, 'saving' | 'sent'>;
  /** Windows and labels wait, which go first. */
  isBehind(): boolean;
  clock: Pick<DeviceClock, 'stretchOf' | 'offsetOf'>;
  /** Undefined before the device is enrolled. */
  port(): DevicePort | undefined;
  log: Logger;
  everyMs?: number;
}

const retry = { firstMs: 1000, mostMs: 60_000 };
/** Answers that say the samples themselves are wrong: sending them again would never end. */
const refusals = ['invalid_request', 'payload_too_large', 'unsupported_media_type'];

/** Runs until aborted. */
export async function keepUploading(options: UploadOptions, signal: AbortSignal): Promise<void> {
  const { log, everyMs = 1000 } = options;
  let failures = 0;
  while (!signal.aborted) {
    try {
      const more = await uploadOnce(options, signal);
      failures = 0;
      if (!more) await pause(everyMs, signal);
    } catch (error) {
      if (signal.aborted) return;
      failures += 1;
      const waitMs = backoffMs(failures, retry);
      log.warn({ reason: messageOf(error), waitMs }, 'captured samples cannot be uploaded');
      await pause(waitMs, signal);
    }
  }
}

/** Whether something was uploaded, so that there may be more. */
async function uploadOnce(options: UploadOptions, signal: AbortSignal): Promise<boolean> {
  const { samples, usage, isBehind, clock, port, log } = options;
  const connection = port();
  if (connection === undefined || !usage.saving().uploads || isBehind()) return false;
  const batch = samples.ready(Date.now());
  if (batch.length === 0) return false;
  const json: CaptureUpload = { samples: batch.map(({ sample }) => dated(sample, clock)) };
  try {
    const answer = await connection.send({ method: 'POST', path: '/device/v1/captures', json, signal });
    usage.sent(Buffer.byteLength(JSON.stringify(json)));
    await textOf(answer, 64 * 1024);
  } catch (error) {
    if (!(error instanceof AppError) || !refusals.includes(error.code)) throw error;
    log.error({ reason: error.message, samples: batch.length }, 'captured samples were refused and are dropped');
    samples.refused(batch);
    return true;
  }
  samples.remove(batch);
  return true;
}

function dated(sample: CapturedSample, clock: UploadOptions['clock']): CapturedSample {
  const clockOffsetMs = clock.offsetOf(clock.stretchOf(sample.predictedAt));
  return clockOffsetMs === undefined ? sample : { ...sample, clockOffsetMs };
}
