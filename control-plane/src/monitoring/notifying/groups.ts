// Which alerts one message tells of: those that a channel wants, by what they have in common.
import { matchesAlert } from '@edgeloop/shared/api/alert-match';
import type { AlertRule } from '@edgeloop/shared/api/alert-rules';
import { AppError } from '@edgeloop/shared/errors';
import type { Labels } from '@edgeloop/shared/selector';
import type { AlertRecord } from '../alerts/alert-store.ts';
import type { Delivery, StoredChannel } from './channel-store.ts';
import { type DeliveryState, nothingTold } from './delivery-state.ts';

/** Stands among the groups of a channel for its signs of life. */
export const heartbeatKey = 'heartbeat';
const usualGroups = ['model', 'site'];

export interface Group {
  channel: StoredChannel;
  key: string;
  labels: Record<string, string>;
  alerts: AlertRecord[];
  state: DeliveryState;
}

interface Known {
  channels: readonly StoredChannel[];
  deliveries: readonly Delivery[];
  firing: readonly AlertRecord[];
  rules: readonly AlertRule[];
  devices: ReadonlyMap<string, Labels>;
}

/** Those with alerts that fire, and those that were told of before. */
export function groupsIn({ channels, deliveries, firing, rules, devices }: Known): Group[] {
  const named = new Map(rules.map(({ id, spec }) => [id, spec.channels]));
  const groups = new Map<string, Group>();
  const groupAt = (channel: StoredChannel, key: string, labels: Record<string, string>) => {
    const id = idOf({ channel, key });
    const state = deliveries.find((each) => each.channelId === channel.id && each.groupKey === key)?.state;
    const group = groups.get(id) ?? { channel, key, labels, alerts: [], state: state ?? nothingTold };
    groups.set(id, group);
    return group;
  };
  for (const channel of channels) {
    for (const alert of firing) {
      if (!isFor(channel, alert, named.get(alert.ruleId) ?? [])) continue;
      const labels = groupLabels(channel, alert, devices);
      groupAt(channel, JSON.stringify(labels), labels).alerts.push(alert);
    }
    for (const { channelId, groupKey } of deliveries)
      if (channelId === channel.id && groupKey !== heartbeatKey) groupAt(channel, groupKey, labelsOf(groupKey));
  }
  return [...groups.values()];
}

/** Tells a group from every other one. */
export function idOf({ channel, key }: Pick<Group, 'channel' | 'key'>): string {
  return `${channel.id} ${key}`;
}

/** Its rule names the channel, by id or name, or the channel wants it. */
function isFor({ id, spec }: StoredChannel, alert: AlertRecord, named: readonly string[]): boolean {
  if (named.includes(id) || named.includes(spec.name)) return true;
  return spec.match !== undefined && matchesAlert(spec.match, alert);
}

/** Of a label that the alert has not, what all devices of its scope have. */
function groupLabels(
  { spec }: StoredChannel,
  alert: AlertRecord,
  devices: ReadonlyMap<string, Labels>,
): Record<string, string> {
  const pairs = (spec.groupBy ?? usualGroups).flatMap((key) => {
    const value = groupValue(key, alert, devices);
    return value === undefined ? [] : [[key, value] as const];
  });
  return Object.fromEntries(pairs);
}

function groupValue(key: string, alert: AlertRecord, devices: ReadonlyMap<string, Labels>): string | undefined {
  const own: Record<string, string | undefined> = {
    ...alert.labels,
    ...{ model: alert.model ?? undefined, version: alert.version?.toString(), severity: alert.severity },
    ...{ kind: alert.kind, rule: alert.ruleId },
  };
  if (own[key] !== undefined) return own[key];
  const [first, ...others] = alert.scope.devices.map((id) => devices.get(id)?.[key]);
  return others.every((each) => each === first) ? first : undefined;
}

function labelsOf(groupKey: string): Record<string, string> {
  const parsed: unknown = JSON.parse(groupKey);
  if (typeof parsed !== 'object' || parsed === null) throw new AppError('internal', `"${groupKey}" is no group`);
  return Object.fromEntries(Object.entries(parsed).map(([key, value]) => [key, String(value)]));
}
