// What is shown and told of an alert, and what keeps it from being told. Pure.
import { type AlertMatch, matchesAlert } from '@edgeloop/shared/api/alert-match';
import type { AlertRule } from '@edgeloop/shared/api/alert-rules';
import type { Alert } from '@edgeloop/shared/api/alerts';
import type { AlertRecord } from './alert-store.ts';

export function toView(record: AlertRecord): Alert {
  const { history: _, subject: __, calmSince: ___, handedOver: ____, notifiedAt: _____, ...alert } = record;
  return alert;
}

/** What mutes alerts now. */
export interface Muting {
  /** Silences that hold now. */
  silences: readonly { id: string; match: AlertMatch }[];
  /** Firing alerts of rules that inhibit others. */
  inhibitors: readonly { alert: Alert; inhibits: readonly AlertMatch[] }[];
}

export function mutingOf(rules: readonly AlertRule[], open: readonly Alert[], silences: Muting['silences']): Muting {
  const inhibiting = new Map(rules.map(({ id, spec }) => [id, spec.inhibits]));
  const firing = open.filter(({ status }) => status === 'firing');
  const inhibitors = firing.map((alert) => ({ alert, inhibits: inhibiting.get(alert.ruleId) ?? [] }));
  return { silences, inhibitors: inhibitors.filter(({ inhibits }) => inhibits.length > 0) };
}

export function mutedBy(alert: Alert, { silences, inhibitors }: Muting) {
  const inhibitor = inhibitors.find(
    (each) =>
      each.alert.id !== alert.id &&
      each.inhibits.some((match) => matchesAlert(match, alert)) &&
      Object.entries(each.alert.labels).every(([key, value]) => (alert.labels[key] ?? value) === value),
  );
  return {
    silencedBy: silences.filter(({ match }) => matchesAlert(match, alert)).map(({ id }) => id),
    inhibitedBy: inhibitor?.alert.id ?? null,
  };
}
