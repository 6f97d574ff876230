// Takes batches of telemetry, each item once. A commit costs a sync to disk, so batches that wait share one. What waits is
// bounded by its bytes: first the devices' connections are left unread, then batches are refused, and sent again.

import { AppError } from '@edgeloop/shared/errors';
import type { TelemetryAck } from '@edgeloop/shared/telemetry';
import type { Database } from '../database/open.ts';
import type { Claims } from '../fleet/fleet.ts';
import { type Believed, believe, claimsOf } from './belief.ts';
import type { IngestCounters } from './counters.ts';
import type { Decoder } from './decoder.ts';
import type { DecodedBatch, DecodedItem, Undecoded } from './decoding.ts';
import { type ItemKey, itemKey } from './number-store.ts';
import type { Rollup } from './rollup.ts';
import type { Stored, TelemetryStore } from './telemetry-store.ts';
import { WindowRow } from './window-row.ts';

interface Waiting {
  deviceId: string;
  /** About what it takes in memory. */
  bytes: number;
  sent: Undecoded;
  resolve: (ack: TelemetryAck) => void;
  reject: (error: unknown) => void;
}

type Opened = Waiting & { batch: DecodedBatch };

interface Group {
  batches: Opened[];
  receivedAt: number;
  /** All windows of the batches put together, where that was done already. */
  fleet: Rollup[] | undefined;
}

interface IngestDeps {
  database: Pick<Database, 'transact'>;
  store: TelemetryStore;
  decoder: Pick<Decoder, 'decode' | 'isThreaded'>;
  counters: IngestCounters;
  claims: Claims;
  now: () => number;
  /** Called after the commit. */
  onStored: (stored: Stored) => void;
  /** Told when devices should not be read for a while, and when they may be again. */
  onPressure: (high: boolean) => void;
}

/** Of one transaction, unless a single batch has more. */
const groupBatches = 500;
const groupBytes = 512 * 1024;
/** With so much waiting no device is read until only the lower is left; beyond the last one batches are refused. */
const highBytes = 16 * 1024 * 1024;
const lowBytes = 8 * 1024 * 1024;
const mostBytes = 64 * 1024 * 1024;

export function createIngest(deps: IngestDeps) {
  const { database, store, decoder, counters, claims, now, onStored, onPressure } = deps;
  let waiting: Waiting[] = [];
  /** Of all that is not settled. */
  let bytesHeld = 0;
  let pressed = false;
  let draining: Promise<void> | undefined;

  return {
    /**
     * Resolves when every item of the batch is stored durably. The batch is decoded when its turn comes.
     * @throws AppError `unavailable` when too much is waiting; `invalid_request` for what is no batch
     */
    add(deviceId: string, { bytes, sent }: Pick<Waiting, 'bytes' | 'sent'>): Promise<TelemetryAck> {
      if (bytesHeld > 0 && bytesHeld + bytes > mostBytes) {
        const reason = `more than ${mostBytes} bytes of telemetry are waiting; send again later`;
        throw new AppError('unavailable', reason, { retryAfterSeconds: 5 });
      }
      hold(bytes);
      return new Promise((resolve, reject) => {
        waiting.push({ deviceId, bytes, sent, resolve, reject });
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
    let ahead: Promise<Group> | undefined;
    while (ahead !== undefined || waiting.length > 0) {
      const group = await (ahead ?? nextGroup());
      // Beside the event loop the next one is decoded while this one is committed.
      ahead = decoder.isThreaded && waiting.length > 0 ? nextGroup() : undefined;
      const { batches } = group;
      try {
        if (batches.length > 0) settle(group, await commit(group));
      } catch (error) {
        await commitEach(group, error);
      }
      for (const { bytes } of batches) hold(-bytes);
    }
    draining = undefined;
  }

  async function nextGroup(): Promise<Group> {
    // The batches that arrive in the same turn join the group, and between two everyone else has one.
    await new Promise((resolve) => setImmediate(resolve));
    const taken: Waiting[] = [];
    let bytes = 0;
    for (const each of waiting) {
      if (taken.length > 0 && (taken.length >= groupBatches || bytes + each.bytes > groupBytes)) break;
      taken.push(each);
      bytes += each.bytes;
    }
    waiting = waiting.slice(taken.length);
    const receivedAt = now();
    const { batches: decoded, fleet } = await decoder.decode(
      taken.map(({ sent }) => sent),
      receivedAt,
    );
    const batches: Opened[] = [];
    for (const [i, each] of taken.entries()) {
      const batch = decoded[i];
      if (batch !== undefined && !(batch instanceof AppError)) batches.push({ ...each, batch });
      else {
        hold(-each.bytes);
        each.reject(batch);
      }
    }
    return { batches, receivedAt, fleet };
  }

  /** One batch that cannot be stored must not keep the others of its group from being stored. */
  async function commitEach({ batches, receivedAt }: Group, groupError: unknown): Promise<void> {
    if (batches.length === 1) return batches[0]?.reject(groupError);
    for (const one of batches) {
      const alone = { batches: [one], receivedAt, fleet: undefined };
      try {
        settle(alone, await commit(alone));
      } catch (error) {
        one.reject(error);
      }
    }
  }

  function settle({ batches, fleet }: Group, { stored, disregarded }: Believed): void {
    const received = batches.reduce((sum, { batch }) => sum + batch.items.length, 0);
    counters.count(received, stored, disregarded);
    for (const { batch, resolve } of batches) resolve({ epoch: batch.epoch, sequence: highest(batch) });
    // What was put together is of these windows only when each of them is new and counts.
    const all = batches.reduce((sum, { batch }) => sum + batch.items.filter(isWindow).length, 0);
    onStored(fleet !== undefined && all === stored.windows.length ? { ...stored, fleet } : stored);
  }

  function commit({ batches, receivedAt }: Group): Promise<Believed> {
    return database.transact(async (tx) => {
      const items = itemsOf(batches);
      const brought = broughtBy(items, { fresh: await store.claim(tx, items), receivedAt });
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

type Numbered = ItemKey & { item: DecodedItem };

function itemsOf(group: readonly Opened[]): Numbered[] {
  return group.flatMap(({ deviceId, batch: { epoch, items } }) =>
    items.map((item) => ({ deviceId, epoch, sequence: item.sequence, item })),
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
    if (item.kind === 'window') stored.windows.push(new WindowRow({ ...key, receivedAt }, item));
    else if (item.kind === 'labels') {
      stored.labels.push(...item.labels.map((label) => ({ ...label, deviceId: key.deviceId, foreignRelease: null })));
    } else {
      const { windows, requests, labels } = item;
      stored.losses.push({ ...key, receivedAt, windows, requests, labels });
    }
  }
  return stored;
}

function isWindow({ kind }: DecodedItem): boolean {
  return kind === 'window';
}

function highest(batch: DecodedBatch): number {
  return batch.items.reduce((most, { sequence }) => Math.max(most, sequence), 0);
}
