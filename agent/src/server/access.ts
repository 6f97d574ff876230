// Optional bearer token of local callers.
import { createHash, timingSafeEqual } from 'node:crypto';
import { AppError } from '@edgeloop/shared/errors';
import type { MiddlewareHandler } from 'hono';
import { pagePaths } from './page/page.ts';

/** Probes don't carry tokens, and the test page is where people enter theirs. */
const open = new Set(['/healthz', '/readyz', ...pagePaths]);

/** Throws `unauthorized` for requests without the token. */
export type TokenCheck = (authorization: string | undefined, path: string) => void;

/** A check against `token`; without one everybody is let in. */
export function createTokenCheck(token: string | undefined): TokenCheck {
  if (token === undefined) return () => undefined;
  // Hashes have one length, so comparing them says nothing about the token.
  const expected = digest(`Bearer ${token}`);
  return (authorization, path) => {
    if (!open.has(path) && !timingSafeEqual(digest(authorization ?? ''), expected)) {
      throw new AppError('unauthorized', 'send the agent token: Authorization: Bearer TOKEN');
    }
  };
}

/** The check as hono takes it. */
export function requireToken(check: TokenCheck): MiddlewareHandler {
  return async (c, next) => {
    check(c.req.header('authorization'), c.req.path);
    await next();
  };
}

function digest(text: string): Buffer {
  return createHash('sha256').update(text).digest();
}
