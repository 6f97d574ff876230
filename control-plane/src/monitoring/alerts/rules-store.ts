// SQL of alert rules.
import { type AlertRule, AlertRuleSpec, AlertRule as RuleSchema } from '@edgeloop/shared/api/alert-rules';
import { and, asc, eq, gt, isNotNull, isNull } from 'drizzle-orm';
import type { Database, Reader, Transaction } from '../../database/open.ts';

type Source = Reader | Transaction;
/** In the order of their ids. */
export interface After {
  after: string | undefined;
  limit: number;
}

export type RulesStore = ReturnType<typeof createRulesStore>;

export function createRulesStore({ tables, read }: Pick<Database, 'tables' | 'read'>) {
  const { alertRules } = tables;
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
    /** Forgets that it was deleted. */
    async purgeRule(tx: Transaction, id: string): Promise<void> {
      await tx.delete(alertRules).where(and(eq(alertRules.id, id), isNotNull(alertRules.deletedAt)));
    },
    async wasDeleted(tx: Transaction, id: string): Promise<boolean> {
      return (await tx.$count(alertRules, and(eq(alertRules.id, id), isNotNull(alertRules.deletedAt)))) > 0;
    },
  };

  function ruleOf(row: typeof alertRules.$inferSelect): AlertRule {
    return RuleSchema.parse({ ...row, spec: AlertRuleSpec.parse(row.spec) });
  }
}
