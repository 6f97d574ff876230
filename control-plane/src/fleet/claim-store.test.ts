// The SQL of claims and of version numbers on both engines.
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Database, openPostgres, openSqlite } from '../database/open.ts';
import { startTestPostgres } from '../database/postgres-fixture.ts';
import { createVersionNumbers } from '../registry/version-numbers.ts';
import { createClaimStore } from './claim-store.ts';
import type { Disregarded } from './claims.ts';

const found = await startTestPostgres(process.env);
if ('missing' in found && process.env.EDGELOOP_REQUIRE_ALL === '1') throw new Error(found.missing);
const folder = mkdtempSync(join(tmpdir(), 'edgeloop-claims-'));
afterAll(async () => {
  rmSync(folder, { recursive: true, force: true });
  if ('server' in found) await found.server.stop();
});

const engines: { name: string; missing?: string; open: () => Promise<Database> }[] = [
  { name: 'SQLite', open: async () => openSqlite(join(folder, 'test.db')) },
  {
    name: 'PostgreSQL',
    ...('missing' in found ? { missing: found.missing } : {}),
    open: async () => {
      if ('missing' in found) throw new Error(found.missing);
      return openPostgres(await found.server.createDatabase());
    },
  },
];

for (const { name, missing, open } of engines) {
  describe.skipIf(missing !== undefined)(missing === undefined ? name : `${name} (${missing})`, () => {
    let database: Database;
    beforeAll(async () => {
      database = await open();
      await database.transact(async (tx) => {
        for (const [id, revokedAt] of [['a', null] as const, ['b', null] as const, ['gone', 1] as const])
          await tx.insert(database.tables.devices).values({
            ...{ id, revokedAt, labels: {}, enrolledAt: 1, certificateSerial: 'aa', status: 'online' },
            desiredGeneration: 0,
          });
        await tx.insert(database.tables.modelVersions).values({
          ...{ model: 'm', version: 2, release: 'r2', digest: 'd', sizeBytes: 1, signature: 's', goldenSamples: 0 },
          ...{ io: {}, manifest: {}, lineage: {}, metrics: {}, createdAt: 1, createdBy: 'key:ann' },
        });
      });
    });
    afterAll(() => database.close());

    it('keeps what devices were told for good, each once', async () => {
      const store = createClaimStore(database.tables);
      const told = { deviceId: 'a', model: 'm', version: 1 };
      await database.transact(async (tx) => {
        for (let i = 0; i < 2; i++) await store.remember(tx, ['a'], { model: 'm', version: 1 });
      });
      const asked = [told, { ...told, version: 2 }, { ...told, deviceId: 'b' }];
      expect([...(await store.assignedAmong(database.read, asked))]).toEqual(['a m 1']);
    });

    it('replaces what is unknown of a device only when it changes, and counts devices that may connect', async () => {
      const store = createClaimStore(database.tables);
      const unknown = [{ model: 'm', version: 2, release: 'x' }];
      const replace = (id: string, rows: typeof unknown) =>
        database.transact((tx) => store.replaceUnknown(tx, new Map([[id, rows]])));
      expect(await replace('a', unknown)).toEqual(['a']);
      expect(await replace('a', unknown)).toEqual([]);
      for (const id of ['b', 'gone']) await replace(id, unknown);
      expect(await store.countUnknownDevices(database.read)).toBe(2);
      expect(await replace('b', [])).toEqual(['b']);
      expect(await store.unknownOf(database.read, ['a', 'b'])).toEqual([{ deviceId: 'a', ...unknown[0] }]);
    });

    it('adds up what counts nowhere, and says what is the first of its kind', async () => {
      const store = createClaimStore(database.tables);
      const kind = { what: 'requests' as const, reason: 'never_assigned', model: 'm', version: 1, release: '' };
      const entries: Disregarded[] = ['a', 'a', 'b'].map((deviceId) => ({ deviceId, ...kind, count: 3 }));
      const add = (at: number) => database.transact((tx) => store.addDisregarded(tx, entries, at));
      expect((await add(1)).map(({ deviceId }) => deviceId)).toEqual(['a', 'b']);
      expect(await add(2)).toEqual([]);
      const rows = await store.disregardedOf(database.read, ['a', 'b']);
      expect(rows.map(({ deviceId, count, lastAt }) => [deviceId, count, lastAt]).sort()).toEqual([
        ['a', 12, 2],
        ['b', 6, 2],
      ]);
    });

    it('gives numbers above all that are registered or named', async () => {
      const numbers = createVersionNumbers(database.tables);
      const reserve = (...versions: number[]) =>
        database.transact((tx) =>
          numbers.reserve(
            tx,
            versions.map((version) => ({ model: 'm', version })),
          ),
        );
      expect(await numbers.next(database.read, 'm')).toBe(3);
      await reserve(2 ** 31 - 1, 5, 4);
      await reserve(3);
      expect(await numbers.next(database.read, 'm')).toBe(6);
      expect(await numbers.next(database.read, 'other')).toBe(1);
      const named = [1, 2].map((version) => ({ model: 'm', version }));
      expect(await numbers.releases(database.read, named)).toEqual(new Map([['m 2', 'r2']]));
    });
  });
}
