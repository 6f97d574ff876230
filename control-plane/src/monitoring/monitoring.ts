// Composition of the room: rules, what judges and measures by them, alerts and where they go. `judging` uses `references`,
// `measuring` and both of them `alerts` and `statistics`, `notifying` uses `alerts`, and nothing the other way round.
import type { Alert } from '@edgeloop/shared/api/alerts';
import type { ChangeEvent } from '@edgeloop/shared/api/events';
import type { ReferenceProfile } from '@edgeloop/shared/profile';
import type { Labels } from '@edgeloop/shared/selector';
import type { Logger } from 'pino';
import type { Database } from '../database/open.ts';
import type { Telemetry } from '../telemetry/telemetry.ts';
import { createAlertRules } from './alerts/alert-rules.ts';
import { type AlertRecord, createAlertStore } from './alerts/alert-store.ts';
import { mutingOf } from './alerts/alert-view.ts';
import { createAlerts } from './alerts/alerts.ts';
import type { Links } from './alerts/chain.ts';
import type { ReadFleetFigures } from './alerts/fleet-figures.ts';
import { createHandOver } from './alerts/hand-over.ts';
import { createRulesStore } from './alerts/rules-store.ts';
import { createSilences } from './alerts/silences.ts';
import { createDriftSeries } from './judging/drift-series.ts';
import { createEvaluationStore } from './judging/evaluation-store.ts';
import { createJudge } from './judging/judge.ts';
import { createReferenceCache } from './judging/reference-cache.ts';
import { createReport } from './judging/report.ts';
import { createWatch } from './judging/watch.ts';
import { createMeasure } from './measuring/measure.ts';
import { createChannelStore } from './notifying/channel-store.ts';
import { createChannels } from './notifying/channels.ts';
import { createDestinations } from './notifying/destinations.ts';
import { createNotifications } from './notifying/notifications.ts';
import { createSender } from './notifying/sender.ts';
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
  fleetFigures: ReadFleetFigures;
  /** What others know of runs and rollouts. */
  links: Links;
  /** Called once for each firing alert, and again only when it failed or the process died before that was noted. */
  onFiring: (alert: Alert) => Promise<{ runs: string[] }>;
  /** Hosts and ranges that webhooks may reach though they are not public. */
  webhookAllow?: readonly string[];
  now: () => number;
  notify: (event: Omit<ChangeEvent, 'at'>) => void;
  log: Logger;
}

export type Monitoring = ReturnType<typeof createMonitoring>;

export function createMonitoring(deps: MonitoringDeps) {
  const { database, telemetry, now, notify, log } = deps;
  const alertStore = createAlertStore(database);
  const rulesStore = createRulesStore(database);
  const channelStore = createChannelStore(database);
  const evaluationStore = createEvaluationStore(database);
  const destinations = createDestinations(deps.webhookAllow ?? []);
  const reference = createReferenceCache(deps.reference);
  const store = createReferenceStore(database);
  const references = createReferences({ database, store, telemetry, manifest: reference, now });
  const silences = createSilences({ database, now });
  const tell = (alert: AlertRecord) => {
    const { id, ruleId, model, version, status, evidence, resolution } = alert;
    const summary = resolution?.summary ?? alert.summary;
    log.info({ alert: id, rule: ruleId, model, version, status, evidence: evidence.state }, summary);
    notify({ type: 'alert', id, state: status });
  };
  const measure = createMeasure({ ...deps, alertStore, tell });
  const rules = createAlertRules({
    ...{ database, alertStore, rulesStore, reference, now },
    channels: async (tx) => (await channelStore.channels(tx)).map(({ id, spec }) => ({ id, name: spec.name })),
    check: measure.check,
    forgetJudged: evaluationStore.deleteEvaluations,
  });
  const notifications = createNotifications({
    ...deps,
    ...{ alertStore, channelStore, rules: rules.all, silences: silences.active },
    send: createSender({ database, channelStore, destinations, now }),
  });
  const watch = createWatch({
    ...deps,
    ...{ alertStore, evaluationStore, alertRules: rules, measure, notifications, tell },
    references,
    judge: createJudge({ telemetry, references, deviceLabels: deps.deviceLabels }),
    handOver: createHandOver({ ...deps, alertStore }),
  });
  return {
    rules: { ...rules, page: rulesStore.pageOfRules, evaluationOf: measure.evaluationOf },
    channels: createChannels({ database, channelStore, rulesStore, destinations, notifications, now }),
    silences,
    alerts: createAlerts({
      ...{ database, alertStore, links: deps.links, now, notify },
      muting: async () => mutingOf(await rules.all(), await alertStore.openAlerts(), await silences.active()),
    }),
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
