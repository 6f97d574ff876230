// What people do with alerts: read, acknowledge, silence.
import type { Alert, AlertQuery } from '@edgeloop/shared/api/alerts';
import type { ChangeEvent } from '@edgeloop/shared/api/events';
import type { Page, PageQuery } from '@edgeloop/shared/api/paging';
import { AppError } from '@edgeloop/shared/errors';
import { z } from 'zod';
import { recordAudit } from '../../access/audit.ts';
import type { Database } from '../../database/open.ts';
import { decodeCursor, toPage } from '../../http/paging.ts';
import type { AlertRecord, AlertStore } from './alert-store.ts';

interface AlertsDeps {
  database: Database;
  alertStore: AlertStore;
  now: () => number;
  notify: (event: Omit<ChangeEvent, 'at'>) => void;
}

export function createAlerts({ database, alertStore, now, notify }: AlertsDeps) {
  return {
    /** Newest first. */
    async list({ limit, cursor, ...asked }: PageQuery & z.output<typeof AlertQuery>): Promise<Page<Alert>> {
      const after = decodeCursor(z.string(), cursor);
      const records = await alertStore.listAlerts({
        model: asked.model,
        status: asked.status,
        after,
        limit: limit + 1,
      });
      return toPage(records.map(alertOf), limit, ({ id }) => id);
    },

    /** Somebody takes care of it. @throws AppError `not_found` */
    acknowledge: (actor: string, id: string): Promise<Alert> =>
      change(id, { actor, action: 'alert.ack', edit: (alert) => ({ ...alert, acknowledgedBy: actor }) }),

    /** No notifications about it for so many seconds. @throws AppError `not_found` */
    silence: (actor: string, id: string, seconds: number): Promise<Alert> =>
      change(id, {
        ...{ actor, action: 'alert.silence' },
        edit: (alert) => ({ ...alert, silencedUntil: now() + seconds * 1000 }),
      }),
  };

  async function change(
    id: string,
    { actor, action, edit }: { actor: string; action: string; edit: (alert: AlertRecord) => AlertRecord },
  ): Promise<Alert> {
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
    return alertOf(changed);
  }
}

function alertOf({ handedOver: _, notifiedAt: __, ...alert }: AlertRecord): Alert {
  return alert;
}

function attention({ acknowledgedBy, silencedUntil }: Alert) {
  return { acknowledgedBy, silencedUntil };
}
