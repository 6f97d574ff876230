import { pino } from 'pino';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { onError } from '../http/problem.ts';
import { createRouter } from '../http/router.ts';
import { openTelemetry } from '../telemetry/telemetry-fixture.ts';
import { alertOf } from './alerts/alert-fixture.ts';
import { type AlertRecord, createAlertStore } from './alerts/alert-store.ts';
import { openMonitoring } from './monitoring-fixture.ts';
import { monitoringRoutes } from './routes.ts';

const log = pino({ level: 'silent' });
let room: ReturnType<typeof openTelemetry>;
let app: ReturnType<typeof createRouter>;

beforeEach(() => {
  room = openTelemetry();
  const { monitoring } = openMonitoring(room, {
    notify: ({ type, id, state }) => room.events.push(`${type} ${id} ${state}`),
  });
  app = createRouter();
  app.use(async (c, next) => {
    c.set('actor', { name: 'key:test', role: c.req.header('role') === 'viewer' ? 'viewer' : 'operator' });
    await next();
  });
  app.onError(onError(log));
  app.route('/', monitoringRoutes(monitoring));
});
afterEach(() => room.close());

async function call(method: string, path: string, { body, role = 'operator' }: { body?: unknown; role?: string } = {}) {
  const response = await app.request(path, {
    method,
    headers: { 'content-type': 'application/json', role },
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
  });
  const answer: unknown = await response.json();
  return { status: response.status, answer };
}
async function created(path: string, body: unknown): Promise<string> {
  const { status, answer } = await call('POST', path, { body });
  expect(status).toBe(201);
  return String(Object(answer).id);
}
async function audited(): Promise<string[]> {
  const rows = await room.database.read.select().from(room.database.tables.audit);
  return rows.map(({ actor, action }) => `${actor} ${action}`);
}

const drift = { kind: 'drift', model: 'm' };
const hook = { name: 'ops', kind: 'webhook', url: 'https://example.com/hook?token=secret' };

async function insert(...alerts: AlertRecord[]): Promise<void> {
  const alertStore = createAlertStore(room.database);
  await room.database.transact(async (tx) => {
    for (const alert of alerts) await alertStore.insertAlert(tx, alert);
  });
}

test('a rule is created with defaults, listed, changed and deleted, each change in the audit log', async () => {
  const id = await created('/alert-rules', drift);
  expect((await call('GET', '/alert-rules')).answer).toMatchObject({
    items: [{ id, spec: { ...drift, enabled: true, windowSeconds: 3600, minSamples: 300, falseDiscoveryRate: 0.01 } }],
  });
  const changed = await call('PUT', `/alert-rules/${id}`, { body: { ...drift, minPsi: 0.3 } });
  expect(changed.answer).toMatchObject({ spec: { minPsi: 0.3 } });
  expect((await call('DELETE', `/alert-rules/${id}`)).status).toBe(200);
  expect((await call('GET', '/alert-rules')).answer).toEqual({ items: [] });
  expect((await call('DELETE', `/alert-rules/${id}`)).status).toBe(404);
  expect(await audited()).toEqual(['create', 'replace', 'delete'].map((action) => `key:test alert_rule.${action}`));
});

test('what a rule cannot be is refused by name', async () => {
  const id = await created('/alert-rules', drift);
  const accuracy = await call('PUT', `/alert-rules/${id}`, { body: { kind: 'accuracy', model: 'm' } });
  expect(accuracy).toMatchObject({
    status: 409,
    answer: { detail: expect.stringMatching(/kind and model of a rule cannot change/) },
  });
  const channel = await call('POST', '/alert-rules', { body: { ...drift, channels: ['nobody'] } });
  expect(channel).toMatchObject({
    status: 400,
    answer: { detail: expect.stringMatching(/channels: there is no channel "nobody"/) },
  });
  const misspelt = await call('POST', '/alert-rules', { body: { ...drift, minPSI: 1 } });
  expect(misspelt).toMatchObject({ status: 400, answer: { detail: expect.stringMatching(/minPSI/) } });
  expect((await call('POST', '/alert-rules', { body: drift, role: 'viewer' })).status).toBe(403);
});

