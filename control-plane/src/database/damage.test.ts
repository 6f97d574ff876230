import { mkdtempSync, readFileSync, rmSync, statSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import Sqlite from 'better-sqlite3';
import pg from 'pg';
import { pino } from 'pino';
import { afterAll, afterEach, beforeEach, expect, it } from 'vitest';
import { openDatabase, openPostgres } from './open.ts';
import { startTestPostgres } from './postgres-fixture.ts';
import { createStorageWatch } from './storage-watch.ts';

const found = await startTestPostgres(process.env);
const missing = 'missing' in found ? ` (${found.missing})` : '';
afterAll(async () => {
  if ('server' in found) await found.server.stop();
});

let dataDir: string;
let path: string;
beforeEach(async () => {
  dataDir = mkdtempSync(join(tmpdir(), 'edgeloop-damage-'));
  path = join(dataDir, 'control-plane.db');
  const database = await open();
  await database.transact((tx) =>
    tx.insert(database.tables.models).values({ name: 'm', description: 'x'.repeat(100_000), createdAt: 1 }),
  );
  await database.close();
});
afterEach(() => rmSync(dataDir, { recursive: true }));
const open = () => openDatabase({ databaseUrl: undefined, dataDir });

async function expectDamaged(): Promise<void> {
  const before = readFileSync(path);
  await expect(open()).rejects.toMatchObject({
    code: 'integrity',
    message: expect.stringMatching(/control-plane\.db is damaged .*copy control-plane\.db from a backup/),
  });
  expect(readFileSync(path).equals(before)).toBe(true);
}

it('is for its owner only', () => {
  expect(statSync(path).mode & 0o777).toBe(0o600);
});

it('does not start on a file that is no database, and changes nothing in it', async () => {
  writeFileSync(path, 'x'.repeat(50_000));
  await expectDamaged();
});

it('does not start on a file that was cut short', async () => {
  truncateSync(path, 8192);
  await expectDamaged();
});

it('does not begin anew where a fleet has lost its database', async () => {
  writeFileSync(join(dataDir, 'ca.pem'), '');
  truncateSync(path, 0);
  await expectDamaged();
});

it('does not start on the database of a newer version', async () => {
  const client = new Sqlite(path);
  client.exec("insert into __drizzle_migrations (hash, created_at) values ('later', 99999999999999)");
  client.close();
  await expect(open()).rejects.toMatchObject({
    code: 'unsupported',
    message: expect.stringContaining('newer version'),
  });
});

it('says that it is damaged when a page is found broken in use', async () => {
  const bytes = readFileSync(path);
  bytes.fill(0xff, bytes.length - 60_000);
  writeFileSync(path, bytes);
  const opened = await open();
  const storage = createStorageWatch({ folder: dataDir, database: opened, log: pino({ level: 'silent' }) });
  const { database } = storage;
  const read = database.read.select().from(database.tables.models);
  const failure: unknown = await read.then(
    () => undefined,
    (error: unknown) => storage.noted(error),
  );
  expect(failure).toMatchObject({ code: 'internal', message: expect.stringContaining('restore the database') });
  expect(await storage.problem()).toContain('damaged');
  await database.close();
});

it.skipIf('missing' in found)(`opens and reads a PostgreSQL that takes no writes, and says why${missing}`, async () => {
  if ('missing' in found) throw new Error(found.missing);
  const url = await found.server.createDatabase();
  await (await openPostgres(url)).close();
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  await client.query(`alter database "${client.database}" set default_transaction_read_only = on`);
  const opened = await openPostgres(url);
  const storage = createStorageWatch({
    folder: dataDir,
    database: opened,
    log: pino({ level: 'silent' }),
    tryEveryMs: 20,
  });
  await storage.start();
  const { database } = storage;
  expect(await database.read.select().from(database.tables.models)).toEqual([]);
  const insert = () =>
    database.transact((tx) => tx.insert(database.tables.models).values({ name: 'm', description: '', createdAt: 1 }));
  await expect(insert()).rejects.toMatchObject({ code: 'insufficient_storage' });
  expect(await storage.problem()).toContain('read-only');
  await client.query(`alter database "${client.database}" set default_transaction_read_only = off`);
  // Sessions keep what they began with, so these have to end.
  const others = 'datname = current_database() and pid <> pg_backend_pid()';
  await client.query(`select pg_terminate_backend(pid) from pg_stat_activity where ${others}`);
  await database.writable();
  await insert();
  expect(await storage.problem()).toBeUndefined();
  await client.end();
  await storage.close();
  await database.close();
});
