import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { CreatedApiKey } from '@edgeloop/shared/api/access';
import { AppError, Problem } from '@edgeloop/shared/errors';
import { eq } from 'drizzle-orm';
import type { Hono } from 'hono';
import { pino } from 'pino';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { z } from 'zod';
import { createJoinTokens } from '../access/join-tokens.ts';
import { openKeyRing } from '../access/key-ring.ts';
import { createKeys } from '../access/keys.ts';
import { createReleaseKeys } from '../access/release-keys.ts';
import { accessRoutes } from '../access/routes.ts';
import { openSqlite } from '../database/open.ts';
import { createApp } from './app.ts';
import { createMetrics } from './metrics.ts';
import { createRouter, describeRoute, type Env, jsonBody } from './router.ts';

const dir = mkdtempSync(join(tmpdir(), 'edgeloop-app-'));
const database = openSqlite(join(dir, 'app.db'));
const log = pino({ level: 'silent' });
const now = Date.now;
const keys = createKeys({ database, now, revoked: () => undefined, log });
const joinTokens = createJoinTokens({
  database,
  now,
  reachable: () => ({ hosts: ['localhost'], port: 1, caDigest: '0'.repeat(64) }),
});

const made: string[] = [];
const gate: { wait: Promise<void>; fail: boolean } = { wait: Promise.resolve(), fail: false };

/** A room that counts how often its work was really done. */
function things() {
  const router = createRouter();
  const create = describeRoute(
    {
      method: 'post',
      path: '/things',
      summary: 'Make a thing',
      tag: 'Things',
      role: 'operator',
      status: 201,
      response: z.object({ name: z.string(), number: z.number() }),
    },
    { body: jsonBody(z.strictObject({ name: z.string().min(1) })) },
  );
  router.openapi(create, async (c) => {
    await gate.wait;
    if (gate.fail) throw new AppError('unavailable', 'not now');
    const { name } = c.req.valid('json');
    made.push(name);
    return c.json({ name, number: made.length }, 201);
  });
  return router;
}

let app: Hono<Env>;
const secrets = { admin: '', operator: '', viewer: '' };

beforeAll(async () => {
  mkdirSync(join(dir, 'dashboard', 'assets'), { recursive: true });
  writeFileSync(join(dir, 'dashboard', 'index.html'), '<title>page</title>');
  writeFileSync(join(dir, 'dashboard', 'assets', 'main-abc.js'), 'let a;');
  writeFileSync(join(dir, 'secret.txt'), 'secret');
  const ring = await openKeyRing(dir);
  const releaseKeys = createReleaseKeys({
    ...{ ring, database, now: Date.now, changed: async () => undefined },
    serials: async () => new Map(),
  });
  app = createApp({
    rooms: [things(), accessRoutes({ database, keys, joinTokens, releaseKeys })],
    authenticate: keys.authenticate,
    database,
    metrics: createMetrics(),
    readiness: {
      database: () => database.ping(),
      broker: () => Promise.reject(new AppError('unavailable', 'asleep')),
    },
    dashboardDir: join(dir, 'dashboard'),
    hosts: ['edgeloop.example'],
    version: '1.2.3',
    now,
    log,
  });
  for (const role of ['admin', 'operator', 'viewer'] as const)
    secrets[role] = (await keys.create('system', { name: `the ${role}`, role })).key;
});
afterAll(async () => {
  await database.close();
  rmSync(dir, { recursive: true, force: true });
});

interface Call {
  as?: keyof typeof secrets;
  body?: unknown;
  headers?: Record<string, string>;
}

function call(method: string, path: string, { as = 'admin', body, headers = {} }: Call = {}) {
  return app.request(`/api/v1${path}`, {
    method,
    headers: { authorization: `Bearer ${secrets[as]}`, 'content-type': 'application/json', ...headers },
    ...(body === undefined ? {} : { body: typeof body === 'string' ? body : JSON.stringify(body) }),
  });
}

async function problem(response: Response): Promise<Problem> {
  expect(response.headers.get('content-type')).toBe('application/problem+json');
  const parsed = Problem.parse(await response.json());
  expect(parsed.status).toBe(response.status);
  return parsed;
}

