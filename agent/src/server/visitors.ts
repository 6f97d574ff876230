// Which web pages may talk to this port. A browser lets every page send requests here, to load and unload models for
// example; it tells whose page it is. Software that is no browser sends neither Origin nor Sec-Fetch-Site, and goes on.
import type { IncomingMessage } from 'node:http';
import type { Socket } from 'node:net';
import { AppError } from '@edgeloop/shared/errors';
import { hostNameOf, isPrivateName } from '@edgeloop/shared/origins';
import { pagePaths } from './page/page.ts';

export interface VisitorRules {
  /** Origins whose pages may ask models; `*` is every one. */
  allowOrigins: readonly string[];
  /** Names of this machine, beside those that nobody can bring into public DNS; `*` is every one. */
  hosts: readonly string[];
}

/**
 * The origin of another's page that was allowed by name; undefined when no other's page asks.
 * @throws AppError `forbidden`
 */
export type VisitorCheck = (visit: Visit, path: string) => string | undefined;

/** What is looked at of a request. */
export type Visit = Pick<IncomingMessage, 'method' | 'headers'> & { socket: Pick<Socket, 'localAddress'> };

/** A header of any length is in the refusal, and in no cache. */
const shownLength = 200;
const rememberedHosts = 64;

export function createVisitorCheck({ allowOrigins, hosts }: VisitorRules): VisitorCheck {
  const named = new Set(allowOrigins);
  const own = new Set(hosts.map((host) => hostNameOf(host) ?? host));
  // Headers as they came, of which there are few: callers use the same again and again.
  const remembered = new Set<string>();

  const isOurs = (host: string): boolean => {
    if (remembered.has(host)) return true;
    const name = hostNameOf(host);
    if (name === undefined || !(own.has(name) || own.has('*') || isPrivateName(name))) return false;
    if (remembered.size < rememberedHosts && host.length <= shownLength) remembered.add(host);
    return true;
  };

  return (request, path) => {
    const { origin, host } = request.headers;
    const site = request.headers['sec-fetch-site'];
    if (origin !== undefined && !isSame(origin, host)) {
      if (!named.has(origin) && !named.has('*')) throw ofAnotherOrigin(origin);
      return origin;
    }
    if (site !== undefined && site !== 'same-origin' && site !== 'none' && !opensPage(request, path)) {
      throw ofAnotherOrigin(undefined);
    }
    // HTTP/1.0 needs no name; and no page reaches a Unix socket, the one kind without an address.
    if (host && !isOurs(host) && request.socket.localAddress !== undefined) throw ofUnknownName(host);
    return undefined;
  };
}

/** Whether the page came from this very port. A proxy before it may speak TLS, so the scheme says nothing. */
function isSame(origin: string, host: string | undefined): boolean {
  if (host === undefined) return false;
  const [scheme, authority] = origin.split('://');
  return authority === host || `${authority}:${scheme === 'https' ? 443 : 80}` === host;
}

/** A person follows a link to our page, which holds no data, and which no other page can look into. */
function opensPage({ method, headers }: Visit, path: string): boolean {
  const isDocument = headers['sec-fetch-mode'] === 'navigate' && headers['sec-fetch-dest'] === 'document';
  return method === 'GET' && isDocument && pagePaths.includes(path);
}

function ofAnotherOrigin(origin: string | undefined): AppError {
  const page = origin === undefined ? 'a page of another site' : `a page of "${shown(origin)}"`;
  return new AppError('forbidden', `${page} may not use this agent; EDGELOOP_ALLOW_ORIGINS names who may ask models`);
}

function ofUnknownName(host: string): AppError {
  const why = `the host "${shown(host)}" is not known to be this agent`;
  return new AppError('forbidden', `${why}; EDGELOOP_ALLOW_HOSTS says by which names it is reached`);
}

function shown(header: string): string {
  return header.slice(0, shownLength);
}
