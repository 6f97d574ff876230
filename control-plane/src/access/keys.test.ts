import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pino } from 'pino';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { type Database, openSqlite } from '../database/open.ts';
import { createKeys } from './keys.ts';

let folder: string;
let path: string;
let database: Database;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'edgeloop-keys-'));
  path = join(folder, 'admin.key');
  database = openSqlite(join(folder, 'keys.db'));
});
afterEach(async () => {
  await database.close();
  rmSync(folder, { recursive: true });
});

const open = () => createKeys({ database, now: Date.now, revoked: () => undefined, log: pino({ level: 'silent' }) });

it('makes the first admin key, and takes over one that a start left before it was written down', async () => {
  const key = `el_${'k'.repeat(43)}`;
  writeFileSync(path, `${key}\n`);
  await open().ensureAdmin(path);
  expect(await open().authenticate(key)).toMatchObject({ name: 'key:admin', role: 'admin' });
  expect(readFileSync(path, 'utf8')).toBe(`${key}\n`);
});

it.each(['', 'half a k', `el_${'k'.repeat(42)}`])('lets nobody in by what a damaged file holds: "%s"', async (text) => {
  writeFileSync(path, text);
  await expect(open().ensureAdmin(path)).rejects.toMatchObject({
    code: 'integrity',
    message: expect.stringMatching(/admin\.key is damaged/),
  });
  expect(await open().authenticate(text)).toBeUndefined();
});
