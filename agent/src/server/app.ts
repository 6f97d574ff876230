// All of the agent's local HTTP but inference and prediction, which `front.ts` answers: which path goes to whom.
import { AppError } from '@edgeloop/shared/errors';
import { type Context, Hono, type MiddlewareHandler } from 'hono';
import { requireToken, type TokenCheck } from './access.ts';
import type { DeviceFigures } from './device-figures.ts';
import { errorReply, responseOf } from './errors.ts';
import { type FeedbackChannel, handleFeedback } from './feedback.ts';
import { type HoldChannel, handleHold } from './hold.ts';
import type { Arrivals } from './known-models.ts';
import type { ServingMetrics } from './metrics.ts';
import { handleConfig, handleModel, handleModelReady } from './models.ts';
import type { Neighbours } from './neighbours.ts';
import { notOffered } from './not-offered.ts';
import type { Observer } from './observation.ts';
import { handlePage, pagePaths } from './page/page.ts';
import { handleDescription, handleModels } from './predict/describe.ts';
import { handleIndex, handleLoad, handleUnload, type RepositoryChannel, type RepositoryIndex } from './repository.ts';
import type { RequestLog } from './request-log.ts';
import type { Sequences } from './sequences.ts';
import { handleLogging, handleTrace } from './settings.ts';
import type { Shadows } from './shadows.ts';
import { handleStats } from './statistics.ts';
import { traceparentOf } from './trace-context.ts';
import type { VisitorCheck } from './visitors.ts';

export interface AppDeps extends RepositoryIndex {
  observer: Observer;
  /** For callers of models that come in a moment. */
  arrivals: Arrivals;
  sequences: Sequences;
  /** Versions that run in the shadow of what answers. */
  shadows: Shadows;
  /** Undefined where this is the only serving process. */
  neighbours: Neighbours | undefined;
  figures: DeviceFigures;
  /** Monotonic clock in milliseconds. */
  nowMs(): number;
  metrics: ServingMetrics;
  feedback: FeedbackChannel;
  hold: HoldChannel;
  repository: RepositoryChannel;
  /** Where models are put that come with a load request; undefined when none may. */
  overridesDir: string | undefined;
  /** Everything that was active before is active again. */
  isReady(): boolean;
  agentVersion: string;
  /** Name that `GET /v2` tells. */
  serverName: string;
  checkToken: TokenCheck;
  /** Asked of every request before all else. */
  checkVisitor: VisitorCheck;
  logLevel: string;
  /** Undefined when nobody reads it. */
  log: RequestLog | undefined;
  /** An error that is no caller's doing. */
  onUnexpected(error: unknown): void;
}

type Place = [method: 'GET' | 'POST' | 'PUT' | 'DELETE', path: string];
type Route = [...Place, handle: (c: Context) => Response | Promise<Response>];

const modelPaths = ['/v2/models/:model', '/v2/models/:model/versions/:version'];
const predictPaths = ['/predict/:model', '/predict/:model/versions/:version'];

/** What never comes here, since the front answers it; other methods are told of it. */
const answeredBefore: readonly Place[] = [
  ...modelPaths.map((path): Place => ['POST', `${path}/infer`]),
  ...predictPaths.map((path): Place => ['POST', path]),
];

/** Feed it with requests through `fetch`. */
export function createApp(deps: AppDeps): Hono {
  const app = new Hono();
  app.use(traced(deps));
  app.use(requireToken(deps.checkToken));
  for (const [path, message] of notOffered) {
    app.all(path, () => {
      throw new AppError('unsupported', message);
    });
  }
  const routes = [...probes(deps), ...protocol(deps), ...own(deps)];
  for (const [method, path, handle] of routes) app.on(method, path, handle);
  for (const [path, methods] of methodsOf([...answeredBefore, ...routes])) {
    app.all(path, (c) => {
      // The path was spelled as no client does, so that the front did not know it.
      if (methods.includes(c.req.method)) return c.notFound();
      c.header('Allow', methods.join(', '));
      const message = `${c.req.method} is not allowed on ${c.req.path}; use ${methods.join(' or ')}`;
      throw new AppError('method_not_allowed', message);
    });
  }
  app.notFound((c) => c.json({ error: `nothing is at ${c.req.method} ${c.req.path}` }, 404));
  app.onError((error, c) => {
    const { status, headers, body } = errorReply(error, deps.onUnexpected);
    // Headers that were set on the way, such as Allow, stay.
    const response = responseOf({ status, headers, body });
    c.res.headers.forEach((value, name) => {
      if (!response.headers.has(name)) response.headers.set(name, value);
    });
    return response;
  });
  return app;
}

