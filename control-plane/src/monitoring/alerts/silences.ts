// Silences: which alerts are not told until when, and who said so.
import { AlertMatch } from '@edgeloop/shared/api/alert-match';
import type { Silence, SilenceSpec } from '@edgeloop/shared/api/alerts';
import type { Page, PageQuery } from '@edgeloop/shared/api/paging';
import { AppError } from '@edgeloop/shared/errors';
import { and, desc, eq, gt, lt, lte } from 'drizzle-orm';
import { v7 as uuid } from 'uuid';
import { z } from 'zod';
import { recordAudit } from '../../access/audit.ts';
import type { Database } from '../../database/open.ts';
import { decodeCursor, toPage } from '../../http/paging.ts';

type Row = Database['tables']['silences']['$inferSelect'];

export function createSilences({ database, now }: { database: Database; now: () => number }) {
  const { silences } = database.tables;

  return {
    /** Newest first. */
    async list({ limit, cursor }: PageQuery): Promise<Page<Silence>> {
      const after = decodeCursor(z.string(), cursor);
      const rows = await database.read
        .select()
        .from(silences)
        .where(after === undefined ? undefined : lt(silences.id, after))
        .orderBy(desc(silences.id))
        .limit(limit + 1);
      return toPage(rows.map(toSilence), limit, ({ id }) => id);
    },

    /** Those that hold now. */
    async active(): Promise<Silence[]> {
      const holds = and(lte(silences.startsAt, now()), gt(silences.endsAt, now()));
      return (await database.read.select().from(silences).where(holds)).map(toSilence);
    },

    create(actor: string, { match, seconds, startsAt = now(), comment }: z.output<typeof SilenceSpec>) {
      const silence = {
        match,
        comment,
        createdBy: actor,
        createdAt: now(),
        startsAt,
        endsAt: startsAt + seconds * 1000,
      };
      return database.transact(async (tx) => {
        const row = { id: uuid(), ...silence };
        await tx.insert(silences).values(row);
        await recordAudit(database.tables, tx, {
          ...{ at: now(), actor, action: 'silence.create', subject: `silence/${row.id}`, after: silence },
        });
        return toSilence(row);
      });
    },

    /** Ends it now. @throws AppError `not_found`; `conflict` when it has ended */
    expire: (actor: string, id: string): Promise<Silence> =>
      database.transact(async (tx) => {
        const [row] = await tx.select().from(silences).where(eq(silences.id, id));
        if (row === undefined) throw new AppError('not_found', `there is no silence "${id}"`);
        if (row.endsAt <= now()) throw new AppError('conflict', `silence ${id} has ended already`);
        const endsAt = now();
        await tx.update(silences).set({ endsAt }).where(eq(silences.id, id));
        await recordAudit(database.tables, tx, {
          ...{ at: now(), actor, action: 'silence.expire', subject: `silence/${id}` },
          ...{ before: { endsAt: row.endsAt }, after: { endsAt } },
        });
        return toSilence({ ...row, endsAt });
      }),
  };

  function toSilence(row: Row): Silence {
    const status = row.endsAt <= now() ? 'expired' : row.startsAt > now() ? 'pending' : 'active';
    return { ...row, match: AlertMatch.parse(row.match), status };
  }
}
