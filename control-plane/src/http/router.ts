// What every room's routes are built with: one description per route, from which come validation, the role check and
// the OpenAPI document.

import type { Role } from '@edgeloop/shared/api/access';
import { AppError, fieldErrors, Problem, parse } from '@edgeloop/shared/errors';
import { createRoute, OpenAPIHono, type RouteConfig, z } from '@hono/zod-openapi';
import type { Context, MiddlewareHandler } from 'hono';

/** Who is asking: `key:NAME`. */
interface Actor {
  name: string;
  role: Role;
}
/** Also by which key: what outlives the request ends when that is revoked. */
export interface KeyHolder extends Actor {
  keyId: string;
}
export interface Env {
  /** `traceparent`: of the request's own span, where it is traced. */
  Variables: { actor: Actor; keyId: string; traceparent?: string };
}
export type Router = OpenAPIHono<Env>;

export function createRouter(): Router {
  return new OpenAPIHono<Env>({
    defaultHook: (result) => {
      if (result.success) return;
      const errors = fieldErrors(result.error, result.target === 'json' ? 'body' : result.target);
      const first = errors[0];
      throw new AppError(
        'invalid_request',
        first === undefined ? 'the request is invalid' : `${first.field}: ${first.message}`,
        { errors },
      );
    },
  });
}

interface Description {
  method: 'get' | 'post' | 'put' | 'patch' | 'delete';
  /** Below `/api/v1`, parameters in braces. */
  path: string;
  summary: string;
  tag: string;
  /** The least role that may call it. */
  role: Role;
  status: 200 | 201 | 202;
  response: z.ZodType;
}

/** A route that answers JSON. `request` holds zod schemas for `params` and `query`, and `body` as `jsonBody` makes it. */
export function describeRoute<const D extends Description, const Q extends NonNullable<RouteConfig['request']>>(
  description: D,
  request: Q,
) {
  const { method, path, summary, tag, role, status, response } = description;
  const answers = {
    [status]: { description: summary, content: { 'application/json': { schema: response } } },
    default: {
      description: 'What went wrong, as problem details (RFC 9457)',
      content: { 'application/problem+json': { schema: Problem } },
    },
  } as { [S in D['status']]: { description: string; content: { 'application/json': { schema: D['response'] } } } };
  return createRoute<D['path'], RouteOf<D, Q>>({
    method,
    path,
    summary,
    tags: [tag],
    security: [{ apiKey: [] }],
    middleware: requireRole(role),
    request,
    responses: answers,
  });
}

type RouteOf<D extends Description, Q> = {
  method: D['method'];
  path: D['path'];
  summary: string;
  tags: string[];
  security: { apiKey: string[] }[];
  middleware: MiddlewareHandler<Env>;
  request: Q;
  responses: {
    [S in D['status']]: { description: string; content: { 'application/json': { schema: D['response'] } } };
  };
};

type RawRoute = RouteConfig & { middleware: MiddlewareHandler<Env>; getRoutingPath(): string };

/** A route for `mountRaw` that answers in other forms than JSON, or in several: `answers` by content type. */
export function describeRawRoute(
  { answers, ...description }: Omit<Description, 'response'> & { answers: Record<string, z.ZodType> },
  request: NonNullable<RouteConfig['request']>,
): RawRoute {
  const route = describeRoute({ ...description, response: z.unknown() }, request);
  const content = Object.fromEntries(Object.entries(answers).map(([type, schema]) => [type, { schema }]));
  const responses = { ...route.responses, [description.status]: { description: description.summary, content } };
  return createRoute({ ...route, responses });
}

/** A required JSON body. */
export function jsonBody<S extends z.ZodType>(schema: S) {
  return { required: true, content: { 'application/json': { schema } } } as const;
}

const rank = { viewer: 0, operator: 1, admin: 2 } as const satisfies Record<Role, number>;

function requireRole(role: Role): MiddlewareHandler<Env> {
  return async (c, next) => {
    if (rank[c.var.actor.role] < rank[role]) {
      throw new AppError(
        'forbidden',
        `this needs the role ${role}; your key "${c.var.actor.name}" has the role ${c.var.actor.role}`,
      );
    }
    await next();
  };
}

/**
 * Mounts a handler that reads or answers something else than JSON: the description makes the OpenAPI entry and the role
 * check; the handler parses what it takes itself.
 */
export function mountRaw(router: Router, route: RawRoute, handler: (c: Context<Env>) => Promise<Response>): void {
  router.openAPIRegistry.registerPath(route);
  router.on(route.method, [route.getRoutingPath()], route.middleware, handler);
}

/** A path parameter of a raw route, checked. */
export function pathParameter<S extends z.ZodType>(c: Context<Env>, name: string, schema: S): z.output<S> {
  return parse(schema, c.req.param(name), name);
}

/** The query of a raw route, checked: what comes several times is a list. */
export function queryParameters<S extends z.ZodType>(c: Context<Env>, schema: S): z.output<S> {
  const given = Object.entries(c.req.queries()).map(([name, values]) => [
    name,
    values.length === 1 ? values[0] : values,
  ]);
  return parse(schema, Object.fromEntries(given), 'query');
}
