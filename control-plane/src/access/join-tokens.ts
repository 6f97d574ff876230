// Join tokens: a limited right to enrol devices, stored hashed, that can be taken back.
import { type CreatedJoinToken, JoinToken, type JoinTokenCreate } from '@edgeloop/shared/api/access';
import type { Page, PageQuery } from '@edgeloop/shared/api/paging';
import { AppError, parse } from '@edgeloop/shared/errors';
import { encodeJoinToken } from '@edgeloop/shared/join-token';
import { Labels } from '@edgeloop/shared/selector';
import { v7 as uuid } from 'uuid';
import { z } from 'zod';
import type { Database, Reader, Transaction } from '../database/open.ts';
import { decodeCursor, toPage } from '../http/paging.ts';
import { recordAudit } from './audit.ts';
import {
  insertJoinToken,
  type JoinTokenRow,
  joinTokenByHash,
  joinTokenById,
  listJoinTokens,
  updateJoinToken,
} from './join-token-store.ts';
import { createSecret, hashOf, sameHash } from './secrets.ts';

export interface JoinTokensDeps {
  database: Database;
  now: () => number;
  /** Where devices reach this server; known once its ports are open. */
  reachable: () => { hosts: string[]; port: number; caDigest: string };
}
export type JoinTokens = ReturnType<typeof createJoinTokens>;

export function createJoinTokens({ database, now, reachable }: JoinTokensDeps) {
  const { tables } = database;

  /** The token of a secret, if it is known, was not revoked and has not expired; it may be used up. */
  async function find(reader: Reader, secret: string): Promise<JoinTokenRow> {
    const hash = hashOf(secret);
    const row = await joinTokenByHash(tables, reader, hash);
    if (row === undefined || !sameHash(row.hash, hash))
      throw new AppError(
        'unauthorized',
        'the join token is not known here; make one with: edgeloop join-tokens create',
      );
    if (row.revokedAt !== null) throw refused(`was revoked on ${new Date(row.revokedAt).toISOString()}`);
    if (row.expiresAt <= now()) throw refused('has expired');
    return row;
  }

  return {
    async create(
      actor: string,
      { labels, uses, expiresIn }: z.output<typeof JoinTokenCreate>,
    ): Promise<z.infer<typeof CreatedJoinToken>> {
      const secret = createSecret('');
      const id = uuid();
      const createdAt = now();
      const expiresAt = createdAt + expiresIn * 1000;
      await database.transact(async (tx) => {
        const given = { hash: hashOf(secret), labels, uses, usesLeft: uses, expiresAt };
        await insertJoinToken(tables, tx, { id, ...given, createdAt, createdBy: actor, revokedAt: null });
        const after = { labels, uses, expiresAt };
        const subject = `join-token/${id}`;
        await recordAudit(tables, tx, { at: createdAt, actor, action: 'join-token.create', subject, after });
      });
      return { token: encodeJoinToken({ ...reachable(), secret }), id, uses, expiresAt };
    },

    /** Newest first. */
    async list({ limit, cursor }: PageQuery): Promise<Page<JoinToken>> {
      const beforeId = decodeCursor(z.string(), cursor);
      const rows = await listJoinTokens(tables, database.read, { beforeId, limit: limit + 1 });
      return toPage(rows.map(toJoinToken), limit, ({ id }) => id);
    },

    /** Nobody joins with it any more; devices that did stay. Doing it again changes nothing. @throws AppError `not_found` */
    revoke: (actor: string, id: string): Promise<JoinToken> =>
      database.transact(async (tx) => {
        const row = await joinTokenById(tables, tx, id);
        if (row === undefined) throw new AppError('not_found', `there is no join token "${id}"`);
        if (row.revokedAt !== null) return toJoinToken(row);
        const revokedAt = now();
        await updateJoinToken(tables, tx, id, { revokedAt });
        const about = { actor, action: 'join-token.revoke', subject: `join-token/${id}` };
        const [before, after] = [{ usesLeft: row.usesLeft }, { revokedAt }];
        await recordAudit(tables, tx, { at: revokedAt, ...about, before, after });
        return toJoinToken({ ...row, revokedAt });
      }),

    /** @throws AppError `unauthorized` for an unknown secret, `forbidden` for one that expired or was revoked */
    async check(secret: string): Promise<void> {
      await find(database.read, secret);
    },

    /**
     * Takes one use, in the transaction of the enrolment, and gives the labels that the token confers. `again` is a
     * device that asks once more because the answer got lost: it costs no use.
     * @throws AppError `unauthorized`, `forbidden` when it expired, was revoked or used up
     */
    async use(tx: Transaction, secret: string, options: { again: boolean }): Promise<{ id: string; labels: Labels }> {
      const row = await find(tx, secret);
      if (!options.again) {
        if (row.usesLeft < 1) throw refused('is used up');
        await updateJoinToken(tables, tx, row.id, { usesLeft: row.usesLeft - 1 });
      }
      return { id: row.id, labels: parse(Labels, row.labels, 'labels of the join token', 'internal') };
    },
  };
}

function refused(why: string): AppError {
  return new AppError('forbidden', `the join token ${why}; make a new one with: edgeloop join-tokens create`);
}

function toJoinToken(row: JoinTokenRow): JoinToken {
  return parse(JoinToken, { ...row, uses: row.uses ?? row.usesLeft }, `join token ${row.id}`, 'internal');
}
