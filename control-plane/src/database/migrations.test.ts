import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import Sqlite from 'better-sqlite3';
import { drizzle as drizzleSqlite } from 'drizzle-orm/better-sqlite3';
import { migrate as migrateSqlite } from 'drizzle-orm/better-sqlite3/migrator';
import { drizzle as drizzlePostgres } from 'drizzle-orm/node-postgres';
import { migrate as migratePostgres } from 'drizzle-orm/node-postgres/migrator';
import pg from 'pg';
import { afterAll, describe, expect, it } from 'vitest';
import { z } from 'zod';
import { type Database, openPostgres, openSqlite } from './open.ts';
import { startTestPostgres } from './postgres-fixture.ts';

const found = await startTestPostgres(process.env);
if ('missing' in found && process.env.EDGELOOP_REQUIRE_ALL === '1') throw new Error(found.missing);

const folder = mkdtempSync(join(tmpdir(), 'edgeloop-migrations-'));
const Journal = z.looseObject({ entries: z.array(z.looseObject({ idx: z.number() })) });

/** A folder with the migrations up to and including number `last`. */
function migrationsUpTo(engine: 'sqlite' | 'postgres', last: number): string {
  const former = join(folder, `${engine}-${last}`);
  cpSync(fileURLToPath(new URL(`migrations/${engine}`, import.meta.url)), former, { recursive: true });
  const path = join(former, 'meta', '_journal.json');
  const journal = Journal.parse(JSON.parse(readFileSync(path, 'utf8')));
  writeFileSync(path, JSON.stringify({ ...journal, entries: journal.entries.filter(({ idx }) => idx <= last) }));
  return former;
}

/** A database of a former version with rows in it, opened by this one. */
type OpenFormer = (last: number, rows: readonly string[]) => Promise<Database>;

const engines: { name: string; missing?: string; openFormer: OpenFormer }[] = [
  {
    name: 'SQLite',
    async openFormer(last, rows) {
      const path = join(folder, `former-${last}.db`);
      const client = new Sqlite(path);
      migrateSqlite(drizzleSqlite({ client }), { migrationsFolder: migrationsUpTo('sqlite', last) });
      for (const row of rows) client.exec(row);
      client.close();
      return openSqlite(path);
    },
  },
  {
    name: 'PostgreSQL',
    ...('missing' in found ? { missing: found.missing } : {}),
    async openFormer(last, rows) {
      if ('missing' in found) throw new Error(found.missing);
      const url = await found.server.createDatabase();
      const client = new pg.Client({ connectionString: url });
      await client.connect();
      await migratePostgres(drizzlePostgres({ client }), { migrationsFolder: migrationsUpTo('postgres', last) });
      for (const row of rows) await client.query(row);
      await client.end();
      return openPostgres(url);
    },
  },
];

afterAll(async () => {
  rmSync(folder, { recursive: true, force: true });
  if ('server' in found) await found.server.stop();
});

const evaluation = (ruleId: string, version: number, windowStart: number) =>
  `insert into evaluations (rule_id, model, version, window_start, window_end, samples, verdict, detail)
   values ('${ruleId}', 'm', ${version}, ${windowStart}, 0, 0, 'insufficient', '{}')`;
const audit = (id: number, action: string, at: number) =>
  `insert into audit (id, at, actor, action, subject)
   values ('${id}', ${at}, 'system', 'alert_rule.${action}', 'alert-rule/default-accuracy-m')`;

