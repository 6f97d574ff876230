// Composition of the room: rules, judgement, alerts and where they go.
import type { Alert } from '@edgeloop/shared/api/alerts';
import type { ChangeEvent } from '@edgeloop/shared/api/events';
import type { ReferenceProfile } from '@edgeloop/shared/profile';
import type { Labels } from '@edgeloop/shared/selector';
import type { Logger } from 'pino';
import type { Database } from '../database/open.ts';
import type { Telemetry } from '../telemetry/telemetry.ts';
import { createAlertRules } from './alerts/alert-rules.ts';
import { createAlerts } from './alerts/alerts.ts';
import { createChannels } from './alerts/channels.ts';
import { createHandOver } from './alerts/hand-over.ts';
import { createNotifications } from './alerts/notifications.ts';
import { createRulesStore } from './alerts/rules-store.ts';
import { createDriftSeries } from './judging/drift-series.ts';
import { createJudge } from './judging/judge.ts';
import { createReferenceCache } from './judging/reference-cache.ts';
import { createEvaluator } from './judging/watch.ts';
import { createMonitoringStore } from './monitoring-store.ts';

export interface MonitoringDeps {
  database: Database;
  telemetry: Telemetry;
  /** The profile in the manifest of a registered version; undefined when there is none or no such version. */
  reference: (model: string, version: number) => Promise<ReferenceProfile | undefined>;
  /** Labels of every device that is not revoked. */
  deviceLabels: () => Promise<ReadonlyMap<string, Labels>>;
  /** Called once for each firing alert, and again only when it failed or the process died before that was noted. */
  onFiring: (alert: Alert) => Promise<void>;
  now: () => number;
  notify: (event: Omit<ChangeEvent, 'at'>) => void;
  log: Logger;
}

export type Monitoring = ReturnType<typeof createMonitoring>;

export function createMonitoring(deps: MonitoringDeps) {
  const { database, telemetry, now } = deps;
  const store = createMonitoringStore(database);
  const rulesStore = createRulesStore(database);
  const reference = createReferenceCache(deps.reference);
  const rules = createAlertRules({ database, store, rulesStore, reference, now });
  const evaluator = createEvaluator({
    ...deps,
    ...{ store, alertRules: rules },
    judge: createJudge({ telemetry, reference, deviceLabels: deps.deviceLabels }),
    handOver: createHandOver({ ...deps, store }),
    notifications: createNotifications({ ...deps, store, rulesStore }),
  });
  return {
    rules: { ...rules, page: rulesStore.pageOfRules },
    channels: { ...createChannels({ database, rulesStore, now }), page: rulesStore.pageOfChannels },
    alerts: createAlerts({ ...deps, store }),
    /** For the metric `drift`. */
    driftSeries: createDriftSeries({ store, rulesStore }),
    start: evaluator.start,
    close: evaluator.close,
    /** One look at everything, as happens each second once started. */
    tick: evaluator.tick,
  };
}
