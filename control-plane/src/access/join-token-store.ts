// SQL of join tokens.
import { eq } from 'drizzle-orm';
import type { Reader, Transaction } from '../database/open.ts';
import type { Schema } from '../database/schema.ts';

export type JoinTokenRow = Schema['joinTokens']['$inferSelect'];

export async function insertJoinToken(tables: Schema, tx: Transaction, row: JoinTokenRow): Promise<void> {
  await tx.insert(tables.joinTokens).values(row);
}

export async function joinTokenByHash(tables: Schema, reader: Reader, hash: string): Promise<JoinTokenRow | undefined> {
  const [row] = await reader.select().from(tables.joinTokens).where(eq(tables.joinTokens.hash, hash));
  return row;
}

export async function setUsesLeft(tables: Schema, tx: Transaction, id: string, usesLeft: number): Promise<void> {
  await tx.update(tables.joinTokens).set({ usesLeft }).where(eq(tables.joinTokens.id, id));
}
