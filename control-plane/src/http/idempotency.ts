// `Idempotency-Key`: a write that is sent again because its answer got lost is answered as the first time, and not done
// twice. Only successes are kept; a write that failed changed nothing and may be tried again with the same key.
// https://datatracker.ietf.org/doc/html/draft-ietf-httpapi-idempotency-key-header
import { AppError } from '@edgeloop/shared/errors';
import { sha256 } from '@edgeloop/shared/node/digests';
import type { Context, MiddlewareHandler } from 'hono';
import type { Database } from '../database/open.ts';
import { createIdempotencyStore, type IdempotencyRow } from './idempotency-store.ts';
import type { Env } from './router.ts';

const keptMs = 86_400_000;
const maxKeyLength = 200;
const writes = ['POST', 'PUT', 'PATCH', 'DELETE'];

export function idempotency({ database, now }: { database: Database; now: () => number }): MiddlewareHandler<Env> {
  const store = createIdempotencyStore(database);
  /** Claims of this process that are still being worked on; a claim of an earlier one was cut off. */
  const working = new Set<string>();

  function replay(c: Context<Env>, present: IdempotencyRow, request: string, claim: string): Response {
    if (present.request !== request)
      throw new AppError('conflict', 'this Idempotency-Key was used for another request; use a new key');
    if (present.status !== null)
      return c.body(present.body ?? '', toStatus(present.status), {
        'Content-Type': 'application/json',
        'Idempotency-Replayed': 'true',
      });
    if (working.has(claim))
      throw new AppError('conflict', 'the first request with this Idempotency-Key is still being worked on', {
        retryAfterSeconds: 1,
      });
    throw new AppError(
      'conflict',
      'the first request with this Idempotency-Key was cut off by a restart; look whether it took effect, and use a new key',
    );
  }

  return async (c, next) => {
    const key = c.req.header('Idempotency-Key');
    if (key === undefined || !writes.includes(c.req.method)) return next();
    if (key.length === 0 || key.length > maxKeyLength)
      throw new AppError('invalid_request', `Idempotency-Key must have 1 to ${maxKeyLength} characters`);
    const actor = c.var.actor.name;
    const id = { actor, key };
    const claim = `${actor}\n${key}`;
    const request = await requestHash(c);
    const createdAt = now();
    const present = await store.claim({ ...id, request, status: null, body: null, createdAt }, createdAt - keptMs);
    if (present !== undefined) return replay(c, present, request, claim);
    working.add(claim);
    try {
      await next();
      if (c.res.ok) await store.answer(id, { status: c.res.status, body: await c.res.clone().text() });
      else await store.release(id);
    } finally {
      working.delete(claim);
    }
  };
}

/** Of a multipart body only kind and length count: its boundary differs each time, and it is too large to keep. */
async function requestHash(c: Context<Env>): Promise<string> {
  const type = (c.req.header('Content-Type') ?? '').split(';')[0] ?? '';
  const body = type.startsWith('multipart/') ? (c.req.header('Content-Length') ?? '') : await c.req.text();
  const { pathname, search } = new URL(c.req.url);
  return sha256(`${c.req.method}\n${pathname}${search}\n${type}\n${body}`);
}

function toStatus(status: number): 200 | 201 | 202 {
  return status === 201 || status === 202 ? status : 200;
}
