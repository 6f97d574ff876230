// Where alerts are sent, and the secrets that sign what is sent.
import type { ChannelSpec, CreatedNotificationChannel, NotificationChannel } from '@edgeloop/shared/api/alerts';
import { AppError } from '@edgeloop/shared/errors';
import { v7 as uuid } from 'uuid';
import type { z } from 'zod';
import { recordAudit } from '../../access/audit.ts';
import type { Database, Transaction } from '../../database/open.ts';
import { type Destinations, destinationOf } from './destinations.ts';
import type { After, RulesStore, StoredChannel } from './rules-store.ts';
import { createWebhookSecret } from './webhook.ts';

interface ChannelsDeps {
  database: Database;
  rulesStore: RulesStore;
  destinations: Destinations;
  now: () => number;
}

/** How long the former secret signs too: a receiver takes the new one over in its own time. */
const bothSignMs = 86_400_000;

export function createChannels({ database, rulesStore, destinations, now }: ChannelsDeps) {
  return {
    /**
     * Gives the secret, once.
     * @throws AppError `conflict` when the name is taken, `destination_refused` when the URL leads to a private address
     */
    async create(actor: string, spec: z.output<typeof ChannelSpec>): Promise<CreatedNotificationChannel> {
      await refusePrivate(spec.url);
      return database.transact(async (tx) => {
        const taken = (await rulesStore.channels(tx)).some(({ name }) => name === spec.name);
        if (taken) throw new AppError('conflict', `there already is a channel "${spec.name}"; choose another name`);
        const secret = createWebhookSecret();
        const secrets = { secret, previousSecret: null, previousSecretUntil: null };
        const channel = { ...spec, id: uuid(), createdAt: now(), ...secrets };
        await rulesStore.insertChannel(tx, channel);
        await audit(tx, { actor, action: 'channel.create', channel });
        return { ...toView(channel), secret };
      });
    },

    /** Signs with a new secret, which it gives once; for a day with the former one too. @throws AppError `not_found` */
    rotate: (actor: string, id: string): Promise<CreatedNotificationChannel> =>
      database.transact(async (tx) => {
        const channel = await known(tx, id);
        const secret = createWebhookSecret();
        const secrets = { secret, previousSecret: channel.secret, previousSecretUntil: now() + bothSignMs };
        await rulesStore.updateSecrets(tx, id, secrets);
        await audit(tx, { actor, action: 'channel.rotate', channel });
        return { ...toView(channel), secret };
      }),

    page: async (query: After): Promise<NotificationChannel[]> => (await rulesStore.pageOfChannels(query)).map(toView),

    /** @throws AppError `not_found`; `conflict` while a rule uses it */
    remove: (actor: string, id: string): Promise<NotificationChannel> =>
      database.transact(async (tx) => {
        const channel = await known(tx, id);
        const users = (await rulesStore.rules(tx)).filter(({ spec }) =>
          spec.channels.some((name) => name === channel.id || name === channel.name),
        );
        if (users.length > 0) {
          const names = users.map((rule) => rule.id).join(', ');
          throw new AppError(
            'conflict',
            `channel "${channel.name}" is used by alert rules ${names}; change them first`,
          );
        }
        await rulesStore.deleteChannel(tx, id);
        await audit(tx, { actor, action: 'channel.delete', channel });
        return toView(channel);
      }),
  };

  async function known(tx: Transaction, id: string): Promise<StoredChannel> {
    const channel = (await rulesStore.channels(tx)).find((each) => each.id === id);
    if (channel === undefined) throw new AppError('not_found', `there is no channel "${id}"`);
    return channel;
  }

  /** A name that is not known now may be later; then it is judged when something is sent. */
  async function refusePrivate(url: string): Promise<void> {
    try {
      await destinations.resolve(destinationOf(new URL(url)));
    } catch (error) {
      if (!(error instanceof AppError)) throw error;
      if (error.code === 'unavailable') return;
      const errors = [{ field: 'body.url', message: error.message }];
      throw new AppError(error.code, `body.url: ${error.message}`, { errors, cause: error });
    }
  }

  /** Paths and queries of webhooks often hold a secret, so the log gets the origin only. */
  function audit(
    tx: Transaction,
    { actor, action, channel }: { actor: string; action: string; channel: NotificationChannel },
  ): Promise<void> {
    const { id, name, kind, url } = channel;
    const state = { name, kind, origin: new URL(url).origin };
    const change = action === 'channel.delete' ? { before: state } : { after: state };
    return recordAudit(database.tables, tx, { at: now(), actor, action, subject: `channel/${id}`, ...change });
  }
}

/** Without its secrets. */
function toView({ id, name, kind, url, createdAt }: NotificationChannel): NotificationChannel {
  const shown = new URL(url);
  if (shown.username === '' && shown.password === '') return { id, name, kind, url, createdAt };
  shown.username = '***';
  shown.password = '';
  return { id, name, kind, url: shown.href, createdAt };
}
