// Sends the outbox: one batch in flight, sent again until the control plane says that it is stored. What a broker took
// counts for nothing.
import { messageOf } from '@edgeloop/shared/errors';
import type { TelemetryAck, TelemetryBatch } from '@edgeloop/shared/telemetry';
import type { Logger } from 'pino';
import type { Outbox } from './outbox.ts';

export interface DeliveryOptions {
  outbox: Pick<Outbox, 'take' | 'acknowledge'>;
  /** Publishes a batch; false while there is no connection. */
  publish(batch: TelemetryBatch): boolean;
  log: Logger;
  resendMs?: number;
}

export interface Delivery {
  /** There may be something to send. */
  kick(): void;
  /** There is a connection again: what was in flight may be lost. */
  connected(): void;
  acknowledged(ack: TelemetryAck): void;
  close(): void;
}

export function createDelivery({ outbox, publish, log, resendMs = 10_000 }: DeliveryOptions): Delivery {
  let timer: NodeJS.Timeout | undefined;
  /** Highest number of the batch that waits for its acknowledgement. */
  let inFlight: number | undefined;
  let closed = false;

  function send(): void {
    clearTimeout(timer);
    timer = undefined;
    inFlight = undefined;
    if (closed) return;
    try {
      const batch = outbox.take();
      if (batch === undefined || !publish(batch)) return;
      inFlight = batch.items.at(-1)?.sequence;
      timer = setTimeout(send, resendMs);
    } catch (error) {
      log.error({ reason: messageOf(error) }, 'telemetry cannot be sent');
    }
  }

  return {
    kick() {
      if (inFlight === undefined) send();
    },
    connected: send,
    acknowledged(ack) {
      if (!outbox.acknowledge(ack)) {
        log.debug({ ack }, 'an acknowledgement of another epoch is ignored');
        return;
      }
      if (inFlight === undefined || ack.sequence >= inFlight) send();
    },
    close() {
      closed = true;
      clearTimeout(timer);
    },
  };
}
