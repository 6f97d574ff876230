// Sends alerts to webhooks, one message for all alerts of a model and kind. What was told is in the alerts' rows, so a
// restart neither forgets nor repeats; a webhook that fails is tried again and keeps nothing else waiting.
import type { Alert } from '@edgeloop/shared/api/alerts';
import { messageOf } from '@edgeloop/shared/errors';
import { backoffMs } from '@edgeloop/shared/node/backoff';
import { withDeadline } from '@edgeloop/shared/node/deadline';
import { sha256 } from '@edgeloop/shared/node/digests';
import type { Logger } from 'pino';
import type { Database } from '../../database/open.ts';
import type { AlertRecord, AlertStore } from './alert-store.ts';
import type { Destinations } from './destinations.ts';
import type { RulesStore, StoredChannel } from './rules-store.ts';
import { createWebhookSecret, postWebhook } from './webhook.ts';

/** Body of the webhook's POST request. */
interface AlertMessage {
  group: { model: string; kind: Alert['kind'] };
  alerts: Alert[];
}

interface NotificationsDeps {
  database: Pick<Database, 'transact'>;
  alertStore: AlertStore;
  rulesStore: RulesStore;
  destinations: Destinations;
  now: () => number;
  log: Logger;
  /** Least time between two messages about newly firing alerts of one group. */
  groupIntervalMs?: number;
  timeoutMs?: number;
}

/** Before a message that failed is sent again. */
const retry = { firstMs: 2000, mostMs: 300_000 };

interface Delivery {
  attempts: number;
  nextAt: number;
  /** Alerts (with their status) that a channel has been told. */
  done: Set<string>;
}

export type Notifications = ReturnType<typeof createNotifications>;

export function createNotifications(deps: NotificationsDeps) {
  const { database, alertStore, rulesStore, now, log, groupIntervalMs = 300_000, timeoutMs = 10_000 } = deps;
  const deliveries = new Map<string, Delivery>();
  const sending = new Map<string, Promise<void>>();
  const stopped = new AbortController();

  return {
    /** Starts sending what is due, without waiting for it. */
    async look(): Promise<void> {
      const groups = groupsOf(await alertStore.alertsToNotify());
      for (const id of deliveries.keys()) if (!groups.has(id) && !sending.has(id)) deliveries.delete(id);
      for (const [id, alerts] of groups) {
        const due = dueOf(alerts, { now: now(), groupIntervalMs });
        if (due.length === 0 || sending.has(id) || (deliveries.get(id)?.nextAt ?? 0) > now()) continue;
        sending.set(
          id,
          send(id, due).finally(() => sending.delete(id)),
        );
      }
    },
    /** Resolves when nothing is being sent. */
    idle,
    /** Breaks off what is being sent; it is due again after the next start. */
    async close(): Promise<void> {
      stopped.abort();
      await idle();
    },
  };

  async function idle(): Promise<void> {
    await Promise.all(sending.values());
  }

  async function send(groupId: string, alerts: readonly AlertRecord[]): Promise<void> {
    const delivery = deliveries.get(groupId) ?? { attempts: 0, nextAt: 0, done: new Set<string>() };
    deliveries.set(groupId, delivery);
    const at = now();
    try {
      const channels = await channelsOf(rulesStore, alerts);
      const failed = await Promise.all(channels.map((channel) => sendTo(channel, { alerts, delivery })));
      const reasons = failed.filter((reason) => reason !== undefined);
      if (reasons.length > 0) throw new Error(reasons.join('; '));
      await database.transact((tx) =>
        alertStore.markNotified(
          tx,
          alerts.map(({ id }) => id),
          at,
        ),
      );
      deliveries.delete(groupId);
    } catch (error) {
      delivery.attempts += 1;
      delivery.nextAt = now() + backoffMs(delivery.attempts, retry);
      log.warn({ err: error, group: groupId, attempts: delivery.attempts }, 'a notification failed; it is sent again');
    }
  }

  /** Returns why it failed. */
  async function sendTo(
    channel: StoredChannel,
    { alerts, delivery }: { alerts: readonly AlertRecord[]; delivery: Delivery },
  ): Promise<string | undefined> {
    const keys = alerts.map(({ id, status }) => `${channel.id} ${id} ${status}`);
    const news = alerts.filter((_, i) => !delivery.done.has(keys[i] ?? ''));
    const [first] = news;
    if (first === undefined) return undefined;
    const content: AlertMessage = {
      group: { model: first.model, kind: first.kind },
      alerts: news.map(({ handedOver: _, notifiedAt: __, ...alert }) => alert),
    };
    const about = news.map(({ id, status }) => `${channel.id} ${id} ${status}`).join('\n');
    try {
      const secrets = await secretsOf(channel);
      const signed = { id: `msg_${sha256(about).slice(0, 32)}`, body: JSON.stringify(content), secrets, at: now() };
      const message = { url: channel.url, ...signed };
      await withDeadline(timeoutMs, stopped.signal, (signal) => postWebhook(message, deps.destinations, signal));
      for (const key of keys) delivery.done.add(key);
      return undefined;
    } catch (error) {
      return `channel "${channel.name}": ${messageOf(error)}`;
    }
  }

  /** The channel's own, and for a while the one before it. A channel from before signatures gets one now. */
  async function secretsOf({ id, secret, previousSecret, previousSecretUntil }: StoredChannel): Promise<string[]> {
    if (secret === null) {
      const made = createWebhookSecret();
      const secrets = { secret: made, previousSecret: null, previousSecretUntil: null };
      await database.transact((tx) => rulesStore.updateSecrets(tx, id, secrets));
      return [made];
    }
    return previousSecret !== null && (previousSecretUntil ?? 0) > now() ? [secret, previousSecret] : [secret];
  }
}

function groupsOf(alerts: readonly AlertRecord[]): Map<string, AlertRecord[]> {
  const groups = new Map<string, AlertRecord[]>();
  for (const alert of alerts) {
    const id = `${alert.model} ${alert.kind}`;
    groups.set(id, [...(groups.get(id) ?? []), alert]);
  }
  return groups;
}

/** What is to be told now: an end at once, a beginning not so soon after another one of the group. */
function dueOf(
  alerts: readonly AlertRecord[],
  { now, groupIntervalMs }: { now: number; groupIntervalMs: number },
): AlertRecord[] {
  const told = alerts.filter(({ status, notifiedAt }) => status === 'firing' && notifiedAt !== null);
  const lately = told.some(({ notifiedAt }) => (notifiedAt ?? 0) + groupIntervalMs > now);
  return alerts.filter(
    ({ status, notifiedAt, silencedUntil }) =>
      (silencedUntil ?? 0) <= now && (status === 'resolved' || (notifiedAt === null && !lately)),
  );
}

/** The channels of the alerts' rules, each once; rules name them by id or name. */
async function channelsOf(rulesStore: RulesStore, alerts: readonly AlertRecord[]): Promise<StoredChannel[]> {
  const ruleIds = new Set(alerts.map(({ ruleId }) => ruleId));
  const rules = (await rulesStore.rules()).filter(({ id }) => ruleIds.has(id));
  const wanted = new Set(rules.flatMap(({ spec }) => spec.channels));
  return (await rulesStore.channels()).filter(({ id, name }) => wanted.has(id) || wanted.has(name));
}
