// Windows that are still open, as far as their journal files were folded early: a file that is removed before the system has written
// it costs the disk nothing. On disk with the number up to which files are folded, so that every record still counts once.
import { inflateRawSync } from 'node:zlib';
import { parseJson } from '@edgeloop/shared/errors';
import { Window } from '@edgeloop/shared/telemetry';
import { eq, isNotNull } from 'drizzle-orm';
import { z } from 'zod';
import type { Reader } from '../database/facts.ts';
import { heldWindows } from '../database/schema.ts';
import { deflated } from './block-parts.ts';

const Stored = z.array(Window);

/** In the place of what `ordinal` says, or in a new one, which it returns. */
export function holdWindows(transaction: Reader, windows: readonly Window[], ordinal: number | undefined): number {
  if (ordinal !== undefined) transaction.delete(heldWindows).where(eq(heldWindows.ordinal, ordinal)).run();
  const row = { ...(ordinal === undefined ? {} : { ordinal }), windows: deflated(windows) };
  return transaction.insert(heldWindows).values(row).returning({ ordinal: heldWindows.ordinal }).get().ordinal;
}

/** What was in them is told otherwise. */
export function dropHeld(transaction: Reader, ordinal: number | undefined): void {
  if (ordinal !== undefined) transaction.delete(heldWindows).where(eq(heldWindows.ordinal, ordinal)).run();
}

export function areHeld(reader: Reader): boolean {
  return reader.select({ ordinal: heldWindows.ordinal }).from(heldWindows).limit(1).get() !== undefined;
}

/** All that are held, which are held no more: those who made them did not come to close them. */
export function takeHeld(transaction: Reader): Window[] {
  const rows = transaction.delete(heldWindows).where(isNotNull(heldWindows.ordinal)).returning().all();
  return rows.flatMap(({ windows }) => {
    const text = inflateRawSync(windows).toString('utf8');
    return parseJson(Stored, text, 'windows that are held', 'integrity').map((window) => ({
      ...window,
      recovered: true,
    }));
  });
}
