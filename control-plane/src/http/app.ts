// The operators' port: the API behind keys, what machines look at, the reference, and the dashboard.
import { AppError, messageOf } from '@edgeloop/shared/errors';
import { type Context, Hono, type MiddlewareHandler } from 'hono';
import type { Logger } from 'pino';
import type { Database } from '../database/open.ts';
import { limitBody } from './body-limit.ts';
import { onlyUnderOurNames } from './browser-names.ts';
import { dashboard } from './dashboard.ts';
import { idempotency } from './idempotency.ts';
import type { Metrics } from './metrics.ts';
import { addReference } from './openapi.ts';
import { onError, onNotFound } from './problem.ts';
import { createRouter, type Env, type KeyHolder, type Router } from './router.ts';

export interface AppDeps {
  /** The rooms' routes, relative to `/api/v1`. */
  rooms: Router[];
  /** Who holds this API key; undefined when nobody does. */
  authenticate: (secret: string) => Promise<KeyHolder | undefined>;
  database: Database;
  metrics: Metrics;
  /** Sees every request, for traces. */
  observe?: MiddlewareHandler<Env> | undefined;
  /** What has to work before requests are welcome, by name; each throws with the reason. */
  readiness: Record<string, () => Promise<void>>;
  /** Hears of every request that failed. */
  noteFailure?: (error: unknown) => unknown;
  /** Folder of the built web app. */
  dashboardDir: string;
  /** Names of this server. */
  hosts: readonly string[];
  version: string;
  now: () => number;
  log: Logger;
}

const maxJsonBytes = 1024 * 1024;

export function createApp(deps: AppDeps): Hono<Env> {
  const api = createRouter();
  api.use(requireKey(deps.authenticate));
  api.use(jsonOnly());
  api.use(idempotency(deps));
  for (const room of deps.rooms) api.route('/', room);

  const app = new Hono<Env>();
  app.onError(onError(deps.log, deps.noteFailure));
  app.notFound(onNotFound);
  app.use(deps.metrics.observe());
  if (deps.observe !== undefined) app.use(deps.observe);
  addProbes(app, deps);
  addReference(app, api, deps.version);
  app.route('/api/v1', api);
  app.all('/api/*', (c) => {
    throw unmatched(c, api);
  });
  app.use(dashboard(deps.dashboardDir));
  return app;
}

function requireKey(authenticate: AppDeps['authenticate']): MiddlewareHandler<Env> {
  return async (c, next) => {
    const secret = /^Bearer +(\S+)$/i.exec(c.req.header('Authorization') ?? '')?.[1];
    if (secret === undefined)
      throw new AppError('unauthorized', 'send an API key: "Authorization: Bearer KEY"; the first one is in admin.key');
    const actor = await authenticate(secret);
    if (actor === undefined) throw new AppError('unauthorized', 'this API key is not known or was revoked');
    c.set('actor', actor);
    c.set('keyId', actor.keyId);
    await next();
  };
}

/** Bodies are JSON of bounded size. Multipart bodies are bounded by the route that streams them. */
function jsonOnly(): MiddlewareHandler<Env> {
  const limited = limitBody(maxJsonBytes);
  return (c, next) => {
    const type = c.req.header('Content-Type') ?? '';
    if (type.startsWith('multipart/form-data')) return next();
    const hasBody = Number(c.req.header('Content-Length') ?? 0) > 0 || c.req.header('Transfer-Encoding') !== undefined;
    if (hasBody && !/^application\/(\S+\+)?json\b/.test(type))
      throw new AppError('unsupported_media_type', 'send the body as JSON, with "Content-Type: application/json"');
    return limited(c, next);
  };
}

function addProbes(app: Hono<Env>, { hosts, readiness, metrics, log }: AppDeps): void {
  const underOurNames = onlyUnderOurNames(hosts);
  app.get('/healthz', (c) => c.json({ status: 'alive' }, 200));
  let said = '';
  app.get('/readyz', underOurNames, async (c) => {
    const failed: Record<string, string> = {};
    for (const [name, check] of Object.entries(readiness)) {
      await check().catch((error: unknown) => {
        failed[name] = messageOf(error);
      });
    }
    const ready = Object.keys(failed).length === 0;
    const news = JSON.stringify(failed);
    if (!ready && news !== said) log.warn({ failed }, 'not ready');
    said = news;
    return c.json({ status: ready ? 'ready' : 'not ready', failed }, ready ? 200 : 503);
  });
  app.get('/metrics', underOurNames, async (c) => {
    const { text, contentType } = await metrics.scrape();
    return c.body(text, 200, { 'Content-Type': contentType });
  });
}

/** Tells a path that does not exist from a method that the path does not have. */
function unmatched(c: Context<Env>, api: Router): AppError {
  const path = c.req.path.replace(/^\/api\/v1/, '');
  const methods = new Set(
    api.routes.filter((route) => route.method !== 'ALL' && fits(route.path, path)).map((route) => route.method),
  );
  if (methods.size === 0) return new AppError('not_found', `there is nothing at ${c.req.path}; see /docs`);
  const allowed = [...methods].sort().join(', ');
  c.header('Allow', allowed);
  return new AppError('method_not_allowed', `${c.req.path} does not take ${c.req.method}; it takes ${allowed}`);
}

function fits(pattern: string, path: string): boolean {
  const expected = pattern.split('/');
  const given = path.split('/');
  return expected.length === given.length && expected.every((part, i) => part === given[i] || part.startsWith(':'));
}