describe('who may call', () => {
  it('asks for a key, and says so in the header that HTTP has for it', async () => {
    const response = await app.request('/api/v1/keys');
    expect(response.headers.get('www-authenticate')).toMatch(/^Bearer/);
    expect((await problem(response)).code).toBe('unauthorized');
  });

  it('refuses a wrong key', async () => {
    const response = await call('GET', '/keys', { headers: { authorization: 'Bearer el_wrong' } });
    expect((await problem(response)).status).toBe(401);
  });

  it('refuses a role that is too low, naming the one that is needed', async () => {
    const refused = await problem(await call('POST', '/things', { as: 'viewer', body: { name: 'a' } }));
    expect(refused.status).toBe(403);
    expect(refused.detail).toContain('operator');
    expect((await call('GET', '/keys', { as: 'operator' })).status).toBe(403);
    expect((await call('GET', '/audit', { as: 'viewer' })).status).toBe(200);
  });

  it('refuses a key from the moment it is revoked, and never gives up the last admin key', async () => {
    const created = CreatedApiKey.parse(
      await (await call('POST', '/keys', { body: { name: 'short', role: 'operator' } })).json(),
    );
    const asShort = { headers: { authorization: `Bearer ${created.key}` } };
    expect((await call('GET', '/audit', asShort)).status).toBe(200);
    expect((await call('DELETE', `/keys/${created.id}`)).status).toBe(200);
    expect((await call('GET', '/audit', asShort)).status).toBe(401);
    const listed = z
      .object({ items: z.array(z.object({ id: z.string(), role: z.string() })) })
      .parse(await (await call('GET', '/keys')).json());
    const admin = listed.items.find((key) => key.role === 'admin');
    expect((await problem(await call('DELETE', `/keys/${admin?.id}`))).code).toBe('conflict');
  });

  it('writes keys to the audit log without their secret', async () => {
    const text = await (await call('GET', '/audit?limit=1000')).text();
    expect(text).toContain('key.create');
    for (const secret of Object.values(secrets)) expect(text).not.toContain(secret);
  });
});

describe('problems', () => {
  it('tells an unknown path from a wrong method', async () => {
    expect((await problem(await call('GET', '/nothing'))).status).toBe(404);
    const response = await call('PUT', '/things', { body: {} });
    expect(response.headers.get('allow')).toBe('POST');
    expect((await problem(response)).code).toBe('method_not_allowed');
  });

  it('names the field that is wrong', async () => {
    const refused = await problem(await call('POST', '/things', { body: { name: '' } }));
    expect(refused.status).toBe(400);
    expect(refused.errors?.[0]?.field).toBe('body.name');
  });

  it('answers malformed JSON as the caller’s mistake', async () => {
    expect((await problem(await call('POST', '/things', { body: '{"name":' }))).code).toBe('invalid_request');
  });

  it('says how to send a body that is not JSON', async () => {
    const headers = { 'content-type': 'application/x-www-form-urlencoded', 'content-length': '6' };
    expect((await problem(await call('POST', '/things', { body: 'name=a', headers }))).status).toBe(415);
  });

  it('refuses a body that is too large, also one that does not announce its size', async () => {
    const huge = JSON.stringify({ name: 'x'.repeat(1024 * 1024 + 1) });
    const announced = await call('POST', '/things', { body: huge, headers: { 'content-length': `${huge.length}` } });
    expect((await problem(announced)).code).toBe('payload_too_large');
    const chunked = await call('POST', '/things', { body: huge, headers: { 'transfer-encoding': 'chunked' } });
    expect((await problem(chunked)).status).toBe(413);
  });

  it('refuses a cursor that it did not make', async () => {
    expect((await problem(await call('GET', '/keys?cursor=abc'))).detail).toContain('cursor');
  });
});

