// Where alerts are sent, and the secrets that sign what is sent.
import {
  type ChannelSpec,
  ChannelTest,
  CreatedNotificationChannel,
  NotificationChannel,
} from '@edgeloop/shared/api/channels';
import { AppError } from '@edgeloop/shared/errors';
import { v7 as uuid } from 'uuid';
import type { z } from 'zod';
import { recordAudit } from '../../access/audit.ts';
import type { Database, Transaction } from '../../database/open.ts';
import type { RulesStore } from '../alerts/rules-store.ts';
import type { After, ChannelStore, Delivery, StoredChannel } from './channel-store.ts';
import { type Destinations, destinationOf } from './destinations.ts';
import type { Notifications } from './notifications.ts';
import { createWebhookSecret } from './webhook.ts';

interface ChannelsDeps {
  database: Database;
  channelStore: ChannelStore;
  rulesStore: RulesStore;
  destinations: Destinations;
  notifications: Pick<Notifications, 'test'>;
  now: () => number;
}

/** How long the former secret signs too: a receiver takes the new one over in its own time. */
const bothSignMs = 86_400_000;

export function createChannels(deps: ChannelsDeps) {
  const { database, channelStore, rulesStore, destinations, notifications, now } = deps;
  return {
    /**
     * Gives the secret of a webhook, once.
     * @throws AppError `conflict` when the name is taken, `destination_refused` when it leads to a private address
     */
    async create(actor: string, spec: ChannelSpec): Promise<CreatedNotificationChannel> {
      await refusePrivate(spec);
      return database.transact(async (tx) => {
        const taken = (await channelStore.channels(tx)).some((each) => each.spec.name === spec.name);
        if (taken) throw new AppError('conflict', `there already is a channel "${spec.name}"; choose another name`);
        const secret = spec.kind === 'webhook' ? createWebhookSecret() : null;
        const secrets = { secret, previousSecret: null, previousSecretUntil: null };
        const channel = { spec, id: uuid(), createdAt: now(), ...secrets };
        await channelStore.insertChannel(tx, channel);
        await audit(tx, { actor, action: 'channel.create', channel });
        return withSecret(channel);
      });
    },

    /**
     * Signs with a new secret, which it gives once; for a day with the former one too.
     * @throws AppError `not_found`; `conflict` for a channel whose messages are not signed
     */
    rotate: (actor: string, id: string): Promise<CreatedNotificationChannel> =>
      database.transact(async (tx) => {
        const channel = await known(tx, id);
        if (channel.spec.kind !== 'webhook')
          throw new AppError('conflict', `channel "${channel.spec.name}" is no webhook: its messages are not signed`);
        const secret = createWebhookSecret();
        const secrets = { secret, previousSecret: channel.secret, previousSecretUntil: now() + bothSignMs };
        await channelStore.updateSecrets(tx, id, secrets);
        await audit(tx, { actor, action: 'channel.rotate', channel });
        return withSecret({ ...channel, secret });
      }),

    async page(query: After): Promise<NotificationChannel[]> {
      const deliveries = await channelStore.deliveries();
      return (await channelStore.pageOfChannels(query)).map((channel) =>
        NotificationChannel.parse({ ...viewOf(channel), delivery: deliveryOf(channel, deliveries) }),
      );
    },

    /** Sends a test message now. @throws AppError `not_found` */
    async test(id: string): Promise<z.infer<typeof ChannelTest>> {
      const channel = (await channelStore.channels()).find((each) => each.id === id);
      if (channel === undefined) throw new AppError('not_found', `there is no channel "${id}"`);
      try {
        await notifications.test(channel);
        return ChannelTest.parse({ delivered: true, error: null });
      } catch (error) {
        if (!(error instanceof AppError)) throw error;
        return { delivered: false, error: error.message };
      }
    },

    /** @throws AppError `not_found`; `conflict` while a rule uses it */
    remove: (actor: string, id: string): Promise<NotificationChannel> =>
      database.transact(async (tx) => {
        const channel = await known(tx, id);
        const { name } = channel.spec;
        const users = (await rulesStore.rules(tx)).filter(({ spec }) =>
          spec.channels.some((each) => each === id || each === name),
        );
        if (users.length > 0) {
          const names = users.map((rule) => rule.id).join(', ');
          throw new AppError('conflict', `channel "${name}" is used by alert rules ${names}; change them first`);
        }
        await channelStore.deleteChannel(tx, id);
        await audit(tx, { actor, action: 'channel.delete', channel });
        return NotificationChannel.parse(viewOf(channel));
      }),
  };

  async function known(tx: Transaction, id: string): Promise<StoredChannel> {
    const channel = (await channelStore.channels(tx)).find((each) => each.id === id);
    if (channel === undefined) throw new AppError('not_found', `there is no channel "${id}"`);
    return channel;
  }

  /** A name that is not known now may be later; then it is judged when something is sent. */
  async function refusePrivate(spec: ChannelSpec): Promise<void> {
    const field = spec.kind === 'email' ? 'body.smtp.host' : 'body.url';
    try {
      await destinations.resolve(spec.kind === 'email' ? spec.smtp : destinationOf(new URL(spec.url)));
    } catch (error) {
      if (!(error instanceof AppError)) throw error;
      if (error.code === 'unavailable') return;
      const errors = [{ field, message: error.message }];
      throw new AppError(error.code, `${field}: ${error.message}`, { errors, cause: error });
    }
  }

  /** Paths and queries of webhooks often hold a secret, so the log gets the origin only. */
  function audit(
    tx: Transaction,
    { actor, action, channel }: { actor: string; action: string; channel: StoredChannel },
  ): Promise<void> {
    const { name, kind } = channel.spec;
    const where =
      channel.spec.kind === 'email'
        ? { to: channel.spec.to, host: channel.spec.smtp.host }
        : { origin: new URL(channel.spec.url).origin };
    const state = { name, kind, ...where };
    const change = action === 'channel.delete' ? { before: state } : { after: state };
    return recordAudit(database.tables, tx, { at: now(), actor, action, subject: `channel/${channel.id}`, ...change });
  }
}

function withSecret(channel: StoredChannel): CreatedNotificationChannel {
  const secret = channel.secret === null ? {} : { secret: channel.secret };
  return CreatedNotificationChannel.parse({ ...viewOf(channel), ...secret });
}

/** Without its secrets. */
function viewOf({ id, createdAt, spec }: StoredChannel): object {
  if (spec.kind !== 'email') return { ...spec, url: withoutPassword(spec.url), id, createdAt };
  const { password: _, ...smtp } = spec.smtp;
  return { ...spec, smtp, id, createdAt };
}

function withoutPassword(url: string): string {
  const shown = new URL(url);
  if (shown.username === '' && shown.password === '') return url;
  shown.username = '***';
  shown.password = '';
  return shown.href;
}

function deliveryOf({ id }: StoredChannel, deliveries: readonly Delivery[]): NotificationChannel['delivery'] {
  const own = deliveries.filter(({ channelId }) => channelId === id).map(({ state }) => state);
  if (own.length === 0) return null;
  const failing = own.filter(({ error }) => error !== null);
  const times = own.flatMap(({ sentAt }) => (sentAt === null ? [] : [sentAt]));
  return {
    sentAt: times.length === 0 ? null : Math.max(...times),
    failing: failing.length,
    error: failing[0]?.error ?? null,
  };
}
