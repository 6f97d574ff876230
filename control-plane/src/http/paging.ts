// Opaque cursors of lists: where the next page goes on, as base64url JSON that only the list that made it understands.

import type { Page } from '@edgeloop/shared/api/paging';
import { AppError } from '@edgeloop/shared/errors';
import type { z } from 'zod';

export function encodeCursor(value: unknown): string {
  return Buffer.from(JSON.stringify(value)).toString('base64url');
}

/**
 * What `encodeCursor` was given; undefined for the first page.
 * @throws AppError `invalid_request` when the text was not made by the same list
 */
export function decodeCursor<S extends z.ZodType>(schema: S, text: string | undefined): z.output<S> | undefined {
  if (text === undefined) return undefined;
  const result = schema.safeParse(jsonOf(text));
  if (result.success) return result.data;
  throw new AppError('invalid_request', 'cursor: was not made by this list; leave it out to begin again');
}

/** A page out of `limit + 1` rows: the row too many only says that there is a next page. */
export function toPage<T>(rows: T[], limit: number, cursorOf: (last: T) => unknown): Page<T> {
  const items = rows.slice(0, limit);
  const last = items.at(-1);
  return rows.length > limit && last !== undefined ? { items, nextCursor: encodeCursor(cursorOf(last)) } : { items };
}

function jsonOf(text: string): unknown {
  try {
    return JSON.parse(Buffer.from(text, 'base64url').toString('utf8'));
  } catch {
    return undefined; // The schema refuses it, with the list's own message.
  }
}
