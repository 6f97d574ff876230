// SQL of the numbers of items: each of a device and epoch is taken once.
import { and, eq, inArray } from 'drizzle-orm';
import { afterCommit, type Transaction } from '../database/open.ts';
import { createRowsInsert } from '../database/rows-insert.ts';
import type { Schema } from '../database/schema.ts';
import { type Taken, takeNumbers } from './numbers.ts';

export interface ItemKey {
  deviceId: string;
  epoch: number;
  sequence: number;
}

/** Rows of one statement: the widest table has 18 columns, and SQLite takes 32,766 parameters. */
const chunkRows = 500;
/** Outboxes of which it is remembered what was taken; of others it is read. */
const mostKnown = 50_000;
const none: ReadonlySet<number> = new Set();

export function createNumberStore({
  telemetryFloors,
  telemetryItems,
}: Pick<Schema, 'telemetryFloors' | 'telemetryItems'>) {
  /** What is committed, of the outboxes that were asked for last. Nobody else writes these tables. */
  const known = new Map<string, Taken>();
  const insertFloors = createRowsInsert(
    telemetryFloors,
    'on conflict (device_id, epoch) do update set sequence = excluded.sequence',
  );
  return { claim };

  /** Takes the numbers of items; returns the keys of those that nobody had taken before. */
  async function claim(tx: Transaction, items: readonly ItemKey[]): Promise<Set<string>> {
    const outboxes = byOutbox(items);
    const before = await takenOf(tx, outboxes);
    const fresh = new Set<string>();
    const raised: ItemKey[] = [];
    for (const [outbox, own] of outboxes) {
      const [first] = own;
      if (first === undefined) continue;
      const { deviceId, epoch } = first;
      const taken = before.get(outbox) ?? { floor: 0, above: none };
      const taking = takeNumbers(
        taken,
        own.map(({ sequence }) => sequence),
      );
      if (taking.fresh.length === 0) continue;
      for (const sequence of taking.fresh) fresh.add(itemKey({ deviceId, epoch, sequence }));
      if (taking.floor !== taken.floor) raised.push({ deviceId, epoch, sequence: taking.floor });
      await keepAbove(tx, { deviceId, epoch }, { before: taken.above, after: taking.above });
      // Until it is known to be committed it is not known at all.
      known.delete(outbox);
      afterCommit(tx, () => know(outbox, taking));
    }
    await insertFloors(tx, raised);
    return fresh;
  }

  async function takenOf(
    tx: Transaction,
    outboxes: ReadonlyMap<string, readonly ItemKey[]>,
  ): Promise<ReadonlyMap<string, Taken>> {
    const taken = new Map<string, Taken>();
    const unknown: ItemKey[] = [];
    for (const [outbox, [first]] of outboxes) {
      const each = known.get(outbox);
      if (each !== undefined) taken.set(outbox, each);
      else if (first !== undefined) unknown.push(first);
    }
    if (unknown.length === 0) return taken;
    const devices = [...new Set(unknown.map(({ deviceId }) => deviceId))];
    // A device has one epoch for each start of its agent; only those that speak are looked at.
    const epochs = [...new Set(unknown.map(({ epoch }) => epoch))];
    const floors = await floorsOf(tx, devices, epochs);
    const above = await numbersAbove(tx, devices, epochs);
    for (const outbox of outboxes.keys())
      if (!taken.has(outbox)) taken.set(outbox, { floor: floors.get(outbox) ?? 0, above: above.get(outbox) ?? none });
    return taken;
  }

  function know(outbox: string, { floor, above }: Taken): void {
    known.set(outbox, { floor, above: above.size === 0 ? none : above });
    const [oldest] = known.keys();
    if (known.size > mostKnown && oldest !== undefined) known.delete(oldest);
  }

  async function floorsOf(
    tx: Transaction,
    devices: readonly string[],
    epochs: readonly number[],
  ): Promise<Map<string, number>> {
    const rows = await tx
      .select()
      .from(telemetryFloors)
      .where(and(inArray(telemetryFloors.deviceId, [...devices]), inArray(telemetryFloors.epoch, [...epochs])));
    return new Map(rows.map(({ deviceId, epoch, sequence }) => [outboxOf({ deviceId, epoch }), sequence]));
  }

  async function numbersAbove(
    tx: Transaction,
    devices: readonly string[],
    epochs: readonly number[],
  ): Promise<Map<string, Set<number>>> {
    const rows = await tx
      .select()
      .from(telemetryItems)
      .where(and(inArray(telemetryItems.deviceId, [...devices]), inArray(telemetryItems.epoch, [...epochs])));
    return new Map([...byOutbox(rows)].map(([outbox, own]) => [outbox, new Set(own.map(({ sequence }) => sequence))]));
  }

  async function keepAbove(
    tx: Transaction,
    { deviceId, epoch }: Omit<ItemKey, 'sequence'>,
    { before, after }: { before: ReadonlySet<number>; after: ReadonlySet<number> },
  ): Promise<void> {
    const added = [...after].filter((sequence) => !before.has(sequence));
    const gone = [...before].filter((sequence) => !after.has(sequence));
    for (const chunk of chunksOf(added))
      await tx.insert(telemetryItems).values(chunk.map((sequence) => ({ deviceId, epoch, sequence })));
    const of = and(eq(telemetryItems.deviceId, deviceId), eq(telemetryItems.epoch, epoch));
    for (const chunk of chunksOf(gone))
      await tx.delete(telemetryItems).where(and(of, inArray(telemetryItems.sequence, chunk)));
  }
}

export function itemKey({ deviceId, epoch, sequence }: ItemKey): string {
  return `${deviceId} ${epoch} ${sequence}`;
}

function outboxOf({ deviceId, epoch }: Omit<ItemKey, 'sequence'>): string {
  return `${epoch} ${deviceId}`;
}

function byOutbox(items: readonly ItemKey[]): Map<string, ItemKey[]> {
  const outboxes = new Map<string, ItemKey[]>();
  for (const item of items) {
    const own = outboxes.get(outboxOf(item));
    if (own === undefined) outboxes.set(outboxOf(item), [item]);
    else own.push(item);
  }
  return outboxes;
}

export function* chunksOf<T>(items: readonly T[]): Generator<T[]> {
  for (let at = 0; at < items.length; at += chunkRows) yield items.slice(at, at + chunkRows);
}
