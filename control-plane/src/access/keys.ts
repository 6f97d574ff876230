// API keys of operators: shown once, stored hashed, each with a role.
import type { ApiKey, ApiKeyCreate, CreatedApiKey, Role } from '@edgeloop/shared/api/access';
import { ApiKey as ApiKeySchema } from '@edgeloop/shared/api/access';
import type { Page } from '@edgeloop/shared/api/paging';
import { AppError, parse } from '@edgeloop/shared/errors';
import { readIfPresent, writeDurably } from '@edgeloop/shared/node/durable-files';
import type { Logger } from 'pino';
import { v7 as uuid } from 'uuid';
import { z } from 'zod';
import type { Database, Transaction } from '../database/open.ts';
import { isStorageFailure } from '../database/storage-failure.ts';
import { decodeCursor, toPage } from '../http/paging.ts';
import type { KeyHolder } from '../http/router.ts';
import { recordAudit } from './audit.ts';
import { type ApiKeyRow, activeAdmins, insertKey, keyByHash, keyById, listKeys, updateKey } from './key-store.ts';
import { createSecret, hashOf, isSecret, sameHash } from './secrets.ts';

type Created = z.infer<typeof CreatedApiKey>;
export type Keys = ReturnType<typeof createKeys>;

/** How exact `lastUsedAt` is. */
const usedEveryMs = 60_000;

export interface KeysDeps {
  database: Database;
  now: () => number;
  /** Called once a key is revoked, so that what was opened with it ends. */
  revoked: (keyId: string) => void;
  log: Logger;
}

export function createKeys({ database, now, revoked, log }: KeysDeps) {
  const { tables } = database;
  const usedAt = new Map<string, number>();

  async function insert(tx: Transaction, actor: string, wanted: { name: string; role: Role; secret: string }) {
    const row: ApiKeyRow = {
      id: uuid(),
      name: wanted.name,
      role: wanted.role,
      hash: hashOf(wanted.secret),
      createdAt: now(),
      lastUsedAt: null,
      revokedAt: null,
    };
    await insertKey(tables, tx, row);
    const after = { name: row.name, role: row.role };
    await recordAudit(tables, tx, { at: now(), actor, action: 'key.create', subject: `key/${row.id}`, after });
    return toApiKey(row);
  }

  async function noteUse(row: ApiKeyRow): Promise<void> {
    const at = now();
    if (at - (usedAt.get(row.id) ?? row.lastUsedAt ?? 0) < usedEveryMs) return;
    usedAt.set(row.id, at);
    await database.transact((tx) => updateKey(tables, tx, row.id, { lastUsedAt: at }));
  }

  return {
    async create(actor: string, { name, role }: z.output<typeof ApiKeyCreate>): Promise<Created> {
      const secret = createSecret('el_');
      const key = await database.transact((tx) => insert(tx, actor, { name, role, secret }));
      return { ...key, key: secret };
    },

    async list(query: { limit: number; cursor?: string | undefined }): Promise<Page<ApiKey>> {
      const beforeId = decodeCursor(z.string(), query.cursor);
      const rows = await listKeys(tables, database.read, { beforeId, limit: query.limit + 1 });
      return toPage(rows.map(toApiKey), query.limit, (key) => key.id);
    },

    /** @throws AppError `not_found`; `conflict` for the last admin key, without which nobody could make another */
    async revoke(actor: string, id: string): Promise<ApiKey> {
      const key = await database.transact(async (tx) => {
        const row = await keyById(tables, tx, id);
        if (row === undefined) throw new AppError('not_found', `there is no key "${id}"`);
        if (row.revokedAt !== null) return toApiKey(row);
        if (row.role === 'admin' && (await activeAdmins(tables, tx)) === 1)
          throw new AppError('conflict', `"${row.name}" is the last admin key; create another one first`);
        const revokedAt = now();
        await updateKey(tables, tx, id, { revokedAt });
        const subject = `key/${id}`;
        await recordAudit(tables, tx, { at: revokedAt, actor, action: 'key.revoke', subject, after: { revokedAt } });
        return toApiKey({ ...row, revokedAt });
      });
      revoked(id);
      return key;
    },

    /** Who holds this secret; undefined when nobody does or the key was revoked. */
    async authenticate(secret: string): Promise<KeyHolder | undefined> {
      const hash = hashOf(secret);
      const row = await keyByHash(tables, database.read, hash);
      if (row === undefined || row.revokedAt !== null || !sameHash(row.hash, hash)) return undefined;
      noteUse(row).catch((error: unknown) => {
        if (!isStorageFailure(error)) log.warn({ err: error }, 'the use of a key could not be noted');
      });
      return { name: `key:${row.name}`, keyId: row.id, role: toApiKey(row).role };
    },

    /** Makes the first admin key and writes it to `path`; a file from an unfinished first start is taken over. */
    async ensureAdmin(path: string): Promise<void> {
      const present = (await readIfPresent(path))?.trim();
      if (present !== undefined && (await keyByHash(tables, database.read, hashOf(present))) !== undefined) return;
      if (present === undefined && (await activeAdmins(tables, database.read)) > 0) return;
      if (present !== undefined && !isSecret('el_', present))
        throw new AppError(
          'integrity',
          `${path} is damaged: it must hold one line, the admin key. Restore it from a backup, or move it away and start again: while there is an admin key in the database the server needs no file`,
        );
      const secret = present ?? createSecret('el_');
      if (present === undefined) await writeDurably(path, `${secret}\n`, 0o600);
      await database.transact((tx) => insert(tx, 'system', { name: 'admin', role: 'admin', secret }));
      log.info({ path }, 'the admin key is in this file');
    },
  };
}

function toApiKey(row: ApiKeyRow): ApiKey {
  return parse(ApiKeySchema, row, `key ${row.id}`, 'internal');
}