/** Paths in the order of the places, which is the order in which they match. */
function methodsOf(places: readonly [...Place, ...unknown[]][]): Map<string, string[]> {
  const methods = new Map<string, string[]>();
  for (const [method, path] of places) methods.set(path, [...(methods.get(path) ?? []), method]);
  return methods;
}

/** Passes the caller's trace context through, and writes the request down. */
function traced({ log, nowMs }: AppDeps): MiddlewareHandler {
  return async (c, next) => {
    const startedMs = nowMs();
    const traceparent = traceparentOf(c.req.header('traceparent'));
    await next();
    if (traceparent !== undefined) c.header('traceparent', traceparent);
    log?.({ method: c.req.method, path: c.req.path, status: c.res.status, ms: nowMs() - startedMs, traceparent });
  };
}

function probes(deps: AppDeps): Route[] {
  const ready = (c: Context): Response => {
    const isReady = deps.isReady();
    return c.json(isReady ? { ready: true } : { ready: false, error: 'models are loading' }, isReady ? 200 : 503);
  };
  const metrics = async (c: Context): Promise<Response> => {
    const { text, contentType } = await deps.metrics.expose();
    return c.body(text, 200, { 'content-type': contentType });
  };
  return [
    ['GET', '/healthz', (c) => c.json({ live: true })],
    ['GET', '/readyz', ready],
    ['GET', '/metrics', metrics],
    ['GET', '/v2/health/live', (c) => c.json({ live: true })],
    ['GET', '/v2/health/ready', ready],
  ];
}

/** Named as in Triton's protocol extensions. */
export const extensions = [
  'classification',
  'model_repository',
  'schedule_policy',
  'model_configuration',
  'binary_tensor_data',
  'parameters',
  'statistics',
];

function protocol(deps: AppDeps): Route[] {
  const { engine, repository } = deps;
  const trace = (c: Context): Promise<Response> => handleTrace(c, engine);
  const logging = (c: Context): Promise<Response> => handleLogging(c, deps.logLevel);
  return [
    ['GET', '/v2', (c) => c.json({ name: deps.serverName, version: deps.agentVersion, extensions })],
    ['GET', '/v2/', (c) => c.json({ name: deps.serverName, version: deps.agentVersion, extensions })],
    ['GET', '/v2/models/stats', (c) => handleStats(c, deps)],
    ...ofModel(deps),
    ['POST', '/v2/repository/index', (c) => handleIndex(c, deps)],
    ['POST', '/v2/repository/models/:model/load', (c) => handleLoad(c, repository, deps.overridesDir)],
    ['POST', '/v2/repository/models/:model/unload', (c) => handleUnload(c, repository)],
    ['GET', '/v2/trace/setting', trace],
    ['POST', '/v2/trace/setting', trace],
    ['GET', '/v2/models/:model/trace/setting', trace],
    ['POST', '/v2/models/:model/trace/setting', trace],
    ['GET', '/v2/logging', logging],
    ['POST', '/v2/logging', logging],
  ];
}

function ofModel(deps: AppDeps): Route[] {
  const { engine } = deps;
  return modelPaths.flatMap((path): Route[] => [
    ['GET', path, (c) => handleModel(c, engine)],
    ['GET', `${path}/ready`, (c) => handleModelReady(c, engine)],
    ['GET', `${path}/config`, (c) => handleConfig(c, engine)],
    ['GET', `${path}/stats`, (c) => handleStats(c, deps)],
  ]);
}

function own(deps: AppDeps): Route[] {
  return [
    ['GET', '/predict', (c) => handleModels(c, deps)],
    ...predictPaths.map((path): Route => ['GET', path, (c) => handleDescription(c, deps)]),
    ...pagePaths.map((path): Route => ['GET', path, handlePage]),
    ['POST', '/feedback/:id', (c) => handleFeedback(c, deps.feedback)],
    ['GET', '/hold', (c) => handleHold(c, deps.hold)],
    ['PUT', '/hold', (c) => handleHold(c, deps.hold)],
    ['DELETE', '/hold', (c) => handleHold(c, deps.hold)],
  ];
}
