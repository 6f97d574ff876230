// Tells channels of alerts, one message a group. What was told stands in the database, and a try is noted before it is made: a
// restart neither forgets nor repeats, and what dies in between is sent again with the same id. A channel that fails is tried
// again and keeps nothing else waiting.
import type { AlertRule } from '@edgeloop/shared/api/alert-rules';
import { messageOf } from '@edgeloop/shared/errors';
import { backoffMs } from '@edgeloop/shared/node/backoff';
import { sha256 } from '@edgeloop/shared/node/digests';
import type { Labels } from '@edgeloop/shared/selector';
import type { Logger } from 'pino';
import type { Database } from '../../database/open.ts';
import type { AlertRecord, AlertStore } from '../alerts/alert-store.ts';
import { type Muting, mutedBy, mutingOf, toView } from '../alerts/alert-view.ts';
import type { ChannelStore, Delivery, StoredChannel } from './channel-store.ts';
import {
  type DeliverySettings,
  type DeliveryState,
  type Due,
  delivered,
  dueOf,
  forgotten,
  type GroupMember,
  nothingTold,
} from './delivery-state.ts';
import { type Group, groupsIn, heartbeatKey, idOf } from './groups.ts';
import { groupOf, type Message } from './message.ts';
import { repeatMsOf, type Send } from './sender.ts';

interface NotificationsDeps {
  database: Pick<Database, 'transact'>;
  alertStore: AlertStore;
  channelStore: ChannelStore;
  rules: () => Promise<AlertRule[]>;
  silences: () => Promise<Muting['silences']>;
  deviceLabels: () => Promise<ReadonlyMap<string, Labels>>;
  send: Send;
  now: () => number;
  log: Logger;
  /** Least time between two messages about newly firing alerts of one group. */
  groupIntervalMs?: number;
}

/** Before a message that failed is sent again. */
const retry = { firstMs: 2000, mostMs: 300_000 };

export type Notifications = ReturnType<typeof createNotifications>;

