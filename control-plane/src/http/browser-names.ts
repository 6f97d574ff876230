// Probes and metrics need no key, so a browser gets them only under a name that is ours: whoever brings a name of his own to
// point at this port (DNS rebinding) has pages that count as ours and read what needs no key. Programs get them under any
// name, since proxies have names that nobody told us. All else is behind a key, which such a page does not have.
import { AppError } from '@edgeloop/shared/errors';
import { hostNameOf, isPrivateName } from '@edgeloop/shared/origins';
import type { MiddlewareHandler } from 'hono';
import type { Env } from './router.ts';

/** `names`: of this server, beside those that nobody can bring into public DNS. */
export function onlyUnderOurNames(names: readonly string[]): MiddlewareHandler<Env> {
  const ours = new Set(names.map((name) => hostNameOf(name) ?? name));
  return async (c, next) => {
    const host = c.req.header('Host');
    if (host && isBrowser(c.req.header('Accept-Language'))) {
      const name = hostNameOf(host);
      if (name === undefined || !(isPrivateName(name) || ours.has(name)))
        throw new AppError('forbidden', `"${host}" is not known to be this server; EDGELOOP_PUBLIC_HOST has its names`);
    }
    await next();
  };
}

/** Every browser says what its person reads, and no page can take that away; a page can change what `User-Agent` says. */
function isBrowser(acceptLanguage: string | undefined): boolean {
  return acceptLanguage !== undefined;
}
