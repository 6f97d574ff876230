// Sends the outbox: one batch in flight, sent again until the control plane says that it is stored. What a broker took
// counts for nothing.
import { messageOf } from '@edgeloop/shared/errors';
import { backoffMs } from '@edgeloop/shared/node/backoff';
import type { TelemetryAck, TelemetryBatch } from '@edgeloop/shared/telemetry';
import type { Logger } from 'pino';
import type { Outbox } from './outbox.ts';

export interface DeliveryOptions {
  outbox: Pick<Outbox, 'take' | 'acknowledge'>;
  /** Publishes a batch; false while there is no connection. */
  publish(batch: TelemetryBatch): boolean;
  log: Logger;
  resendMs?: number;
  random?: () => number;
  /** A clock that never jumps. */
  nowMs?: () => number;
}

export interface Delivery {
  /** There may be something to send. */
  kick(): void;
  /** There is a connection again: what was in flight may be lost. */
  connected(): void;
  acknowledged(ack: TelemetryAck): void;
  close(): void;
}

const mostResendMs = 300_000;
/** After an outage a fleet comes back at once: each device waits for some of the time that it was away. */
const spreadFromMs = 60_000;
const spreadShare = 1 / 20;
const spreadMostMs = 30_000;

export function createDelivery(options: DeliveryOptions): Delivery {
  const { outbox, publish, log, resendMs = 10_000, random = Math.random, nowMs = () => performance.now() } = options;
  let timer: NodeJS.Timeout | undefined;
  /** Highest number of the batch that waits for its acknowledgement. */
  let inFlight: number | undefined;
  let closed = false;
  /** Batches in a row that nobody acknowledged. */
  let unheard = 0;
  let heardMs = nowMs();
  let notBeforeMs = Number.NEGATIVE_INFINITY;

  function send(): void {
    clearTimeout(timer);
    timer = undefined;
    inFlight = undefined;
    if (closed) return;
    const waitMs = notBeforeMs - nowMs();
    if (waitMs > 0) {
      timer = setTimeout(send, waitMs);
      return;
    }
    try {
      const batch = outbox.take();
      if (batch === undefined || !publish(batch)) return;
      inFlight = batch.items.at(-1)?.sequence;
      unheard += 1;
      timer = setTimeout(
        send,
        backoffMs(unheard, { firstMs: resendMs, mostMs: Math.max(resendMs, mostResendMs) }, random),
      );
    } catch (error) {
      log.error({ reason: messageOf(error) }, 'telemetry cannot be sent');
    }
  }

  return {
    kick() {
      if (inFlight === undefined) send();
    },
    connected() {
      unheard = 0;
      const awayMs = nowMs() - heardMs;
      const spreadMs = awayMs < spreadFromMs ? 0 : Math.min(spreadMostMs, awayMs * spreadShare);
      notBeforeMs = Math.max(notBeforeMs, nowMs() + random() * spreadMs);
      send();
    },
    acknowledged(ack) {
      if (!outbox.acknowledge(ack)) {
        log.debug({ ack }, 'an acknowledgement of another epoch is ignored');
        return;
      }
      unheard = 0;
      heardMs = nowMs();
      // Not all at the same instant.
      if (ack.retryAfterMs !== undefined) notBeforeMs = heardMs + ack.retryAfterMs * (1 + random());
      if (inFlight === undefined || ack.sequence >= inFlight) send();
    },
    close() {
      closed = true;
      clearTimeout(timer);
    },
  };
}
