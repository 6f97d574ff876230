// SQL of notification channels, and of what each was told.
import { ChannelSpec } from '@edgeloop/shared/api/channels';
import { and, asc, eq, gt } from 'drizzle-orm';
import type { Database, Reader, Transaction } from '../../database/open.ts';
import { DeliveryState } from './delivery-state.ts';

type Source = Reader | Transaction;

/** What a webhook's messages are signed with; null until the first message of one that is older than signatures. */
export interface ChannelSecrets {
  secret: string | null;
  /** Signs too until then. */
  previousSecret: string | null;
  previousSecretUntil: number | null;
}
export interface StoredChannel extends ChannelSecrets {
  id: string;
  createdAt: number;
  spec: ChannelSpec;
}
/** What a channel was told of one group of alerts. */
export interface Delivery {
  channelId: string;
  groupKey: string;
  state: DeliveryState;
}
/** In the order of their ids. */
export interface After {
  after: string | undefined;
  limit: number;
}

export type ChannelStore = ReturnType<typeof createChannelStore>;

export function createChannelStore({ tables, read }: Pick<Database, 'tables' | 'read'>) {
  const { notificationChannels: channels, deliveries } = tables;
  const isOf = (channelId: string, groupKey: string) =>
    and(eq(deliveries.channelId, channelId), eq(deliveries.groupKey, groupKey));
  return {
    async channels(source: Source = read): Promise<StoredChannel[]> {
      return (await source.select().from(channels).orderBy(asc(channels.id))).map(channelOf);
    },
    async pageOfChannels({ after, limit }: After): Promise<StoredChannel[]> {
      const where = after === undefined ? undefined : gt(channels.id, after);
      return (await read.select().from(channels).where(where).orderBy(asc(channels.id)).limit(limit)).map(channelOf);
    },
    async insertChannel(tx: Transaction, { spec, ...row }: StoredChannel): Promise<void> {
      const { name, kind, ...rest } = spec;
      const { url, settings } = 'url' in rest ? splitUrl(rest) : { url: '', settings: rest };
      await tx.insert(channels).values({ ...row, name, kind, url, settings });
    },
    async updateSecrets(tx: Transaction, id: string, secrets: ChannelSecrets): Promise<void> {
      await tx.update(channels).set(secrets).where(eq(channels.id, id));
    },
    async deleteChannel(tx: Transaction, id: string): Promise<void> {
      await tx.delete(channels).where(eq(channels.id, id));
      await tx.delete(deliveries).where(eq(deliveries.channelId, id));
    },
    async deliveries(): Promise<Delivery[]> {
      const rows = await read.select().from(deliveries);
      return rows.map((row) => ({ ...row, state: DeliveryState.parse(row.state) }));
    },
    async putDelivery(tx: Transaction, delivery: Delivery): Promise<void> {
      await tx
        .insert(deliveries)
        .values(delivery)
        .onConflictDoUpdate({
          target: [deliveries.channelId, deliveries.groupKey],
          set: { state: delivery.state },
        });
    },
    async deleteDelivery(tx: Transaction, { channelId, groupKey }: Omit<Delivery, 'state'>): Promise<void> {
      await tx.delete(deliveries).where(isOf(channelId, groupKey));
    },
  };

  function channelOf(row: typeof channels.$inferSelect): StoredChannel {
    const { id, createdAt, secret, previousSecret, previousSecretUntil, name, kind, url, settings } = row;
    const spec = ChannelSpec.parse({ name, kind, ...(url === '' ? {} : { url }), ...Object(settings) });
    return { id, createdAt, spec, secret, previousSecret, previousSecretUntil };
  }
}

function splitUrl<T extends { url: string }>({ url, ...settings }: T) {
  return { url, settings };
}
