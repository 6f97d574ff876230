// Routes of API keys, join tokens and the audit log.
import {
  ApiKey,
  ApiKeyCreate,
  AuditEntry,
  AuditQuery,
  CreatedApiKey,
  CreatedJoinToken,
  JoinToken,
  JoinTokenCreate,
  Me,
  ReleaseKey,
  ReleaseKeyAdd,
  ReleaseKeys,
  RetiredReleaseKey,
} from '@edgeloop/shared/api/access';
import { PageQuery, pageOf } from '@edgeloop/shared/api/paging';
import { z } from 'zod';
import type { Database } from '../database/open.ts';
import { createRouter, describeRoute, jsonBody, type Router } from '../http/router.ts';
import { auditPage } from './audit.ts';
import type { JoinTokens } from './join-tokens.ts';
import type { Keys } from './keys.ts';
import type { ReleaseKeys as Ring } from './release-keys.ts';

const Id = z.object({ id: z.string().max(100) });
const admin = { role: 'admin', tag: 'Access' } as const;

const routes = {
  me: describeRoute(
    { ...admin, role: 'viewer', method: 'get', path: '/me', summary: 'Whose key this is', status: 200, response: Me },
    {},
  ),
  listKeys: describeRoute(
    { ...admin, method: 'get', path: '/keys', summary: 'List API keys', status: 200, response: pageOf(ApiKey) },
    { query: PageQuery },
  ),
  createKey: describeRoute(
    { ...admin, method: 'post', path: '/keys', summary: 'Create an API key', status: 201, response: CreatedApiKey },
    { body: jsonBody(ApiKeyCreate) },
  ),
  revokeKey: describeRoute(
    { ...admin, method: 'delete', path: '/keys/{id}', summary: 'Revoke an API key', status: 200, response: ApiKey },
    { params: Id },
  ),
  listJoinTokens: describeRoute(
    {
      ...admin,
      method: 'get',
      path: '/join-tokens',
      summary: 'List join tokens, newest first',
      status: 200,
      response: pageOf(JoinToken),
    },
    { query: PageQuery },
  ),
  revokeJoinToken: describeRoute(
    {
      ...admin,
      method: 'delete',
      path: '/join-tokens/{id}',
      summary: 'Revoke a join token: nobody joins with it any more',
      status: 200,
      response: JoinToken,
    },
    { params: Id },
  ),
  createJoinToken: describeRoute(
    {
      ...admin,
      method: 'post',
      path: '/join-tokens',
      summary: 'Create a join token',
      status: 201,
      response: CreatedJoinToken,
    },
    { body: jsonBody(JoinTokenCreate) },
  ),
  listReleaseKeys: describeRoute(
    {
      ...admin,
      role: 'viewer',
      method: 'get',
      path: '/release-keys',
      summary: 'The keys that devices trust',
      status: 200,
      response: ReleaseKeys,
    },
    {},
  ),
  addReleaseKey: describeRoute(
    {
      ...admin,
      method: 'post',
      path: '/release-keys',
      summary: 'Trust another key: a new one, which signs from now on, or a given one',
      status: 201,
      response: ReleaseKey,
    },
    { body: jsonBody(ReleaseKeyAdd) },
  ),
  retireReleaseKey: describeRoute(
    {
      ...admin,
      method: 'delete',
      path: '/release-keys/{id}',
      summary: 'Retire a key: devices trust it no more, once they have heard of it',
      status: 200,
      response: RetiredReleaseKey,
    },
    { params: Id },
  ),
  audit: describeRoute(
    {
      ...admin,
      role: 'viewer',
      method: 'get',
      path: '/audit',
      summary: 'Every change',
      status: 200,
      response: pageOf(AuditEntry),
    },
    { query: PageQuery.extend(AuditQuery.shape) },
  ),
};

export interface AccessRoutesDeps {
  database: Database;
  keys: Keys;
  joinTokens: JoinTokens;
  releaseKeys: Ring;
}

export function accessRoutes({ database, keys, joinTokens, releaseKeys }: AccessRoutesDeps): Router {
  const router = createRouter();
  router.openapi(routes.me, (c) => c.json({ name: c.var.actor.name, role: c.var.actor.role }, 200));
  router.openapi(routes.listKeys, async (c) => c.json(await keys.list(c.req.valid('query')), 200));
  router.openapi(routes.createKey, async (c) => c.json(await keys.create(c.var.actor.name, c.req.valid('json')), 201));
  router.openapi(routes.revokeKey, async (c) =>
    c.json(await keys.revoke(c.var.actor.name, c.req.valid('param').id), 200),
  );
  router.openapi(routes.listJoinTokens, async (c) => c.json(await joinTokens.list(c.req.valid('query')), 200));
  router.openapi(routes.revokeJoinToken, async (c) =>
    c.json(await joinTokens.revoke(c.var.actor.name, c.req.valid('param').id), 200),
  );
  router.openapi(routes.createJoinToken, async (c) =>
    c.json(await joinTokens.create(c.var.actor.name, c.req.valid('json')), 201),
  );
  router.openapi(routes.listReleaseKeys, async (c) => c.json(await releaseKeys.list(), 200));
  router.openapi(routes.addReleaseKey, async (c) =>
    c.json(await releaseKeys.add(c.var.actor.name, c.req.valid('json')), 201),
  );
  router.openapi(routes.retireReleaseKey, async (c) =>
    c.json(await releaseKeys.retire(c.var.actor.name, c.req.valid('param').id), 200),
  );
  router.openapi(routes.audit, async (c) => c.json(await auditPage(database, c.req.valid('query')), 200));
  return router;
}
