// `Idempotency-Key`: a write that is sent again because its answer got lost is answered as the first time, and not done
// twice. Only successes are kept; a write that failed changed nothing and may be tried again with the same key.
// https://datatracker.ietf.org/doc/html/draft-ietf-httpapi-idempotency-key-header
import { AppError } from '@edgeloop/shared/errors';
import { sha256 } from '@edgeloop/shared/node/digests';
import type { Context, MiddlewareHandler } from 'hono';
import type { Logger } from 'pino';
import type { Database } from '../database/open.ts';
import { createIdempotencyStore, type IdempotencyId, type IdempotencyRow } from './idempotency-store.ts';
import type { Env } from './router.ts';

const keptMs = 86_400_000;
const maxKeyLength = 200;
const writes = ['POST', 'PUT', 'PATCH', 'DELETE'];

export function idempotency({
  database,
  now,
  log,
}: {
  database: Database;
  now: () => number;
  log: Logger;
}): MiddlewareHandler<Env> {
  const store = createIdempotencyStore(database);
  /** Claims of this process that are still being worked on; a claim of an earlier one was cut off. */
  const working = new Set<string>();
  /** Claims of requests that failed, which could not be given back: they hold nobody up. */
  const failed = new Set<string>();

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

  async function giveBack(id: IdempotencyId, claim: string): Promise<void> {
    failed.add(claim);
    await store.release(id);
    failed.delete(claim);
  }

  /** What was done is done, also when this cannot be noted: then the key tells a second request to look. */
  async function keepAnswer(c: Context<Env>, id: IdempotencyId): Promise<void> {
    const answer = { status: c.res.status, body: await c.res.clone().text() };
    await store
      .answer(id, answer)
      .catch((err: unknown) => log.warn({ err }, 'an answer could not be kept for its Idempotency-Key'));
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
    if (failed.has(claim)) await giveBack(id, claim);
    const present = await store.claim({ ...id, request, status: null, body: null, createdAt }, createdAt - keptMs);
    if (present !== undefined) return replay(c, present, request, claim);
    working.add(claim);
    try {
      await next();
      if (c.res.ok) await keepAnswer(c, id);
      else
        await giveBack(id, claim).catch((err: unknown) =>
          log.warn({ err }, 'an Idempotency-Key could not be given back'),
        );
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
