// The agent's local HTTP: which path goes to whom.
import { AppError } from '@edgeloop/shared/errors';
import { type Context, Hono } from 'hono';
import { requireToken } from './access.ts';
import type { CallDeps } from './call.ts';
import { answerError } from './errors.ts';
import { type FeedbackChannel, handleFeedback } from './feedback.ts';
import { handleInfer } from './infer.ts';
import type { ServingMetrics } from './metrics.ts';
import { handleModel, handleModelReady, handleRepositoryIndex, handleStats } from './models.ts';
import { handlePredict } from './predict.ts';

export interface AppDeps extends CallDeps {
  metrics: ServingMetrics;
  feedback: FeedbackChannel;
  /** Everything that was active before is active again. */
  isReady(): boolean;
  agentVersion: string;
  token: string | undefined;
  /** An error that is no caller's doing. */
  onUnexpected(error: unknown): void;
}

type Route = [method: 'GET' | 'POST', path: string, handle: (c: Context) => Response | Promise<Response>];

/** The whole app; feed it with requests through `fetch`. */
export function createApp(deps: AppDeps): Hono {
  const app = new Hono();
  if (deps.token !== undefined) app.use(requireToken(deps.token));
  const routes = [...probes(deps), ...protocol(deps), ...own(deps)];
  for (const [method, path, handle] of routes) app.on(method, path, handle);
  for (const [method, path] of routes) {
    app.all(path, (c) => {
      c.header('Allow', method);
      throw new AppError('method_not_allowed', `${c.req.method} is not allowed on ${c.req.path}; use ${method}`);
    });
  }
  app.notFound((c) => c.json({ error: `nothing is at ${c.req.method} ${c.req.path}` }, 404));
  app.onError((error, c) => answerError(c, error, deps.onUnexpected));
  return app;
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

function protocol(deps: AppDeps): Route[] {
  const extensions = ['model_repository(index)', 'statistics'];
  const unsupported = (c: Context): Response => {
    throw new AppError('unsupported', `${c.req.path} is not supported; models come from the fleet or the model folder`);
  };
  const ofModel = ['/v2/models/:model', '/v2/models/:model/versions/:version'].flatMap((path): Route[] => [
    ['GET', path, (c) => handleModel(c, deps)],
    ['GET', `${path}/ready`, (c) => handleModelReady(c, deps)],
    ['GET', `${path}/stats`, (c) => handleStats(c, deps)],
    ['POST', `${path}/infer`, (c) => handleInfer(c, deps)],
  ]);
  return [
    ['GET', '/v2', (c) => c.json({ name: 'edgeloop-agent', version: deps.agentVersion, extensions })],
    ['GET', '/v2/models/stats', (c) => handleStats(c, deps)],
    ...ofModel,
    ['POST', '/v2/repository/index', (c) => handleRepositoryIndex(c, deps)],
    ['POST', '/v2/repository/models/:model/load', unsupported],
    ['POST', '/v2/repository/models/:model/unload', unsupported],
  ];
}

function own(deps: AppDeps): Route[] {
  return [
    ['POST', '/predict/:model', (c) => handlePredict(c, deps)],
    ['POST', '/feedback/:id', (c) => handleFeedback(c, deps.feedback)],
  ];
}
