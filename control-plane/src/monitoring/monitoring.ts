// Composition of the room: rules, judgement, alerts and where they go. `judging` uses `references`, `alerts` and `statistics`,
// `references` uses `alerts` and `statistics`, `alerts` uses `statistics`, and nothing the other way round.
import type { Alert } from '@edgeloop/shared/api/alerts';
import type { ChangeEvent } from '@edgeloop/shared/api/events';
import type { ReferenceProfile } from '@edgeloop/shared/profile';
import type { Labels } from '@edgeloop/shared/selector';
import type { Logger } from 'pino';
import type { Database } from '../database/open.ts';
import type { Telemetry } from '../telemetry/telemetry.ts';
import { createAlertRules } from './alerts/alert-rules.ts';
import { createAlertStore } from './alerts/alert-store.ts';
import { createAlerts } from './alerts/alerts.ts';
import { createChannels } from './alerts/channels.ts';
import { createDestinations } from './alerts/destinations.ts';
import { createHandOver } from './alerts/hand-over.ts';
import { createNotifications } from './alerts/notifications.ts';
import { createRulesStore } from './alerts/rules-store.ts';
import { createDriftSeries } from './judging/drift-series.ts';
import { createEvaluationStore } from './judging/evaluation-store.ts';
import { createJudge } from './judging/judge.ts';
import { createReferenceCache } from './judging/reference-cache.ts';
import { createReport } from './judging/report.ts';
import { createWatch } from './judging/watch.ts';
import { createAcceptance } from './references/acceptance.ts';
import { createReferenceStore } from './references/reference-store.ts';
import { createReferences } from './references/references.ts';

export interface MonitoringDeps {
  database: Database;
  telemetry: Telemetry;
  /** The profile in the manifest of a registered version; undefined when there is none or no such version. */
  reference: (model: string, version: number) => Promise<ReferenceProfile | undefined>;
  /** Labels of every device that is not revoked. */
  deviceLabels: () => Promise<ReadonlyMap<string, Labels>>;
  /** Called once for each firing alert, and again only when it failed or the process died before that was noted. */
  onFiring: (alert: Alert) => Promise<void>;
  /** Hosts and ranges that webhooks may reach though they are not public. */
  webhookAllow?: readonly string[];
  now: () => number;
  notify: (event: Omit<ChangeEvent, 'at'>) => void;
  log: Logger;
}

export type Monitoring = ReturnType<typeof createMonitoring>;

export function createMonitoring(deps: MonitoringDeps) {
  const { database, telemetry, now } = deps;
  const alertStore = createAlertStore(database);
  const rulesStore = createRulesStore(database);
  const evaluationStore = createEvaluationStore(database);
  const destinations = createDestinations(deps.webhookAllow ?? []);
  const reference = createReferenceCache(deps.reference);
  const store = createReferenceStore(database);
  const references = createReferences({ database, store, telemetry, manifest: reference, now });
  const rules = createAlertRules({
    ...{ database, alertStore, rulesStore, reference, now },
    forgetJudged: evaluationStore.deleteEvaluations,
  });
  const watch = createWatch({
    ...deps,
    ...{ alertStore, evaluationStore, alertRules: rules },
    references,
    judge: createJudge({ telemetry, references, deviceLabels: deps.deviceLabels }),
    handOver: createHandOver({ ...deps, alertStore }),
    notifications: createNotifications({ ...deps, alertStore, rulesStore, destinations }),
  });
  return {
    rules: { ...rules, page: rulesStore.pageOfRules },
    channels: createChannels({ database, rulesStore, destinations, now }),
    alerts: createAlerts({ ...deps, alertStore }),
    /** What is watched of a version, against what, and what could be seen. */
    report: createReport({ telemetry, references, manifest: reference, rulesStore, evaluationStore, now }),
    accept: createAcceptance({ ...deps, alertStore, rulesStore, references }),
    /** For the metric `drift`. */
    driftSeries: createDriftSeries({ evaluationStore, rulesStore }),
    start: watch.start,
    close: watch.close,
    /** One look at everything, as happens each second once started. */
    tick: watch.tick,
  };
}