describe('Idempotency-Key', () => {
  const post = (key: string, name: string, as: keyof typeof secrets = 'operator') =>
    call('POST', '/things', { as, body: { name }, headers: { 'idempotency-key': key } });

  it('answers a repeated write as the first time without doing it again', async () => {
    const first = await post('k1', 'once');
    const second = await post('k1', 'once');
    expect([first.status, second.status]).toEqual([201, 201]);
    expect(await second.text()).toBe(await first.text());
    expect(second.headers.get('idempotency-replayed')).toBe('true');
    expect(made.filter((name) => name === 'once')).toHaveLength(1);
  });

  it('refuses the same key for another request, but not for another caller', async () => {
    await post('k2', 'mine');
    expect((await problem(await post('k2', 'other'))).code).toBe('conflict');
    expect((await post('k2', 'other', 'admin')).status).toBe(201);
  });

  it('refuses a repetition while the first is being worked on', async () => {
    let open = () => {};
    gate.wait = new Promise((resolve) => {
      open = resolve;
    });
    const first = post('k3', 'slow');
    const claimed = eq(database.tables.idempotencyKeys.key, 'k3');
    await expect
      .poll(() => database.read.$count(database.tables.idempotencyKeys, claimed), { timeout: 15_000 })
      .toBe(1);
    const second = await problem(await post('k3', 'slow'));
    expect(second.detail).toContain('still being worked on');
    open();
    expect((await first).status).toBe(201);
  });

  it('lets a write that failed be tried again', async () => {
    gate.fail = true;
    expect((await post('k4', 'again')).status).toBe(503);
    gate.fail = false;
    expect((await post('k4', 'again')).status).toBe(201);
  });
});

describe('beside the API', () => {
  it('is alive, and ready only when everything works', async () => {
    expect((await app.request('/healthz')).status).toBe(200);
    const ready = await app.request('/readyz');
    expect(ready.status).toBe(503);
    expect(await ready.json()).toEqual({ status: 'not ready', failed: { broker: 'asleep' } });
  });

  it('describes every route in OpenAPI 3.1', async () => {
    const document = z
      .object({
        openapi: z.string(),
        info: z.object({ version: z.string() }),
        paths: z.record(z.string(), z.unknown()),
      })
      .parse(await (await app.request('/openapi.json')).json());
    expect(document.openapi).toBe('3.1.0');
    expect(document.info.version).toBe('1.2.3');
    expect(Object.keys(document.paths)).toEqual(
      expect.arrayContaining(['/things', '/keys', '/keys/{id}', '/join-tokens', '/audit']),
    );
  });

  it('counts requests by route, not by path', async () => {
    await call('DELETE', '/keys/some-id-that-is-not-there');
    const text = await (await app.request('/metrics')).text();
    expect(text).toContain('route="/api/v1/things"');
    expect(text).not.toContain('some-id-that-is-not-there');
  });

  it('serves the reference and its parts from here', async () => {
    const page = await (await app.request('/docs')).text();
    const sources = [...page.matchAll(/(?:src|href)="([^"]+)"/g)].map((match) => match[1] ?? '');
    expect(sources.length).toBeGreaterThan(2);
    for (const source of sources) expect((await app.request(source)).status).toBe(200);
  });

  it('serves the page for every path of the dashboard, assets for ever, and nothing outside its folder', async () => {
    const page = await app.request('/rollouts/7');
    expect(await page.text()).toContain('page');
    expect(page.headers.get('content-security-policy')).toContain("script-src 'self'");
    expect((await app.request('/assets/main-abc.js')).headers.get('cache-control')).toContain('immutable');
    expect((await app.request('/assets/gone.js')).status).toBe(404);
    for (const path of ['/..%2fsecret.txt', '/%2e%2e/secret.txt', '/assets/..%2f..%2fsecret.txt'])
      expect(await (await app.request(path)).text()).not.toBe('secret');
    expect((await app.request('/api/v2/x')).headers.get('content-type')).toBe('application/problem+json');
  });
});

describe('what needs no key', () => {
  it('is given to a browser under our names only', async () => {
    const get = async (path: string, host: string) =>
      (await app.request(path, { headers: { host, 'accept-language': 'en' } })).status;
    expect([await get('/metrics', 'evil.example'), await get('/readyz', 'evil.example')]).toEqual([403, 403]);
    expect([await get('/metrics', 'edgeloop.example'), await get('/readyz', 'localhost')]).toEqual([200, 503]);
  });
});
