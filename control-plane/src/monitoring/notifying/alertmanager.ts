// Pushes alerts to an Alertmanager, by `POST /api/v2/alerts` as its OpenAPI document has it. It is told again and again of what
// fires, and forgets what it is not told of.
import type { Alert } from '@edgeloop/shared/api/alerts';
import type { Destinations } from './destinations.ts';
import type { Message } from './message.ts';
import { postJson } from './webhook.ts';

/** Until when an Alertmanager believes it, from when it is told: some repeats. */
const believedMs = 300_000;

interface PostableAlert {
  labels: Record<string, string>;
  annotations: Record<string, string>;
  startsAt: string;
  endsAt: string;
}

export function pushAlerts(
  { url, message, repeatMs }: { url: string; message: Message; repeatMs: number },
  destinations: Destinations,
  signal: AbortSignal,
): Promise<void> {
  const target = new URL(url);
  target.pathname = `${target.pathname.replace(/\/+$/, '')}/api/v2/alerts`;
  const body = JSON.stringify(postableAlerts(message, repeatMs));
  return postJson({ url: target.href, body, headers: {} }, destinations, signal);
}

function postableAlerts(message: Message, repeatMs: number): PostableAlert[] {
  const until = instant(message.sentAt + Math.max(believedMs, 3 * repeatMs));
  if (message.type !== 'alerts') {
    const alertname = message.type === 'heartbeat' ? 'EdgeloopHeartbeat' : 'EdgeloopTest';
    const annotations = { summary: message.type === 'heartbeat' ? 'monitoring works' : 'a test message' };
    const startsAt = instant(message.sentAt);
    return [
      { labels: { alertname, severity: 'none', channel: message.channel }, annotations, startsAt, endsAt: until },
    ];
  }
  return message.alerts.map((alert) => ({
    labels: labelsOf(alert),
    annotations: annotationsOf(alert),
    startsAt: instant(alert.firedAt ?? alert.startedAt),
    endsAt: alert.resolvedAt === null ? until : instant(alert.resolvedAt),
  }));
}

/** They identify the alert, so they hold nothing that changes. Names of labels have letters, digits and `_` only. */
function labelsOf(alert: Alert): Record<string, string> {
  const own = {
    alertname: alert.ruleId,
    kind: alert.kind,
    severity: alert.severity,
    ...(alert.model === null ? {} : { model: alert.model }),
    ...(alert.version === null ? {} : { version: String(alert.version) }),
  };
  const others = Object.entries(alert.labels).flatMap(([key, value]) => {
    const name = key.replace(/[^A-Za-z0-9_]/g, '_').replace(/^(?=\d)/, '_');
    return name in own || value === '' ? [] : [[name, value] as const];
  });
  return { ...Object.fromEntries(others), ...own };
}

function annotationsOf({ id, summary, scope, evidence, resolution }: Alert): Record<string, string> {
  const all = {
    ...{ summary, alert_id: id, scope: scope.detail, devices: scope.devices.join(', ') },
    ...{ evidence: evidence.detail, resolution: resolution?.summary ?? '' },
  };
  return Object.fromEntries(Object.entries(all).filter(([, text]) => text !== ''));
}

function instant(at: number): string {
  return new Date(at).toISOString();
}
