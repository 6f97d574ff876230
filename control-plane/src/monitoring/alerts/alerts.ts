// What people do with alerts: read, acknowledge, silence.
import type { Alert, AlertChain, AlertDetail, AlertQuery, ListedAlert } from '@edgeloop/shared/api/alerts';
import type { ChangeEvent } from '@edgeloop/shared/api/events';
import type { Page, PageQuery } from '@edgeloop/shared/api/paging';
import { AppError } from '@edgeloop/shared/errors';
import { z } from 'zod';
import { recordAudit } from '../../access/audit.ts';
import type { Database } from '../../database/open.ts';
import { decodeCursor, toPage } from '../../http/paging.ts';
import type { AlertRecord, AlertStore } from './alert-store.ts';
import { type Muting, mutedBy, toView } from './alert-view.ts';
import { chainOf, type Links } from './chain.ts';

interface AlertsDeps {
  database: Database;
  alertStore: AlertStore;
  muting: () => Promise<Muting>;
  links: Links;
  now: () => number;
  notify: (event: Omit<ChangeEvent, 'at'>) => void;
}

export function createAlerts({ database, alertStore, muting, links, now, notify }: AlertsDeps) {
  return {
    /** Newest first. */
    async list({ limit, cursor, ...asked }: PageQuery & z.output<typeof AlertQuery>): Promise<Page<ListedAlert>> {
      const after = decodeCursor(z.string(), cursor);
      const records = await alertStore.listAlerts({ ...asked, after, limit: limit + 1 });
      const muted = await muting();
      return toPage(
        records.map((record) => listed(record, muted)),
        limit,
        ({ id }) => id,
      );
    },

    /** Also its numbers over time. @throws AppError `not_found` */
    async alert(id: string): Promise<AlertDetail> {
      const record = await known(id);
      return { ...listed(record, await muting()), history: record.history };
    },

    /** What led to it, and what came of it. @throws AppError `not_found` */
    chain: async (id: string): Promise<AlertChain> => chainOf(await known(id), links),

    /** Somebody takes care of it: it is not told again. @throws AppError `not_found` */
    acknowledge: (actor: string, id: string, note: string | undefined): Promise<ListedAlert> =>
      change(id, {
        ...{ actor, action: 'alert.ack' },
        edit: (alert) => ({ ...alert, acknowledgedBy: actor, acknowledgedAt: now(), note: note ?? alert.note }),
      }),

    /** No notifications about it for so many seconds. @throws AppError `not_found` */
    silence: (actor: string, id: string, seconds: number): Promise<ListedAlert> =>
      change(id, {
        ...{ actor, action: 'alert.silence' },
        edit: (alert) => ({ ...alert, silencedUntil: now() + seconds * 1000 }),
      }),
  };

  async function known(id: string): Promise<AlertRecord> {
    const record = await alertStore.alert(database.read, id);
    if (record === undefined) throw new AppError('not_found', `there is no alert "${id}"`);
    return record;
  }

  async function change(
    id: string,
    { actor, action, edit }: { actor: string; action: string; edit: (alert: AlertRecord) => AlertRecord },
  ): Promise<ListedAlert> {
    const changed = await database.transact(async (tx) => {
      const before = await alertStore.alert(tx, id);
      if (before === undefined) throw new AppError('not_found', `there is no alert "${id}"`);
      const after = edit(before);
      await alertStore.updateAlert(tx, after);
      await recordAudit(database.tables, tx, {
        ...{ at: now(), actor, action, subject: `alert/${id}` },
        before: attention(before),
        after: attention(after),
      });
      return after;
    });
    notify({ type: 'alert', id, state: changed.status });
    return listed(changed, await muting());
  }
}

function listed(record: AlertRecord, muting: Muting): ListedAlert {
  const alert = toView(record);
  return { ...alert, ...mutedBy(alert, muting) };
}

function attention({ acknowledgedBy, note, silencedUntil }: Alert) {
  return { acknowledgedBy, note, silencedUntil };
}
