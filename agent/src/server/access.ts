// Who may do what on the local port: tokens of local callers, each with its rights and perhaps a bound on its rate. Without
// any token everybody on this machine may do everything.
import { createHash, timingSafeEqual } from 'node:crypto';
import { AppError } from '@edgeloop/shared/errors';
import type { MiddlewareHandler } from 'hono';
import type { LocalToken, Right } from '../process/ipc.ts';
import { createRate, type Rate } from '../process/rate.ts';
import { pagePaths } from './page/page.ts';

/** Probes don't carry tokens, and the test page is where people enter theirs. */
const open = new Set(['/healthz', '/readyz', ...pagePaths]);

/**
 * Throws `unauthorized` for requests without a token, `forbidden` for those whose token lacks the right, and
 * `too_many_requests` for those that come too fast. `right`: undefined for what only reads, which every token may. A promise where
 * the rate is counted elsewhere: it is to be waited for, and rejects with the last of these.
 */
export type TokenCheck = (
  authorization: string | undefined,
  path: string,
  right: Right | undefined,
) => Promise<void> | undefined;

export interface TokenCheckOptions {
  tokens: readonly LocalToken[];
  /** Monotonic clock in milliseconds. */
  nowMs(): number;
  /** Where the rate of a token is counted with that of other processes; here when unset. 0, or the seconds to wait. */
  takeElsewhere?: ((name: string) => Promise<number>) | undefined;
}

interface Caller {
  name: string;
  digest: Buffer;
  rights: ReadonlySet<Right>;
  rate: { perSecond: number; own: Rate } | undefined;
}

/** A check against these tokens; without any, everybody is let in. */
export function createTokenCheck({ tokens, nowMs, takeElsewhere }: TokenCheckOptions): TokenCheck {
  if (tokens.length === 0) return () => undefined;
  const callers = tokens.map(
    ({ name, sha256, rights, perSecond, burst }): Caller => ({
      name,
      digest: Buffer.from(sha256, 'hex'),
      rights: new Set(rights),
      rate: perSecond === undefined ? undefined : { perSecond, own: createRate({ perSecond, burst }, nowMs) },
    }),
  );
  return (authorization, path, right) => {
    if (open.has(path)) return undefined;
    const caller = callerOf(callers, authorization);
    if (caller === undefined) throw new AppError('unauthorized', 'send the agent token: Authorization: Bearer TOKEN');
    if (right !== undefined && !caller.rights.has(right)) throw lacks(caller, right);
    const { name, rate } = caller;
    if (rate === undefined) return undefined;
    if (takeElsewhere) return takeElsewhere(name).then((waitSeconds) => refuseUnlessTaken(waitSeconds, name, rate));
    refuseUnlessTaken(rate.own.take(), name, rate);
    return undefined;
  };
}

function refuseUnlessTaken(retryAfterSeconds: number, name: string, { perSecond }: { perSecond: number }): void {
  if (retryAfterSeconds === 0) return;
  const message = `the token "${name}" may send ${perSecond} requests a second; try again in ${retryAfterSeconds} s`;
  throw new AppError('too_many_requests', message, { retryAfterSeconds });
}

/** All are compared, whichever it is, and hashes have one length: how long it takes says nothing about any token. */
function callerOf(callers: readonly Caller[], authorization = ''): Caller | undefined {
  const given = createHash('sha256')
    .update(authorization.replace(/^bearer /i, ''))
    .digest();
  let found: Caller | undefined;
  for (const caller of callers) if (timingSafeEqual(given, caller.digest)) found = caller;
  return /^bearer /i.test(authorization) ? found : undefined;
}

const deeds: Record<Right, string> = {
  infer: 'ask models',
  feedback: 'report labels',
  repository: 'load and unload models',
  hold: 'hold back other versions',
};

function lacks({ name, rights }: Caller, right: Right): AppError {
  const has = rights.size === 0 ? 'none' : [...rights].join(', ');
  return new AppError(
    'forbidden',
    `the token "${name}" may not ${deeds[right]}: it lacks the right "${right}" (it has ${has})`,
  );
}

/** The check as hono takes it. */
export function requireToken(check: TokenCheck): MiddlewareHandler {
  return async (c, next) => {
    await check(c.req.header('authorization'), c.req.path, rightFor(c.req.method, c.req.path));
    await next();
  };
}

/** What the app's own routes need, all of which begin so. */
function rightFor(method: string, path: string): Right | undefined {
  if (path === '/hold') return method === 'GET' ? undefined : 'hold';
  if (method !== 'POST') return undefined;
  if (path.startsWith('/feedback/')) return 'feedback';
  return path.startsWith('/v2/repository/models/') ? 'repository' : undefined;
}
