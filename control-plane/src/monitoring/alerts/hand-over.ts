// Tells whoever acts on firing alerts (training), once for each firing: tried again until it took the word, which is
// then noted in the alert's row.
import type { Alert } from '@edgeloop/shared/api/alerts';
import { backoffMs } from '@edgeloop/shared/node/backoff';
import type { Logger } from 'pino';
import type { Database } from '../../database/open.ts';
import type { AlertRecord, AlertStore } from './alert-store.ts';
import { toView } from './alert-view.ts';
import type { Links } from './chain.ts';
import { unique } from './fleet-figures.ts';

/** Before what failed is tried again. */
const retry = { firstMs: 2000, mostMs: 300_000 };

/** How often it is asked what became of runs. */
const followEveryMs = 10_000;

interface HandOverDeps {
  database: Pick<Database, 'transact'>;
  alertStore: AlertStore;
  /** May be called again for the same alert after a crash: idempotent by the alert's id. */
  onFiring: (alert: Alert) => Promise<{ runs: string[] }>;
  /** The rollout that a run has led to, when it has. */
  links: Pick<Links, 'run'>;
  now: () => number;
  log: Logger;
}

export function createHandOver({ database, alertStore, onFiring, links, now, log }: HandOverDeps) {
  const failures = new Map<string, { attempts: number; nextAt: number }>();
  let followedAt = 0;
  return {
    async look(): Promise<void> {
      const open = await alertStore.openAlerts();
      if (followedAt + followEveryMs <= now()) {
        followedAt = now();
        for (const alert of open) if (alert.links.runs.length > 0) await follow(alert);
      }
      const firing = open.filter((alert) => alert.status === 'firing' && !alert.handedOver);
      for (const alert of firing) if ((failures.get(alert.id)?.nextAt ?? 0) <= now()) await pass(alert);
    },
  };

  /** Keeps which rollouts came of the runs that the alert started. */
  async function follow({ id, links: known }: AlertRecord): Promise<void> {
    const runs = await Promise.all(known.runs.map((run) => links.run(run)));
    const found = runs.flatMap((run) => (run?.rolloutId == null ? [] : [run.rolloutId]));
    if (found.every((rollout) => known.rollouts.includes(rollout))) return;
    await database.transact(async (tx) => {
      const current = await alertStore.alert(tx, id);
      if (current === undefined) return;
      const rollouts = unique([...current.links.rollouts, ...found]);
      await alertStore.updateAlert(tx, { ...current, links: { ...current.links, rollouts } });
    });
  }

  async function pass(alert: AlertRecord): Promise<void> {
    let runs: string[];
    try {
      ({ runs } = await onFiring(toView(alert)));
      failures.delete(alert.id);
    } catch (error) {
      const attempts = (failures.get(alert.id)?.attempts ?? 0) + 1;
      failures.set(alert.id, { attempts, nextAt: now() + backoffMs(attempts, retry) });
      log.error({ err: error, alert: alert.id, attempts }, 'nobody took over the firing alert; it is tried again');
      return;
    }
    await database.transact(async (tx) => {
      const current = await alertStore.alert(tx, alert.id);
      if (current === undefined) return;
      const links = { ...current.links, runs: unique([...current.links.runs, ...runs]) };
      await alertStore.updateAlert(tx, { ...current, links, handedOver: true });
    });
  }
}
