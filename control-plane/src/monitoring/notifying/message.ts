// What is sent, and how it reads for people. Pure.
import type { Alert } from '@edgeloop/shared/api/alerts';
import type { Reason } from './delivery-state.ts';

/** Body of a webhook's POST request. `version` grows when something is renamed or removed. */
export interface Message {
  version: 1;
  type: 'alerts' | 'heartbeat' | 'test';
  channel: string;
  sentAt: number;
  /** `news`: something began or ended. `repeat`: it was told before, and goes on. */
  reason: Reason | null;
  /** What its alerts have in common; null where they differ. */
  group: { model: string | null; kind: Alert['kind'] | null; labels: Record<string, string> };
  alerts: Alert[];
}

/** A message to one channel; `id` is the same however often it is sent. */
export interface Outgoing {
  id: string;
  message: Message;
}

export function groupOf(alerts: readonly Alert[], labels: Record<string, string>): Message['group'] {
  return {
    model: common(alerts.map(({ model }) => model)),
    kind: common(alerts.map(({ kind }) => kind)),
    labels,
  };
}

function common<T>(values: readonly T[]): T | null {
  const [first] = values;
  return first !== undefined && values.every((value) => value === first) ? first : null;
}

export function subjectOf({ type, alerts, group }: Message): string {
  if (type !== 'alerts') return type === 'test' ? 'Edgeloop: a test message' : 'Edgeloop: monitoring works';
  const firing = alerts.filter(({ status }) => status === 'firing');
  const [first] = firing.length > 0 ? firing : alerts;
  const state = firing.length > 0 ? `${firing.length} firing` : `${alerts.length} resolved`;
  const where = Object.entries(group.labels).map(([key, value]) => `${key} ${value}`);
  return oneLine(`[${state}] ${[...where, first?.summary ?? ''].join(': ')}`).slice(0, 180);
}

export function textOf(message: Message): string {
  if (message.type === 'test') return 'This is a test: alerts reach you here.\n';
  if (message.type === 'heartbeat') return 'Monitoring works. When these messages stop, it does not.\n';
  return `${message.alerts.map(paragraph).join('\n\n')}\n`;
}

function paragraph(alert: Alert): string {
  const what =
    alert.model === null ? alert.ruleId : `${alert.model}${alert.version === null ? '' : ` ${alert.version}`}`;
  const lines = [
    `${alert.status.toUpperCase()} (${alert.severity}): ${what}`,
    alert.summary,
    ...(alert.resolution === null ? [] : [`ended: ${alert.resolution.summary}`]),
    ...(alert.evidence.state === 'fresh' ? [] : [alert.evidence.detail]),
    ...(alert.scope.detail === '' ? [] : [`${alert.scope.kind}: ${alert.scope.detail}`]),
    `since ${new Date(alert.startedAt).toISOString()}; edgeloop alerts show ${alert.id}`,
  ];
  return lines.join('\n');
}

function oneLine(text: string): string {
  return text.replace(/\s+/g, ' ');
}
