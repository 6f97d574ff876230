// Takes batches of telemetry, each item once. A commit costs a sync to disk, so batches that wait share one.

import { AppError } from '@edgeloop/shared/errors';
import type { TelemetryAck, TelemetryBatch, TelemetryItem } from '@edgeloop/shared/telemetry';
import type { Database } from '../database/open.ts';
import type { Claims } from '../fleet/fleet.ts';
import { type Believed, believe, claimsOf } from './belief.ts';
import type { IngestCounters } from './counters.ts';
import { type ItemKey, itemKey } from './number-store.ts';
import type { Stored, TelemetryStore } from './telemetry-store.ts';

interface Waiting {
  deviceId: string;
  batch: TelemetryBatch;
  resolve: (ack: TelemetryAck) => void;
  reject: (error: unknown) => void;
}

interface IngestDeps {
  database: Pick<Database, 'transact'>;
  store: TelemetryStore;
  counters: IngestCounters;
  claims: Claims;
  now: () => number;
  /** Called after the commit. */
  onStored: (stored: Stored) => void;
}

/** Items of one transaction, unless a single batch has more. */
const groupItems = 500;
/** Items that may wait; a device whose batch is refused sends it again. */
const maxWaitingItems = 100_000;

export function createIngest({ database, store, counters, claims, now, onStored }: IngestDeps) {
  const waiting: Waiting[] = [];
  let waitingItems = 0;
  let draining: Promise<void> | undefined;

  return {
    /**
     * Resolves when every item of the batch is stored durably.
     * @throws AppError `unavailable` when too much is waiting
     */
    add(deviceId: string, batch: TelemetryBatch): Promise<TelemetryAck> {
      if (waitingItems + batch.items.length > maxWaitingItems) {
        throw new AppError(
          'unavailable',
          `more than ${maxWaitingItems} telemetry items are waiting; send again later`,
          {
            retryAfterSeconds: 5,
          },
        );
      }
      waitingItems += batch.items.length;
      return new Promise((resolve, reject) => {
        waiting.push({ deviceId, batch, resolve, reject });
        draining ??= drain();
      });
    },
    /** Resolves when nothing waits. */
    idle: async (): Promise<void> => {
      await draining;
    },
  };

  async function drain(): Promise<void> {
    // The batches that arrive in the same turn join the first group.
    await new Promise((resolve) => setImmediate(resolve));
    while (waiting.length > 0) {
      const group = nextGroup();
      try {
        settle(group, await commit(group));
      } catch (error) {
        await commitEach(group, error);
      }
    }
    draining = undefined;
  }

  function nextGroup(): Waiting[] {
    let items = 0;
    let length = 0;
    for (const { batch } of waiting) {
      items += batch.items.length;
      if (length > 0 && items > groupItems) break;
      length += 1;
    }
    const group = waiting.splice(0, length);
    for (const { batch } of group) waitingItems -= batch.items.length;
    return group;
  }

  /** One batch that cannot be stored must not keep the others of its group from being stored. */
  async function commitEach(group: readonly Waiting[], groupError: unknown): Promise<void> {
    if (group.length === 1) return group[0]?.reject(groupError);
    for (const one of group) {
      try {
        settle([one], await commit([one]));
      } catch (error) {
        one.reject(error);
      }
    }
  }

  function settle(group: readonly Waiting[], { stored, disregarded }: Believed): void {
    const received = group.reduce((sum, { batch }) => sum + batch.items.length, 0);
    counters.count(received, stored, disregarded);
    for (const { batch, resolve } of group) resolve({ epoch: batch.epoch, sequence: highest(batch) });
    onStored(stored);
  }

  function commit(group: readonly Waiting[]): Promise<Believed> {
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

type Numbered = ItemKey & { item: TelemetryItem };

function itemsOf(group: readonly Waiting[]): Numbered[] {
  return group.flatMap(({ deviceId, batch: { epoch, items } }) =>
    items.map(({ sequence, item }) => ({ deviceId, epoch, sequence, item })),
  );
}

/** What is new by the keys in `fresh`, by kind. */
function broughtBy(
  items: readonly Numbered[],
  { fresh, receivedAt }: { fresh: ReadonlySet<string>; receivedAt: number },
): Stored {
  const stored: Stored = { items: fresh.size, windows: [], labels: [], losses: [] };
  const left = new Set(fresh);
  for (const { item, ...key } of items) {
    // Deleting makes a repetition within the group count once as well.
    if (!left.delete(itemKey(key))) continue;
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
