// Names for versions that move, as `stable`: rollouts move them when they complete, operators at any time.
import type { ChangeEvent } from '@edgeloop/shared/api/events';
import type { ModelAlias } from '@edgeloop/shared/api/models';
import { AppError } from '@edgeloop/shared/errors';
import { and, asc, eq, inArray } from 'drizzle-orm';
import { recordAudit } from '../access/audit.ts';
import type { Database, Reader, Transaction } from '../database/open.ts';
import type { Schema } from '../database/schema.ts';

export interface Moving {
  model: string;
  alias: string;
  /** Null: it names nothing any more. */
  version: number | null;
  by: string;
  at: number;
  /** Only when whoever moved it last is this one. */
  from?: string;
}

export interface AliasesDeps {
  database: Database;
  /** @throws AppError `not_found` */
  version: (model: string, version: number) => Promise<unknown>;
  now: () => number;
  notify: (event: Omit<ChangeEvent, 'at'>) => void;
}

export function createAliases({ database, version: known, now, notify }: AliasesDeps) {
  const { modelAliases } = database.tables;
  const isOf = (model: string, alias: string) => and(eq(modelAliases.model, model), eq(modelAliases.alias, alias));

  async function find(reader: Reader, model: string, alias: string): Promise<Row | undefined> {
    const [row] = await reader.select().from(modelAliases).where(isOf(model, alias));
    return row;
  }

  async function move(tx: Transaction, { model, alias, version, by, at, from }: Moving): Promise<void> {
    const before = await find(tx, model, alias);
    if (from !== undefined && before?.updatedBy !== from) return;
    if (version === null) await tx.delete(modelAliases).where(isOf(model, alias));
    else {
      const set = { version, updatedAt: at, updatedBy: by };
      await tx
        .insert(modelAliases)
        .values({ model, alias, ...set })
        .onConflictDoUpdate({ target: [modelAliases.model, modelAliases.alias], set });
    }
  }

  return {
    /** Sorted by model and name. */
    async of(reader: Reader, models: readonly string[]): Promise<(ModelAlias & { model: string })[]> {
      if (models.length === 0) return [];
      return reader
        .select()
        .from(modelAliases)
        .where(inArray(modelAliases.model, [...models]))
        .orderBy(asc(modelAliases.model), asc(modelAliases.alias));
    },

    /** The version that it names now. @throws AppError `not_found` saying which names there are */
    async aliased(model: string, alias: string): Promise<number> {
      const found = await find(database.read, model, alias);
      if (found !== undefined) return found.version;
      const others = (await this.of(database.read, [model])).map((each) => each.alias);
      const there = others.length === 0 ? 'it has none' : `it has ${others.join(', ')}`;
      throw new AppError(
        'not_found',
        `model "${model}" has no alias "${alias}" (${there}); set it: edgeloop aliases set ${model} ${alias} VERSION`,
      );
    },

    /** Within the transaction of what moves it; that of a rollout is in the audit as its completion. */
    move,

    /** @throws AppError `not_found` for the version */
    async set(actor: string, { model, alias, version }: Pick<Moving, 'model' | 'alias'> & { version: number }) {
      await known(model, version);
      await database.transact(async (tx) => {
        const before = await find(tx, model, alias);
        const at = now();
        await move(tx, { model, alias, version, by: actor, at });
        const about = { actor, action: 'alias.set', subject: `model/${model}` };
        const former = before === undefined ? {} : { before: { alias, version: before.version } };
        await recordAudit(database.tables, tx, { at, ...about, ...former, after: { alias, version } });
      });
      notify({ type: 'model', id: model, state: `${alias} is version ${version}` });
    },
  };
}

type Row = Schema['modelAliases']['$inferSelect'];
