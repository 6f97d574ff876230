// SQL of alert rules and notification channels.
import {
  type AlertRule,
  AlertRuleSpec,
  NotificationChannel as ChannelSchema,
  type NotificationChannel,
  AlertRule as RuleSchema,
} from '@edgeloop/shared/api/alerts';
import { and, asc, eq, gt, isNotNull, isNull } from 'drizzle-orm';
import type { Database, Reader, Transaction } from '../../database/open.ts';

type Source = Reader | Transaction;
/** What a channel's messages are signed with; null until the first message of one that is older than signatures. */
export interface ChannelSecrets {
  secret: string | null;
  /** Signs too until then. */
  previousSecret: string | null;
  previousSecretUntil: number | null;
}
export type StoredChannel = NotificationChannel & ChannelSecrets;
/** In the order of their ids. */
export interface After {
  after: string | undefined;
  limit: number;
}

export type RulesStore = ReturnType<typeof createRulesStore>;

export function createRulesStore({ tables, read }: Pick<Database, 'tables' | 'read'>) {
  const { alertRules, notificationChannels } = tables;
  const isLive = isNull(alertRules.deletedAt);
  return {
    async rules(source: Source = read): Promise<AlertRule[]> {
      return (await source.select().from(alertRules).where(isLive).orderBy(asc(alertRules.id))).map(ruleOf);
    },
    async pageOfRules({ after, limit }: After): Promise<AlertRule[]> {
      const where = and(isLive, after === undefined ? undefined : gt(alertRules.id, after));
      return (await read.select().from(alertRules).where(where).orderBy(asc(alertRules.id)).limit(limit)).map(ruleOf);
    },
    async rule(source: Source, id: string): Promise<AlertRule | undefined> {
      const [row] = await source
        .select()
        .from(alertRules)
        .where(and(isLive, eq(alertRules.id, id)));
      return row && ruleOf(row);
    },
    async insertRule(tx: Transaction, rule: AlertRule): Promise<void> {
      await tx.insert(alertRules).values(rule);
    },
    async updateRule(tx: Transaction, { id, spec }: AlertRule): Promise<void> {
      await tx.update(alertRules).set({ spec }).where(eq(alertRules.id, id));
    },
    /** Its row stays, so that `wasDeleted` knows; nothing else here sees it any more. */
    async deleteRule(tx: Transaction, id: string, deletedAt: number): Promise<void> {
      await tx.update(alertRules).set({ deletedAt }).where(eq(alertRules.id, id));
    },
    async wasDeleted(tx: Transaction, id: string): Promise<boolean> {
      return (await tx.$count(alertRules, and(eq(alertRules.id, id), isNotNull(alertRules.deletedAt)))) > 0;
    },
    async channels(source: Source = read): Promise<StoredChannel[]> {
      const rows = await source.select().from(notificationChannels).orderBy(asc(notificationChannels.id));
      return rows.map(channelOf);
    },
    async pageOfChannels({ after, limit }: After): Promise<StoredChannel[]> {
      const where = after === undefined ? undefined : gt(notificationChannels.id, after);
      const rows = await read
        .select()
        .from(notificationChannels)
        .where(and(where))
        .orderBy(asc(notificationChannels.id))
        .limit(limit);
      return rows.map(channelOf);
    },
    async insertChannel(tx: Transaction, channel: StoredChannel): Promise<void> {
      await tx.insert(notificationChannels).values(channel);
    },
    async updateSecrets(tx: Transaction, id: string, secrets: ChannelSecrets): Promise<void> {
      await tx.update(notificationChannels).set(secrets).where(eq(notificationChannels.id, id));
    },
    async deleteChannel(tx: Transaction, id: string): Promise<void> {
      await tx.delete(notificationChannels).where(eq(notificationChannels.id, id));
    },
  };

  function channelOf(row: typeof notificationChannels.$inferSelect): StoredChannel {
    const { secret, previousSecret, previousSecretUntil, ...channel } = row;
    return { ...ChannelSchema.parse(channel), secret, previousSecret, previousSecretUntil };
  }

  function ruleOf(row: typeof alertRules.$inferSelect): AlertRule {
    return RuleSchema.parse({ ...row, spec: AlertRuleSpec.parse(row.spec) });
  }
}
