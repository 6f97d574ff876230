// Where alerts are sent.
import type { ChannelSpec, NotificationChannel } from '@edgeloop/shared/api/alerts';
import { AppError } from '@edgeloop/shared/errors';
import { v7 as uuid } from 'uuid';
import type { z } from 'zod';
import { recordAudit } from '../../access/audit.ts';
import type { Database, Transaction } from '../../database/open.ts';
import type { RulesStore } from './rules-store.ts';

interface ChannelsDeps {
  database: Database;
  rulesStore: RulesStore;
  now: () => number;
}

export function createChannels({ database, rulesStore, now }: ChannelsDeps) {
  return {
    /** @throws AppError `conflict` when the name is taken */
    create: (actor: string, spec: z.output<typeof ChannelSpec>): Promise<NotificationChannel> =>
      database.transact(async (tx) => {
        const taken = (await rulesStore.channels(tx)).some(({ name }) => name === spec.name);
        if (taken) throw new AppError('conflict', `there already is a channel "${spec.name}"; choose another name`);
        const channel = { ...spec, id: uuid(), createdAt: now() };
        await rulesStore.insertChannel(tx, channel);
        await audit(tx, { actor, action: 'channel.create', channel });
        return channel;
      }),

    /** @throws AppError `not_found`; `conflict` while a rule uses it */
    remove: (actor: string, id: string): Promise<NotificationChannel> =>
      database.transact(async (tx) => {
        const channel = (await rulesStore.channels(tx)).find((each) => each.id === id);
        if (channel === undefined) throw new AppError('not_found', `there is no channel "${id}"`);
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
        return channel;
      }),
  };

  /** Paths and queries of webhooks often hold a secret, so the log gets the origin only. */
  function audit(
    tx: Transaction,
    { actor, action, channel }: { actor: string; action: string; channel: NotificationChannel },
  ): Promise<void> {
    const { id, name, kind, url } = channel;
    const state = { name, kind, origin: new URL(url).origin };
    const change = action === 'channel.create' ? { after: state } : { before: state };
    return recordAudit(database.tables, tx, { at: now(), actor, action, subject: `channel/${id}`, ...change });
  }
}
