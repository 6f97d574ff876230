// Takes batches of telemetry, each item once. A commit costs a sync to disk, so batches that wait share one. What waits is
// bounded by its bytes: first the devices' connections are left unread, then batches are refused, and sent again.

import { AppError } from '@edgeloop/shared/errors';
import { createBreath } from '@edgeloop/shared/node/breath';
import type { TelemetryAck, TelemetryBatch, TelemetryItem } from '@edgeloop/shared/telemetry';
import type { Database } from '../database/open.ts';
import type { Claims } from '../fleet/fleet.ts';
import { type Believed, believe, claimsOf } from './belief.ts';
import type { IngestCounters } from './counters.ts';
import { type ItemKey, itemKey } from './number-store.ts';
import { placed } from './placing.ts';
import type { Stored, TelemetryStore } from './telemetry-store.ts';

interface Waiting {
  deviceId: string;
  /** About what it takes in memory. */
  bytes: number;
  /** @throws AppError `invalid_request` */
  open: () => TelemetryBatch;
  resolve: (ack: TelemetryAck) => void;
  reject: (error: unknown) => void;
}

type Opened = Waiting & { batch: TelemetryBatch };

interface IngestDeps {
  database: Pick<Database, 'transact'>;
  store: TelemetryStore;
  counters: IngestCounters;
  claims: Claims;
  now: () => number;
  /** Called after the commit. */
  onStored: (stored: Stored) => void;
  /** Told when devices should not be read for a while, and when they may be again. */
  onPressure: (high: boolean) => void;
}

/** Items of one transaction, unless a single batch has more. */
const groupItems = 500;
const groupBytes = 8 * 1024 * 1024;
/** With so much waiting no device is read until only the lower is left; beyond the last one batches are refused. */
const highBytes = 16 * 1024 * 1024;
const lowBytes = 8 * 1024 * 1024;
const mostBytes = 64 * 1024 * 1024;

export function createIngest({ database, store, counters, claims, now, onStored, onPressure }: IngestDeps) {
  let waiting: Waiting[] = [];
  /** Of all that is not settled. */
  let bytesHeld = 0;
  let pressed = false;
  let draining: Promise<void> | undefined;

  return {
    /**
     * Resolves when every item of the batch is stored durably. The batch is opened when its turn comes.
     * @throws AppError `unavailable` when too much is waiting; what `open` throws
     */
    add(deviceId: string, { bytes, open }: Pick<Waiting, 'bytes' | 'open'>): Promise<TelemetryAck> {
      if (bytesHeld > 0 && bytesHeld + bytes > mostBytes) {
        const reason = `more than ${mostBytes} bytes of telemetry are waiting; send again later`;
        throw new AppError('unavailable', reason, { retryAfterSeconds: 5 });
      }
      hold(bytes);
      return new Promise((resolve, reject) => {
        waiting.push({ deviceId, bytes, open, resolve, reject });
        draining ??= drain();
      });
    },
    /** Resolves when nothing waits. */
    idle: async (): Promise<void> => {
      await draining;
    },
    bytesHeld: (): number => bytesHeld,
  };

  function hold(bytes: number): void {
    bytesHeld += bytes;
    if (pressed ? bytesHeld > lowBytes : bytesHeld <= highBytes) return;
    pressed = !pressed;
    onPressure(pressed);
  }

  async function drain(): Promise<void> {
    while (waiting.length > 0) {
      // The batches that arrive in the same turn join the group, and between two everyone else has one.
      await new Promise((resolve) => setImmediate(resolve));
      const group = await nextGroup();
      try {
        if (group.length > 0) settle(group, await commit(group));
      } catch (error) {
        await commitEach(group, error);
      }
      for (const { bytes } of group) hold(-bytes);
    }
    draining = undefined;
  }

  async function nextGroup(): Promise<Opened[]> {
    const breathe = createBreath();
    const group: Opened[] = [];
    let items = 0;
    let bytes = 0;
    let seen = 0;
    for (const each of waiting) {
      if (group.length > 0 && (items >= groupItems || bytes + each.bytes > groupBytes)) break;
      seen += 1;
      const opened = tryOpen(each);
      if (opened === undefined) continue;
      group.push(opened);
      items += opened.batch.items.length;
      bytes += opened.bytes;
      await breathe();
    }
    waiting = waiting.slice(seen);
    return group;
  }

  function tryOpen(each: Waiting): Opened | undefined {
    try {
      return { ...each, batch: each.open() };
    } catch (error) {
      hold(-each.bytes);
      each.reject(error);
      return undefined;
    }
  }

  /** One batch that cannot be stored must not keep the others of its group from being stored. */
  async function commitEach(group: readonly Opened[], groupError: unknown): Promise<void> {
    if (group.length === 1) return group[0]?.reject(groupError);
    for (const one of group) {
      try {
        settle([one], await commit([one]));
      } catch (error) {
        one.reject(error);
      }
    }
  }

  function settle(group: readonly Opened[], { stored, disregarded }: Believed): void {
    const received = group.reduce((sum, { batch }) => sum + batch.items.length, 0);
    counters.count(received, stored, disregarded);
    for (const { batch, resolve } of group) resolve({ epoch: batch.epoch, sequence: highest(batch) });
    onStored(stored);
  }

  function commit(group: readonly Opened[]): Promise<Believed> {
    return database.transact(async (tx) => {
      const items = itemsOf(group);
      const brought = broughtBy(items, { fresh: await store.claim(tx, items), receivedAt: now() });
      const believed = believe(brought, await claims.judge(tx, claimsOf(brought)));
      const { stored, foreign, disregarded } = believed;
      await store.addWindows(tx, [...stored.windows, ...foreign.windows]);
      await store.upsertLabels(tx, [...stored.labels, ...foreign.labels]);
      await store.addLosses(tx, stored.losses);
      await claims.disregard(tx, disregarded);
      return believed;
    });
  }
}

type Numbered = ItemKey & { item: TelemetryItem; clockOffsetMs?: number | undefined };

function itemsOf(group: readonly Opened[]): Numbered[] {
  return group.flatMap(({ deviceId, batch: { epoch, items } }) =>
    items.map(({ sequence, item, clockOffsetMs }) => ({ deviceId, epoch, sequence, item, clockOffsetMs })),
  );
}

/** What is new by the keys in `fresh`, by kind. */
function broughtBy(
  items: readonly Numbered[],
  { fresh, receivedAt }: { fresh: ReadonlySet<string>; receivedAt: number },
): Stored {
  const stored: Stored = { items: fresh.size, windows: [], labels: [], losses: [] };
  const left = new Set(fresh);
  for (const { item: sent, clockOffsetMs, ...key } of items) {
    // Deleting makes a repetition within the group count once as well.
    if (!left.delete(itemKey(key))) continue;
    const item = placed({ item: sent, clockOffsetMs }, receivedAt);
    if (item.kind === 'window')
      stored.windows.push({ ...key, receivedAt, arrival: 0, foreignRelease: null, window: item });
    else if (item.kind === 'labels') {
      stored.labels.push(...item.labels.map((label) => ({ ...label, deviceId: key.deviceId, foreignRelease: null })));
    } else {
      const { windows, requests, labels } = item;
      stored.losses.push({ ...key, receivedAt, windows, requests, labels });
    }
  }
  return stored;
}

function highest(batch: TelemetryBatch): number {
  return batch.items.reduce((most, { sequence }) => Math.max(most, sequence), 0);
}
