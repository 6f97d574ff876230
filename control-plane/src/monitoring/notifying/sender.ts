// Brings one message to one channel, whatever its kind.
import { AppError } from '@edgeloop/shared/errors';
import { withDeadline } from '@edgeloop/shared/node/deadline';
import type { Database } from '../../database/open.ts';
import { pushAlerts } from './alertmanager.ts';
import type { ChannelStore, StoredChannel } from './channel-store.ts';
import type { Destinations } from './destinations.ts';
import { sendEmail } from './email.ts';
import type { Outgoing } from './message.ts';
import { createWebhookSecret, postWebhook } from './webhook.ts';

interface SenderDeps {
  database: Pick<Database, 'transact'>;
  channelStore: ChannelStore;
  destinations: Destinations;
  now: () => number;
  timeoutMs?: number;
}

/** After which what still fires is told again. */
const repeats = { webhook: 14_400_000, email: 14_400_000, alertmanager: 60_000 };

export function repeatMsOf({ spec }: StoredChannel): number {
  return spec.repeatSeconds === undefined ? repeats[spec.kind] : spec.repeatSeconds * 1000;
}

export type Send = ReturnType<typeof createSender>;

export function createSender({ database, channelStore, destinations, now, timeoutMs = 10_000 }: SenderDeps) {
  /** @throws AppError with the reason why it did not arrive */
  return async function send(channel: StoredChannel, outgoing: Outgoing, stopped: AbortSignal): Promise<void> {
    const { spec } = channel;
    const { id, message } = outgoing;
    const secrets = spec.kind === 'webhook' ? await secretsOf(channel) : [];
    await withDeadline(timeoutMs, stopped, (signal) => {
      switch (spec.kind) {
        case 'webhook':
          return postWebhook(
            { url: spec.url, id, body: JSON.stringify(message), secrets, at: now() },
            destinations,
            signal,
          );
        case 'alertmanager':
          return pushAlerts({ url: spec.url, message, repeatMs: repeatMsOf(channel) }, destinations, signal);
        case 'email':
          return sendEmail({ spec, outgoing }, destinations, signal);
      }
    }).catch((error: unknown) => {
      if (error instanceof AppError) throw error;
      throw new AppError('unavailable', error instanceof Error ? error.message : String(error), { cause: error });
    });
  };

  /** The channel's own, and for a while the one before it. A channel from before signatures gets one now. */
  async function secretsOf({ id, secret, previousSecret, previousSecretUntil }: StoredChannel): Promise<string[]> {
    if (secret === null) {
      const made = createWebhookSecret();
      const secrets = { secret: made, previousSecret: null, previousSecretUntil: null };
      await database.transact((tx) => channelStore.updateSecrets(tx, id, secrets));
      return [made];
    }
    return previousSecret !== null && (previousSecretUntil ?? 0) > now() ? [secret, previousSecret] : [secret];
  }
}
