// Optional bearer token of local callers.
import { createHash, timingSafeEqual } from 'node:crypto';
import { AppError } from '@edgeloop/shared/errors';
import type { MiddlewareHandler } from 'hono';

/** Probes don't carry tokens. */
const open = new Set(['/healthz', '/readyz']);

/** Throws `unauthorized` for requests without the token. */
export function requireToken(token: string): MiddlewareHandler {
  // Hashes have one length, so comparing them says nothing about the token.
  const expected = digest(`Bearer ${token}`);
  return async (c, next) => {
    const given = digest(c.req.header('authorization') ?? '');
    if (!open.has(c.req.path) && !timingSafeEqual(given, expected)) {
      throw new AppError('unauthorized', 'send the agent token: Authorization: Bearer TOKEN');
    }
    await next();
  };
}

function digest(text: string): Buffer {
  return createHash('sha256').update(text).digest();
}
