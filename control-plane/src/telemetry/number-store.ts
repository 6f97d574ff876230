// SQL of the numbers of items: each of a device and epoch is taken once.
import { and, eq, inArray, sql } from 'drizzle-orm';
import type { Transaction } from '../database/open.ts';
import type { Schema } from '../database/schema.ts';
import { takeNumbers } from './numbers.ts';

export interface ItemKey {
  deviceId: string;
  epoch: number;
  sequence: number;
}

/** Rows of one statement: the widest table has 18 columns, and SQLite takes 32,766 parameters. */
const chunkRows = 500;

export function createNumberStore({
  telemetryFloors,
  telemetryItems,
}: Pick<Schema, 'telemetryFloors' | 'telemetryItems'>) {
  return { claim };

  /** Takes the numbers of items; returns the keys of those that nobody had taken before. */
  async function claim(tx: Transaction, items: readonly ItemKey[]): Promise<Set<string>> {
    const outboxes = byOutbox(items);
    const devices = [...new Set(items.map(({ deviceId }) => deviceId))];
    const floors = await floorsOf(tx, devices);
    const above = await numbersAbove(tx, devices);
    const fresh = new Set<string>();
    const raised: ItemKey[] = [];
    for (const [outbox, own] of outboxes) {
      const [first] = own;
      if (first === undefined) continue;
      const { deviceId, epoch } = first;
      const before = { floor: floors.get(outbox) ?? 0, above: above.get(outbox) ?? new Set<number>() };
      const taking = takeNumbers(
        before,
        own.map(({ sequence }) => sequence),
      );
      for (const sequence of taking.fresh) fresh.add(itemKey({ deviceId, epoch, sequence }));
      if (taking.floor !== before.floor) raised.push({ deviceId, epoch, sequence: taking.floor });
      await keepAbove(tx, { deviceId, epoch }, { before: before.above, after: taking.above });
    }
    await raise(tx, raised);
    return fresh;
  }

  async function floorsOf(tx: Transaction, devices: readonly string[]): Promise<Map<string, number>> {
    const rows = await tx
      .select()
      .from(telemetryFloors)
      .where(inArray(telemetryFloors.deviceId, [...devices]));
    return new Map(rows.map(({ deviceId, epoch, sequence }) => [outboxOf({ deviceId, epoch }), sequence]));
  }

  async function numbersAbove(tx: Transaction, devices: readonly string[]): Promise<Map<string, Set<number>>> {
    const rows = await tx
      .select()
      .from(telemetryItems)
      .where(inArray(telemetryItems.deviceId, [...devices]));
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

  async function raise(tx: Transaction, rows: readonly ItemKey[]): Promise<void> {
    for (const chunk of chunksOf(rows))
      await tx
        .insert(telemetryFloors)
        .values(chunk)
        .onConflictDoUpdate({
          target: [telemetryFloors.deviceId, telemetryFloors.epoch],
          set: { sequence: sql`excluded.sequence` },
        });
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