export function createNotifications(deps: NotificationsDeps) {
  const { database, alertStore, channelStore, send, now, log, groupIntervalMs = 300_000 } = deps;
  const sending = new Map<string, Promise<void>>();
  const stopped = new AbortController();

  return {
    /** Starts sending what is due, without waiting for it. */
    async look(): Promise<void> {
      // What is being sent now may be noted while this looks, which then would not see it.
      const busy = new Set(sending.keys());
      const channels = await channelStore.channels();
      const deliveries = await channelStore.deliveries();
      if (channels.length === 0 && deliveries.length === 0) return;
      const open = await alertStore.openAlerts();
      const muting = mutingOf(await deps.rules(), open, await deps.silences());
      for (const group of await groupsOf({ channels, deliveries, open }))
        if (!busy.has(idOf(group))) await tellGroup(group, muting);
      for (const channel of channels) if (!busy.has(idOf({ channel, key: heartbeatKey }))) beat(channel, deliveries);
    },
    /** Resolves when nothing is being sent. */
    idle,
    /** Breaks off what is being sent; it is due again after the next start. */
    async close(): Promise<void> {
      stopped.abort();
      await idle();
    },
    /** Sends a test. @throws AppError with the reason why it did not arrive */
    test: (channel: StoredChannel): Promise<void> =>
      send(channel, outgoing(channel, { type: 'test', about: String(now()) }), stopped.signal),
  };

  async function idle(): Promise<void> {
    await Promise.all(sending.values());
  }

  async function groupsOf(known: { channels: StoredChannel[]; deliveries: Delivery[]; open: AlertRecord[] }) {
    const { channels, deliveries, open } = known;
    const firing = open.filter(({ status }) => status === 'firing');
    const rules = await deps.rules();
    const devices = firing.length === 0 ? new Map<string, Labels>() : await deps.deviceLabels();
    const groups = groupsIn({ channels, deliveries, firing, rules, devices });
    for (const group of groups) await addEnded(group);
    return groups;
  }

  /** Those that were told and fire no longer, or not in this group. */
  async function addEnded(group: Group): Promise<void> {
    const here = new Set(group.alerts.map(({ id }) => id));
    const told = await alertStore.alertsById(group.state.told.filter((id) => !here.has(id)));
    group.alerts.push(...told.filter(({ status }) => status === 'resolved'));
  }

  async function tellGroup(group: Group, muting: Muting): Promise<void> {
    const { channel, alerts } = group;
    const id = idOf(group);
    const members = alerts.map((alert) => memberOf(alert, muting));
    const settings = settingsOf(channel);
    const state = forgotten(group.state, members, settings.sendResolved);
    const due = dueOf(members, state, { ...settings, now: now() });
    if (due === undefined) return keep(group, state);
    sending.set(
      id,
      deliver(group, { state, members, due }).finally(() => sending.delete(id)),
    );
  }

  /** A group that nothing is left of is let go. */
  async function keep({ channel, key, alerts, state: before }: Group, state: DeliveryState): Promise<void> {
    const of = { channelId: channel.id, groupKey: key };
    const isOver = alerts.length === 0 && state.told.length === 0 && (state.newsAt ?? 0) + groupIntervalMs <= now();
    if (isOver) await database.transact((tx) => channelStore.deleteDelivery(tx, of));
    else if (state !== before) await database.transact((tx) => channelStore.putDelivery(tx, { ...of, state }));
  }

  async function deliver(
    { channel, key, alerts, labels }: Group,
    { state, members, due }: { state: DeliveryState; members: readonly GroupMember[]; due: Due },
  ): Promise<void> {
    const wanted = new Set(due.ids);
    const told = alerts.filter(({ id }) => wanted.has(id));
    const about = [...told.map(({ id, status }) => `${id} ${status}`), `after ${state.sentAt}`].join('\n');
    const content = { type: 'alerts', about, alerts: told, labels, reason: due.reason } as const;
    await attempt(channel, { key, state, message: content }, async (at) => {
      const arrived = delivered(state, { due, members, now: at });
      await database.transact(async (tx) => {
        await channelStore.putDelivery(tx, { channelId: channel.id, groupKey: key, state: arrived });
        await alertStore.markNotified(tx, due.ids, at);
      });
    });
  }

  function beat(channel: StoredChannel, deliveries: readonly Delivery[]): void {
    const { heartbeatSeconds } = channel.spec;
    if (heartbeatSeconds === undefined) return;
    const id = idOf({ channel, key: heartbeatKey });
    const known = deliveries.find((each) => each.channelId === channel.id && each.groupKey === heartbeatKey);
    const state = known?.state ?? nothingTold;
    if (state.nextAt > now() || (state.sentAt ?? 0) + heartbeatSeconds * 1000 > now()) return;
    const message = { type: 'heartbeat', about: `after ${state.sentAt}` } as const;
    const work = attempt(channel, { key: heartbeatKey, state, message }, (at) =>
      database.transact((tx) =>
        channelStore.putDelivery(tx, {
          ...{ channelId: channel.id, groupKey: heartbeatKey },
          state: { ...nothingTold, sentAt: at },
        }),
      ),
    );
    sending.set(
      id,
      work.finally(() => sending.delete(id)),
    );
  }

  async function attempt(
    channel: StoredChannel,
    { key, state, message }: { key: string; state: DeliveryState; message: Content },
    arrived: (at: number) => Promise<void>,
  ): Promise<void> {
    const attempts = state.attempts + 1;
    const at = now();
    const note = (error: string | null) =>
      database.transact((tx) =>
        channelStore.putDelivery(tx, {
          ...{ channelId: channel.id, groupKey: key },
          state: { ...state, attempts, nextAt: at + backoffMs(attempts, retry), error },
        }),
      );
    try {
      await note(state.error);
      await send(channel, outgoing(channel, message), stopped.signal);
      await arrived(at);
    } catch (error) {
      if (stopped.signal.aborted) return;
      const { name } = channel.spec;
      log.warn({ err: error, channel: name, group: key, attempts }, 'a notification failed; it is sent again');
      await note(messageOf(error)).catch((err: unknown) => log.error({ err }, 'a failed notification was not noted'));
    }
  }

  interface Content {
    type: Message['type'];
    /** Tells this message from every other one to the channel. */
    about: string;
    alerts?: readonly AlertRecord[];
    labels?: Record<string, string>;
    reason?: Due['reason'];
  }

  function outgoing(channel: StoredChannel, { type, about, alerts = [], labels = {}, reason }: Content) {
    const views = alerts.map(toView);
    const message: Message = {
      ...{ version: 1, type, channel: channel.spec.name, sentAt: now(), reason: reason ?? null },
      ...{ group: groupOf(views, labels), alerts: views },
    };
    return { id: `msg_${sha256(`${channel.id}\n${type}\n${about}`).slice(0, 32)}`, message };
  }

  function memberOf(alert: AlertRecord, muting: Muting): GroupMember {
    const { silencedBy, inhibitedBy } = mutedBy(alert, muting);
    const muted = (alert.silencedUntil ?? 0) > now() || silencedBy.length > 0 || inhibitedBy !== null;
    const status = alert.status === 'resolved' ? 'resolved' : 'firing';
    return { id: alert.id, status, muted, acknowledged: alert.acknowledgedBy !== null };
  }

  function settingsOf(channel: StoredChannel): DeliverySettings {
    const isAlertmanager = channel.spec.kind === 'alertmanager';
    return {
      // It groups, repeats and forgets by itself.
      groupIntervalMs: isAlertmanager ? 0 : groupIntervalMs,
      repeatMs: repeatMsOf(channel),
      sendResolved: channel.spec.sendResolved ?? true,
      repeatAcknowledged: isAlertmanager,
    };
  }
}
