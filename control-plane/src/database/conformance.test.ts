import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { eq } from 'drizzle-orm';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { deleteBefore } from './expire.ts';
import { afterCommit, type Database, openPostgres, openSqlite } from './open.ts';
import { startTestPostgres } from './postgres-fixture.ts';

const found = await startTestPostgres(process.env);
if ('missing' in found && process.env.EDGELOOP_REQUIRE_ALL === '1') throw new Error(found.missing);

const folder = mkdtempSync(join(tmpdir(), 'edgeloop-db-'));
let files = 0;

const engines: {
  name: string;
  missing?: string;
  open: () => Promise<{ database: Database; again: () => Promise<Database> }>;
}[] = [
  {
    name: 'SQLite',
    open: async () => {
      const path = join(folder, `${files++}.db`);
      return { database: openSqlite(path), again: async () => openSqlite(path) };
    },
  },
  {
    name: 'PostgreSQL',
    ...('missing' in found ? { missing: found.missing } : {}),
    open: async () => {
      if ('missing' in found) throw new Error(found.missing);
      const url = await found.server.createDatabase();
      return { database: await openPostgres(url), again: () => openPostgres(url) };
    },
  },
];

afterAll(async () => {
  rmSync(folder, { recursive: true, force: true });
  if ('server' in found) await found.server.stop();
});

