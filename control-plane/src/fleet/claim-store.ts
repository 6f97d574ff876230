// SQL of what devices were told to run, of what they say they run and should not, and of what they sent in vain.
import { parse } from '@edgeloop/shared/errors';
import { and, asc, eq, inArray, isNull, sql } from 'drizzle-orm';
import { z } from 'zod';
import { inChunks, readChunks } from '../database/chunks.ts';
import type { Reader, Transaction } from '../database/open.ts';
import type { Schema } from '../database/schema.ts';
import { claimKey, type Disregarded, type NamedVersion } from './claims.ts';
import type { NamedRelease } from './unknown-releases.ts';

export type ClaimStore = ReturnType<typeof createClaimStore>;
export type UnknownRow = Schema['unknownReleases']['$inferSelect'];
export type DisregardedRow = Disregarded & { lastAt: number };

const What = z.enum(['requests', 'labels', 'samples']);

/** Kept of one device; what goes beyond is counted together. */
const maxRows = 50;

export function createClaimStore({ assignedModels, unknownReleases, disregarded, devices }: Schema) {
  function unknownOf(reader: Reader, deviceIds: readonly string[]): Promise<UnknownRow[]> {
    const { deviceId, model, version, release } = unknownReleases;
    return readChunks(deviceIds, async (part) =>
      reader
        .select()
        .from(unknownReleases)
        .where(inArray(deviceId, part))
        .orderBy(asc(deviceId), asc(model), asc(version), asc(release)),
    );
  }

  async function writeSums(tx: Transaction, sums: readonly Disregarded[], at: number): Promise<void> {
    const { deviceId, what, reason, model, version, release } = disregarded;
    await tx
      .insert(disregarded)
      .values(sums.map((sum) => ({ ...sum, lastAt: at })))
      .onConflictDoUpdate({
        target: [deviceId, what, reason, model, version, release],
        set: { count: sql`${disregarded.count} + excluded.count`, lastAt: at },
      });
  }

  return {
    /** Remembers for good that devices were told to run a version. */
    async remember(tx: Transaction, deviceIds: readonly string[], named: NamedVersion): Promise<void> {
      await inChunks(deviceIds, (part) =>
        tx
          .insert(assignedModels)
          .values(part.map((deviceId) => ({ deviceId, ...named })))
          .onConflictDoNothing(),
      );
    },

    /** Those that were ever told, by `claimKey`. */
    async assignedAmong(
      reader: Reader,
      claims: readonly (NamedVersion & { deviceId: string })[],
    ): Promise<Set<string>> {
      const assigned = new Set<string>();
      await inChunks(claims, async (part) => {
        const among = and(
          inArray(assignedModels.deviceId, [...new Set(part.map(({ deviceId }) => deviceId))]),
          inArray(assignedModels.model, [...new Set(part.map(({ model }) => model))]),
          inArray(assignedModels.version, [...new Set(part.map(({ version }) => version))]),
        );
        for (const row of await reader.select().from(assignedModels).where(among)) assigned.add(claimKey(row));
      });
      return assigned;
    },

    /** Replaces what devices are known to run unknown to the registry; gives those of which it is other than before. */
    async replaceUnknown(tx: Transaction, unknown: ReadonlyMap<string, readonly NamedRelease[]>): Promise<string[]> {
      const before = new Map<string, Set<string>>();
      for (const row of await unknownOf(tx, [...unknown.keys()]))
        before.set(row.deviceId, (before.get(row.deviceId) ?? new Set()).add(releaseKey(row)));
      const changed: string[] = [];
      for (const [deviceId, releases] of unknown) {
        const keys = before.get(deviceId) ?? new Set();
        if (releases.length === keys.size && releases.every((each) => keys.has(releaseKey(each)))) continue;
        changed.push(deviceId);
        await tx.delete(unknownReleases).where(eq(unknownReleases.deviceId, deviceId));
        if (releases.length > 0)
          await tx.insert(unknownReleases).values(releases.map((each) => ({ deviceId, ...each })));
      }
      return changed;
    },

    /** Sorted by device, model and version. */
    unknownOf,

    /** How many devices that may connect run something unknown. */
    async countUnknownDevices(reader: Reader): Promise<number> {
      const [row] = await reader
        .select({ devices: sql<number>`count(distinct ${unknownReleases.deviceId})`.mapWith(Number) })
        .from(unknownReleases)
        .innerJoin(devices, eq(devices.id, unknownReleases.deviceId))
        .where(isNull(devices.revokedAt));
      return row?.devices ?? 0;
    },

    /** Gives the entries that are the first of their kind. */
    async addDisregarded(tx: Transaction, entries: readonly Disregarded[], at: number): Promise<Disregarded[]> {
      const first: Disregarded[] = [];
      for (const deviceId of new Set(entries.map((entry) => entry.deviceId))) {
        const rows = await tx.select().from(disregarded).where(eq(disregarded.deviceId, deviceId));
        const known = new Set(rows.map(kindKey));
        const sums = new Map<string, Disregarded>();
        for (const given of entries.filter((entry) => entry.deviceId === deviceId)) {
          const full = known.size >= maxRows && !known.has(kindKey(given));
          const entry = full ? { ...given, model: '', version: 0, release: '' } : given;
          const key = kindKey(entry);
          if (!known.has(key)) first.push(entry);
          known.add(key);
          sums.set(key, { ...entry, count: entry.count + (sums.get(key)?.count ?? 0) });
        }
        await writeSums(tx, [...sums.values()], at);
      }
      return first;
    },

    /** The latest last. */
    disregardedOf: (reader: Reader, deviceIds: readonly string[]): Promise<DisregardedRow[]> =>
      readChunks(deviceIds, async (part) => {
        const among = inArray(disregarded.deviceId, part);
        const rows = await reader.select().from(disregarded).where(among).orderBy(asc(disregarded.lastAt));
        return rows.map((row) => ({ ...row, what: parse(What, row.what, 'disregarded.what', 'internal') }));
      }),
  };
}

function releaseKey({ model, version, release }: NamedRelease): string {
  return `${model} ${version} ${release}`;
}

function kindKey({ what, reason, ...rest }: { what: string; reason: string } & NamedRelease): string {
  return `${what} ${reason} ${releaseKey(rest)}`;
}
