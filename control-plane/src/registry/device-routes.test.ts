import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Hono } from 'hono';
import pino from 'pino';
import { afterAll, describe, expect, it } from 'vitest';
import { createFolderBlobs } from '../blobs/folder.ts';
import type { DeviceEnv } from '../http/device-router.ts';
import { onError } from '../http/problem.ts';
import { parseRange } from './blob-response.ts';
import { registryDeviceRoutes } from './device-routes.ts';

const folder = mkdtempSync(join(tmpdir(), 'device-blobs-'));
afterAll(() => rmSync(folder, { recursive: true }));

describe('the blobs of the device port', () => {
  it('are given, also in ranges, to devices that should run them, and to no others', async () => {
    const blobs = createFolderBlobs(folder);
    const digest = await blobs.put(Buffer.from('0123456789'));
    const secret = await blobs.put(Buffer.from('of another release'));
    const shadowed = await blobs.put(Buffer.from('of what runs beside it'));
    const beside = { version: 5, release: shadowed, signature: '', rolloutId: '', mode: 'shadow' as const };
    const assignment = { version: 4, release: digest, signature: '', rolloutId: '', beside };
    const releases = new Map([
      [4, digest],
      [5, shadowed],
      [6, secret],
    ]);
    const app = new Hono<DeviceEnv>();
    app.use(async (c, next) => {
      c.set('device', { id: c.req.header('X-Device') ?? '', serial: '' });
      await next();
    });
    const routes = registryDeviceRoutes({
      blobs,
      registry: { releaseBlobs: async (name, version) => (name === 'net' ? [releases.get(version) ?? ''] : []) },
      fleet: { desiredModels: async (id) => new Map(id === 'a' ? [['net', assignment]] : []) },
    });
    app.route('/device/v1', routes);
    app.onError(onError(pino({ level: 'silent' })));
    const get = (device: string, blob: string, headers = {}) =>
      app.request(`/device/v1/blobs/${blob}`, { headers: { 'X-Device': device, ...headers } });
    expect(await (await get('a', digest)).text()).toBe('0123456789');
    const rest = await get('a', digest, { Range: 'bytes=4-', 'If-Range': `"${digest}"` });
    expect([rest.status, await rest.text()]).toEqual([206, '456789']);
    expect((await get('a', digest, { Range: 'bytes=4-', 'If-Range': '"other"' })).status).toBe(200);
    expect(await (await get('a', shadowed)).text()).toBe('of what runs beside it');
    expect((await get('b', shadowed)).status).toBe(403);
    expect((await get('b', digest)).status).toBe(403);
    expect((await get('a', secret)).status).toBe(403);
    expect((await get('a', '../../etc/passwd')).status).toBe(404);
  });
});

describe('a byte range', () => {
  it.each([
    [undefined, 'whole'],
    ['bytes=0-', { start: 0, end: 9 }],
    ['bytes=2-3', { start: 2, end: 3 }],
    ['bytes=2-300', { start: 2, end: 9 }],
    ['bytes=-3', { start: 7, end: 9 }],
    ['bytes=-30', { start: 0, end: 9 }],
    ['bytes=10-', 'unsatisfiable'],
    ['bytes=-0', 'unsatisfiable'],
    ['bytes=3-2', 'whole'],
    ['bytes=-', 'whole'],
    ['bytes=0-1,4-5', 'whole'],
    ['lines=1-2', 'whole'],
  ])('%s of ten bytes', (header, expected) => {
    expect(parseRange(header, 10)).toEqual(expected);
  });
});