for (const { name, missing, open } of engines) {
  describe.skipIf(missing !== undefined)(missing === undefined ? name : `${name} (${missing})`, () => {
    let database: Database;
    let again: () => Promise<Database>;
    beforeAll(async () => {
      ({ database, again } = await open());
    });
    beforeEach(async () => {
      await database.transact(async (tx) => {
        await tx.delete(database.tables.models);
        await tx.delete(database.tables.samples);
        await tx.delete(database.tables.runs);
        await tx.delete(database.tables.audit);
        await tx.delete(database.tables.desiredModels);
      });
    });
    afterAll(() => database.close());

    it('undoes alone what fails among transactions that share a commit, with what was to follow it', async () => {
      const { models } = database.tables;
      const after: string[] = [];
      const write = (name: string, fails = false) =>
        database.share(async (tx) => {
          await tx.insert(models).values({ name, description: '', createdAt: 1 });
          afterCommit(tx, () => void after.push(name));
          if (fails) throw new Error('changed my mind');
          return name;
        });
      const outcomes = await Promise.allSettled([write('one'), write('two', true), write('three'), write('one')]);
      expect(outcomes.map(({ status }) => status)).toEqual(['fulfilled', 'rejected', 'fulfilled', 'rejected']);
      expect((await database.read.select().from(models)).map(({ name }) => name).sort()).toEqual(['one', 'three']);
      expect(after).toEqual(['one', 'three']);
    });

    it('reads anew with a statement that is kept', async () => {
      const { models } = database.tables;
      for (const name of ['one', 'two']) {
        await database.transact((tx) => tx.insert(models).values({ name, description: '', createdAt: 1 }));
        const found = await database.read.select().from(models).where(eq(models.name, name));
        expect(found).toEqual([{ name, description: '', createdAt: 1 }]);
        expect(await database.read.$count(models)).toBe(name === 'one' ? 1 : 2);
      }
    });

    const model = (modelName: string, createdAt = 1) => ({ name: modelName, description: '', createdAt });

    it('lets go of the oldest rows before an instant, so many at a time and of those asked for', async () => {
      const { audit } = database.tables;
      await database.transact(async (tx) => {
        for (let at = 1; at <= 10; at++)
          await tx
            .insert(audit)
            .values({ id: String(at), at, actor: 'a', action: 'b', subject: at === 3 ? 'kept' : 'c' });
      });
      const expiring = {
        table: audit,
        key: [audit.id, audit.action],
        at: audit.at,
        only: eq(audit.subject, 'c'),
      } as const;
      const gone = () => database.transact((tx) => deleteBefore(tx, expiring, { before: 8, limit: 4 }));
      expect([await gone(), await gone(), await gone()]).toEqual([4, 2, 0]);
      const left = await database.read.select({ at: audit.at }).from(audit).orderBy(audit.at);
      expect(left.map(({ at }) => at)).toEqual([3, 8, 9, 10]);
    });

    it('gives JSON back as it was, whatever its kind', async () => {
      const { audit } = database.tables;
      const values = [{ a: [1, 'two', null, { deep: true }] }, [], 'text', 4.25, true, false, { umlaut: 'äöü ✓' }];
      await database.transact(async (tx) => {
        for (const [i, before] of values.entries())
          await tx.insert(audit).values({ id: String(i), at: 1, actor: 'a', action: 'b', subject: 'c', before });
      });
      const rows = await database.read.select().from(audit).orderBy(audit.id);
      expect(rows.map((row) => row.before)).toEqual(values);
      expect(rows.map((row) => row.after)).toEqual(values.map(() => null));
    });

    it('gives bytes, instants, reals and booleans back exactly', async () => {
      const { samples, runs } = database.tables;
      const features = Buffer.from(Uint8Array.from({ length: 256 }, (_, i) => i));
      const at = Date.UTC(2099, 11, 31, 23, 59, 59, 999);
      const sample = {
        deviceId: 'd',
        inferenceId: 'i',
        model: 'm',
        version: 2 ** 31 - 1,
        predictedAt: at,
        receivedAt: at,
        reason: 'rate',
        features,
        predicted: null,
        score: 0.1 + 0.2,
        label: null,
        other: null,
      };
      const run = {
        ...{ id: 'r', pipeline: 'p', model: 'm', status: 'queued', stage: 'queued', cause: {}, causeKey: 'k', seed: 1 },
        ...{ spec: {}, dataset: null, metrics: {}, evaluation: null, registeredVersion: null, rolloutId: null },
        ...{ error: null, cancelRequested: true, createdAt: at, startedAt: null, endedAt: null },
      };
      await database.transact(async (tx) => {
        await tx.insert(samples).values(sample);
        await tx.insert(runs).values(run);
        await tx.insert(runs).values({ ...run, id: 's', causeKey: 'l', cancelRequested: false });
      });
      const [row] = await database.read.select().from(samples);
      expect({ ...row, features: Buffer.compare(row?.features ?? Buffer.alloc(0), features) }).toEqual({
        ...sample,
        features: 0,
      });
      const flags = await database.read.select({ flag: runs.cancelRequested }).from(runs).orderBy(runs.id);
      expect(flags).toEqual([{ flag: true }, { flag: false }]);
    });

    it('inserts, or updates what has the same key', async () => {
      const { desiredModels: desired } = database.tables;
      const row = { deviceId: 'd', model: 'm', version: 1, release: 'r', signature: 's', rolloutId: 'o', since: 1 };
      for (const version of [1, 2])
        await database.transact(async (tx) => {
          await tx
            .insert(desired)
            .values({ ...row, version })
            .onConflictDoUpdate({ target: [desired.deviceId, desired.model], set: { version } });
        });
      expect(await database.read.select().from(desired)).toMatchObject([{ ...row, version: 2 }]);
    });

    it('leaves nothing of a transaction that throws, and goes on afterwards', async () => {
      const { models } = database.tables;
      const failed = database.transact(async (tx) => {
        await tx.insert(models).values(model('gone'));
        expect(await tx.select().from(models)).toHaveLength(1);
        throw new Error('no');
      });
      await expect(failed).rejects.toThrow('no');
      await database.transact(async (tx) => {
        await tx.insert(models).values(model('kept'));
      });
      expect((await database.read.select().from(models)).map((row) => row.name)).toEqual(['kept']);
    });

    it('refuses a second row with the same key and keeps the first', async () => {
      const { models } = database.tables;
      const insert = (createdAt: number) =>
        database.transact(async (tx) => {
          await tx.insert(models).values(model('m', createdAt));
        });
      await insert(1);
      await expect(insert(2)).rejects.toThrow();
      expect(await database.read.select().from(models)).toEqual([model('m', 1)]);
    });

    it('runs transactions one after the other: no increment gets lost', async () => {
      const { models } = database.tables;
      await database.transact(async (tx) => {
        await tx.insert(models).values(model('counter', 0));
      });
      const other = await again();
      const increment = (on: Database) =>
        on.transact(async (tx) => {
          const [row] = await tx.select().from(models).where(eq(models.name, 'counter'));
          await new Promise((resolve) => setImmediate(resolve));
          await tx
            .update(models)
            .set({ createdAt: (row?.createdAt ?? 0) + 1 })
            .where(eq(models.name, 'counter'));
        });
      // Two handles on one SQLite file in one process would block each other's thread; there one has to do.
      const handles = database.engine === 'postgres' ? [database, other] : [database];
      await Promise.all(Array.from({ length: 40 }, (_, i) => increment(handles[i % handles.length] ?? database)));
      await other.close();
      expect((await database.read.select().from(models))[0]?.createdAt).toBe(40);
    });

    it('counts as numbers, and sees only what was committed', async () => {
      const { models } = database.tables;
      await database.transact(async (tx) => {
        await tx.insert(models).values([model('a'), model('b')]);
        expect(await database.read.$count(models)).toBe(0);
        expect(await tx.$count(models)).toBe(2);
      });
      expect(await database.read.$count(models)).toBe(2);
    });

    it('keeps everything when it is opened again', async () => {
      await database.transact(async (tx) => {
        await tx.insert(database.tables.models).values(model('kept'));
      });
      const reopened = await again();
      await reopened.ping();
      expect(await reopened.read.select().from(reopened.tables.models)).toEqual([model('kept')]);
      await reopened.close();
    });
  });
}

it('says which variable to look at when PostgreSQL cannot be reached', async () => {
  await expect(openPostgres('postgres://nobody@127.0.0.1:1/none')).rejects.toMatchObject({
    code: 'unavailable',
    message: expect.stringMatching(/EDGELOOP_DATABASE_URL.*ECONNREFUSED/),
  });
});
