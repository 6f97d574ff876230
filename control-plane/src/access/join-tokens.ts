// Join tokens: a limited right to enrol devices, stored hashed.
import type { CreatedJoinToken, JoinTokenCreate } from '@edgeloop/shared/api/access';
import { AppError, parse } from '@edgeloop/shared/errors';
import { encodeJoinToken } from '@edgeloop/shared/join-token';
import { Labels } from '@edgeloop/shared/selector';
import { v7 as uuid } from 'uuid';
import type { z } from 'zod';
import type { Database, Reader, Transaction } from '../database/open.ts';
import { recordAudit } from './audit.ts';
import { insertJoinToken, type JoinTokenRow, joinTokenByHash, setUsesLeft } from './join-token-store.ts';
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

  /** The token of a secret, if it is known and has not expired; it may be used up. */
  async function find(reader: Reader, secret: string): Promise<JoinTokenRow> {
    const hash = hashOf(secret);
    const row = await joinTokenByHash(tables, reader, hash);
    if (row === undefined || !sameHash(row.hash, hash))
      throw new AppError(
        'unauthorized',
        'the join token is not known here; make one with: edgeloop join-tokens create',
      );
    if (row.expiresAt <= now())
      throw new AppError('forbidden', 'the join token has expired; make a new one with: edgeloop join-tokens create');
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
        const row = { id, hash: hashOf(secret), labels, usesLeft: uses, expiresAt, createdAt, createdBy: actor };
        await insertJoinToken(tables, tx, row);
        const after = { labels, uses, expiresAt };
        const subject = `join-token/${id}`;
        await recordAudit(tables, tx, { at: createdAt, actor, action: 'join-token.create', subject, after });
      });
      return { token: encodeJoinToken({ ...reachable(), secret }), id, uses, expiresAt };
    },

    /** @throws AppError `unauthorized` for an unknown secret, `forbidden` for an expired one */
    async check(secret: string): Promise<void> {
      await find(database.read, secret);
    },

    /**
     * Takes one use, in the transaction of the enrolment, and gives the labels that the token confers. `again` is a
     * device that asks once more because the answer got lost: it costs no use.
     * @throws AppError `unauthorized`, `forbidden` when it expired or was used up
     */
    async use(tx: Transaction, secret: string, options: { again: boolean }): Promise<{ id: string; labels: Labels }> {
      const row = await find(tx, secret);
      if (!options.again) {
        if (row.usesLeft < 1)
          throw new AppError(
            'forbidden',
            'the join token is used up; make a new one with: edgeloop join-tokens create',
          );
        await setUsesLeft(tables, tx, row.id, row.usesLeft - 1);
      }
      return { id: row.id, labels: parse(Labels, row.labels, 'labels of the join token', 'internal') };
    },
  };
}
