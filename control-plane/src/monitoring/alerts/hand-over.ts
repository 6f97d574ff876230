// Tells whoever acts on firing alerts (training), once for each firing: tried again until it took the word, which is
// then noted in the alert's row.
import type { Alert } from '@edgeloop/shared/api/alerts';
import { backoffMs } from '@edgeloop/shared/node/backoff';
import type { Logger } from 'pino';
import type { Database } from '../../database/open.ts';
import type { AlertStore } from './alert-store.ts';

/** Before what failed is tried again. */
const retry = { firstMs: 2000, mostMs: 300_000 };

interface HandOverDeps {
  database: Pick<Database, 'transact'>;
  alertStore: AlertStore;
  /** May be called again for the same alert after a crash: idempotent by the alert's id. */
  onFiring: (alert: Alert) => Promise<void>;
  now: () => number;
  log: Logger;
}

export function createHandOver({ database, alertStore, onFiring, now, log }: HandOverDeps) {
  const failures = new Map<string, { attempts: number; nextAt: number }>();
  return {
    async look(): Promise<void> {
      const firing = (await alertStore.openAlerts()).filter((alert) => alert.status === 'firing' && !alert.handedOver);
      for (const { handedOver: _, notifiedAt: __, ...alert } of firing) {
        if ((failures.get(alert.id)?.nextAt ?? 0) <= now()) await pass(alert);
      }
    },
  };

  async function pass(alert: Alert): Promise<void> {
    try {
      await onFiring(alert);
      failures.delete(alert.id);
    } catch (error) {
      const attempts = (failures.get(alert.id)?.attempts ?? 0) + 1;
      failures.set(alert.id, { attempts, nextAt: now() + backoffMs(attempts, retry) });
      log.error({ err: error, alert: alert.id, attempts }, 'nobody took over the firing alert; it is tried again');
      return;
    }
    await database.transact(async (tx) => {
      const current = await alertStore.alert(tx, alert.id);
      if (current !== undefined) await alertStore.updateAlert(tx, { ...current, handedOver: true });
    });
  }
}