test('deleting or disabling a rule ends its open alerts', async () => {
  const id = await created('/alert-rules', drift);
  await insert(alertOf('1', { ruleId: id }), alertOf('2', { ruleId: id, version: 2 }), alertOf('3'));
  await call('PUT', `/alert-rules/${id}`, { body: { ...drift, enabled: false } });
  expect((await call('GET', '/alerts?status=resolved')).answer).toMatchObject({
    items: [
      { id: '2', summary: 's', resolution: { kind: 'rule_disabled', summary: 'the rule was disabled' } },
      { id: '1', summary: 's', resolution: { kind: 'rule_disabled', summary: 'the rule was disabled' } },
    ],
  });
});

test('alerts are listed newest first in pages, acknowledged and silenced', async () => {
  await insert(...['1', '2', '3'].map((id) => alertOf(id)), alertOf('4', { model: 'other' }));
  const first = await call('GET', '/alerts?model=m&limit=2');
  expect(first.answer).toMatchObject({ items: [{ id: '3' }, { id: '2' }] });
  const second = await call('GET', `/alerts?model=m&limit=2&cursor=${Object(first.answer).nextCursor}`);
  expect(second.answer).toEqual({ items: [expect.objectContaining({ id: '1' })] });
  expect((await call('POST', '/alerts/1/ack')).answer).toMatchObject({ acknowledgedBy: 'key:test' });
  const silenced = await call('POST', '/alerts/1/silence', { body: { seconds: 60 } });
  expect(silenced.answer).toMatchObject({ silencedUntil: room.clock.at + 60_000 });
  expect((await call('POST', '/alerts/9/ack')).status).toBe(404);
  expect(await audited()).toEqual(['key:test alert.ack', 'key:test alert.silence']);
  expect(room.events).toContain('alert 1 firing');
});

test('a channel in use stays, and its secret stays out of the audit log', async () => {
  const id = await created('/channels', hook);
  expect((await call('POST', '/channels', { body: hook })).status).toBe(409);
  expect((await call('POST', '/channels', { body: { ...hook, name: 'x', url: 'file:///etc' } })).status).toBe(400);
  const rule = await created('/alert-rules', { ...drift, channels: ['ops'] });
  expect(await call('DELETE', `/channels/${id}`)).toMatchObject({
    status: 409,
    answer: { detail: expect.stringContaining(rule) },
  });
  await call('DELETE', `/alert-rules/${rule}`);
  expect((await call('DELETE', `/channels/${id}`)).status).toBe(200);
  const rows = await room.database.read.select().from(room.database.tables.audit);
  expect(JSON.stringify(rows)).not.toContain('secret');
});

test('a channel shows its secret once and its password never, and signs with two secrets after a change', async () => {
  const url = 'https://ann:word@hooks.example/x';
  const { answer } = await call('POST', '/channels', { body: { ...hook, url } });
  expect(answer).toMatchObject({ secret: expect.stringMatching(/^whsec_/), url: 'https://***@hooks.example/x' });
  const id = String(Object(answer).id);
  const listed = JSON.stringify((await call('GET', '/channels')).answer);
  expect(listed).toContain('***@hooks.example');
  expect(listed).not.toMatch(/whsec_|word/);
  const rotated = await call('POST', `/channels/${id}/rotate`);
  expect(Object(rotated.answer).secret).not.toBe(Object(answer).secret);
  const [row] = await room.database.read.select().from(room.database.tables.notificationChannels);
  expect(row).toMatchObject({ secret: Object(rotated.answer).secret, previousSecret: Object(answer).secret });
  expect((await call('POST', '/channels/none/rotate')).status).toBe(404);
});

test('a channel to a private address is refused by name of field and variable', async () => {
  for (const url of ['http://169.254.169.254/latest', 'http://localhost:9/', 'http://[::1]/', 'http://0x7f.1/']) {
    const refused = await call('POST', '/channels', { body: { ...hook, url } });
    expect(refused).toMatchObject({
      status: 422,
      answer: { code: 'destination_refused', detail: expect.stringMatching(/^body\.url: .*EDGELOOP_WEBHOOK_ALLOW/) },
    });
  }
});