for (const { name, missing, openFormer } of engines) {
  const no = name === 'SQLite' ? '0' : 'false';
  describe.skipIf(missing !== undefined)(missing === undefined ? name : `${name} (${missing})`, () => {
    it('takes the marks of deleted default rules over into their column', async () => {
      const database = await openFormer(0, [
        `insert into alert_rules (id, spec, created_at) values ('live', '{"kind":"drift","model":"other"}', 3)`,
        ...[audit(1, 'create', 5), audit(2, 'delete', 7)],
        ...[evaluation('default-accuracy-m', 0, 0), evaluation('default-drift-m', 0, 0)],
        ...[evaluation('live', 1, 0), evaluation('live', 2, 1000)],
      ]);
      const { alertRules, evaluations } = database.tables;
      expect(await database.read.select().from(alertRules).orderBy(alertRules.id)).toEqual([
        { id: 'default-accuracy-m', spec: { kind: 'accuracy', model: 'm' }, createdAt: 5, deletedAt: 7 },
        { id: 'default-drift-m', spec: { kind: 'drift', model: 'm' }, createdAt: 0, deletedAt: 0 },
        { id: 'live', spec: { kind: 'drift', model: 'other' }, createdAt: 3, deletedAt: null },
      ]);
      const judged = await database.read.select().from(evaluations).orderBy(evaluations.version);
      expect(judged.map(({ ruleId, version }) => `${ruleId} ${version}`)).toEqual(['live 1', 'live 2']);
      await database.close();
    });

    it('knows which numbers are taken and what devices were told to run, from what was there before', async () => {
      const reported = JSON.stringify({
        models: [
          { name: 'm', active: { version: 4 }, lastGood: 5, candidate: { version: 3 } },
          { name: 'lost', active: null, lastGood: null, candidate: { version: 2 } },
          { name: 'idle', active: null, lastGood: null, candidate: null },
          { name: 'liar', active: { version: 2000000000 }, lastGood: null, candidate: null },
        ],
      });
      const columns = 'id, labels, enrolled_at, certificate_serial, status, desired_generation, reported';
      const given = 'rollout_id, device_id, wave, assigned_at, online, connection_since';
      const database = await openFormer(1, [
        `insert into devices (${columns}) values ('cam', '{}', 1, 'aa', 'online', 0, '${reported}')`,
        `insert into devices (${columns}) values ('new', '{}', 1, 'aa', 'never_connected', 0, null)`,
        `insert into rollouts (id, model, version, plan, phase, state, created_at, created_by, updated_at)
         values ('r1', 'm', 1, '{}', 'completed', '{}', 1, 'a', 1)`,
        `insert into rollout_devices (${given}) values ('r1', 'cam', 0, 1, ${no}, 1), ('r1', 'new', 0, null, ${no}, 1)`,
        `insert into desired_models (device_id, model, version, release, signature, rollout_id, since)
         values ('new', 'm', 2, 'r', 's', 'r0', 1)`,
        `insert into labels (device_id, inference_id, model, version, predicted_at, predicted, label, labelled_at)
         values ('cam', 'i', 'seen', 9, 1, 'x', 'x', 1)`,
      ]);
      const { assignedModels, versionMarks, labels } = database.tables;
      const marks = await database.read.select().from(versionMarks).orderBy(versionMarks.model);
      expect(marks.map(({ model, highest }) => `${model} ${highest}`)).toEqual(['lost 2', 'm 5', 'seen 9']);
      const assigned = await database.read.select().from(assignedModels).orderBy(assignedModels.deviceId);
      expect(assigned.map(({ deviceId, version }) => `${deviceId} ${version}`)).toEqual(['cam 1', 'new 2']);
      expect(await database.read.select({ foreign: labels.foreignRelease }).from(labels)).toEqual([{ foreign: null }]);
      await database.close();
    });

    it('numbers the windows that there are, and knows which items were taken', async () => {
      const columns = 'device_id, epoch, sequence, model, version, started_at, ended_at, received_at';
      const window = (sequence: number) =>
        `insert into windows (${columns}, succeeded, failed, invalid, "rows", body)
         values ('cam', 1, ${sequence}, 'm', 1, 0, 1, ${sequence}, 1, 0, 0, 1, '{}')`;
      const item = (epoch: number, sequence: number) =>
        `insert into telemetry_items (device_id, epoch, sequence) values ('cam', ${epoch}, ${sequence})`;
      const database = await openFormer(7, [window(1), window(2), item(1, 1), item(1, 2), item(2, 7)]);
      const { windows, telemetryFloors, telemetryItems } = database.tables;
      const arrivals = await database.read.select({ arrival: windows.arrival }).from(windows).orderBy(windows.sequence);
      expect(arrivals).toEqual([{ arrival: 1 }, { arrival: 2 }]);
      const floors = await database.read.select().from(telemetryFloors).orderBy(telemetryFloors.epoch);
      expect(floors.map(({ epoch, sequence }) => [epoch, sequence])).toEqual([
        [1, 2],
        [2, 7],
      ]);
      expect(await database.read.$count(telemetryItems)).toBe(0);
      await database.close();
    });

    it('reads the bodies that were JSON', async () => {
      const sums = 'windows, succeeded, failed, invalid, "rows", latency, confidence_sum, confidence_count';
      const database = await openFormer(9, [
        `insert into windows (device_id, epoch, sequence, model, version, started_at, ended_at, received_at, succeeded, failed, invalid, "rows", body)
         values ('cam', 1, 1, 'm', 1, 0, 1, 1, 1, 0, 0, 1, '{"kind":"window","classes":{"ä":[1,2.5,null]}}')`,
        `insert into rollups (level, device_id, model, version, started_at, ${sums}, classes, body)
         values (60, '', 'm', 1, 0, 1, 1, 0, 0, 1, '', 0, 0, '{"ä":3}', null)`,
      ]);
      const { windows, rollups } = database.tables;
      const [window] = await database.read.select({ body: windows.body }).from(windows);
      expect(window?.body).toEqual({ kind: 'window', classes: { ä: [1, 2.5, null] } });
      const [rollup] = await database.read.select({ classes: rollups.classes, body: rollups.body }).from(rollups);
      expect(rollup).toEqual({ classes: { ä: 3 }, body: null });
      await database.transact((tx) => tx.update(windows).set({ body: { now: 'packed' } }));
      expect(await database.read.select({ body: windows.body }).from(windows)).toEqual([{ body: { now: 'packed' } }]);
      await database.close();
    });

    it('finds in the audit log how many uses older join tokens had', async () => {
      const database = await openFormer(2, [
        `insert into join_tokens (id, hash, labels, uses_left, expires_at, created_at, created_by)
         values ('t', 'h', '{}', 2, 9, 1, 'key:admin')`,
        `insert into audit (id, at, actor, action, subject, after)
         values ('1', 1, 'key:admin', 'join-token.create', 'join-token/t', '{"uses":5}')`,
      ]);
      const [token] = await database.read.select().from(database.tables.joinTokens);
      expect(token).toMatchObject({ usesLeft: 2, uses: 5, revokedAt: null });
      await database.close();
    });
  });
}
