import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { connect as connectTls } from 'node:tls';
import { gzipSync } from 'node:zlib';
import { ApiKey, CreatedApiKey, CreatedJoinToken } from '@edgeloop/shared/api/access';
import { DatasetVersion } from '@edgeloop/shared/api/data';
import { Device, MalformedMessages } from '@edgeloop/shared/api/devices';
import { MetricResult } from '@edgeloop/shared/api/metrics';
import { Rollout } from '@edgeloop/shared/api/rollouts';
import { decodeJoinToken } from '@edgeloop/shared/join-token';
import type { EnrolResponse } from '@edgeloop/shared/messages';
import { TelemetryAck } from '@edgeloop/shared/telemetry';
import { maxPayloadBytes, topicOf } from '@edgeloop/shared/topics';
import type { MqttClient } from 'mqtt';
import { pino } from 'pino';
import { afterAll, beforeAll, expect, it } from 'vitest';
import type { z } from 'zod';
import { sideBySide } from '../../../test/support/onnx-models.ts';
import { complaintsOf } from '../../../test/support/promtool.ts';
import { promtool } from '../../../test/support/requirements.ts';
import { until } from '../../../test/support/until.ts';
import { openAuthority } from '../access/authority.ts';
import { readConfig } from '../config.ts';
import {
  ask,
  connectDevice,
  createDeviceKey,
  type DeviceKey,
  enrolOver,
  facts,
  tryToConnect,
} from '../fleet/device-fixture.ts';

import { type ControlPlane, startControlPlane } from './control-plane.ts';

const dataDir = mkdtempSync(join(tmpdir(), 'edgeloop-server-'));
const config = readConfig({
  EDGELOOP_DATA_DIR: dataDir,
  EDGELOOP_HTTP_PORT: '0',
  EDGELOOP_DEVICE_HOST: '127.0.0.1',
  EDGELOOP_DEVICE_PORT: '0',
  EDGELOOP_MQTT_PORT: '0',
});
const log = pino({ level: 'silent' });
const tool = promtool();
const soon = { timeout: 30_000, interval: 20 };

let server: ControlPlane;
let ca: string;
let key: string;
const sessions: MqttClient[] = [];

beforeAll(async () => {
  server = await startControlPlane({ config, log });
  key = readFileSync(join(dataDir, 'admin.key'), 'utf8').trim();
  ca =
    /-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/.exec(
      readFileSync(join(dataDir, 'ca.pem'), 'utf8'),
    )?.[0] ?? '';
});
afterAll(async () => {
  for (const session of sessions) session.end(true);
  await server.close(AbortSignal.timeout(10_000));
  rmSync(dataDir, { recursive: true, force: true });
});

async function api<S extends z.ZodType>(method: string, path: string, schema: S, body?: unknown): Promise<z.output<S>> {
  const response = await fetch(`${server.url}/api/v1${path}`, {
    method,
    headers: { authorization: `Bearer ${key}`, 'content-type': 'application/json' },
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
  });
  return schema.parse(await response.json());
}
const device = (id: string) => api('GET', `/devices/${id}`, Device);

async function giveVersion(model: string, version: number, selector: string): Promise<void> {
  const plan = { waves: [{ percent: 100 }], bakeSeconds: 0, gates: { minRequests: 0 }, selector };
  await api('POST', '/rollouts', Rollout, { model, version, ...plan });
}

interface Joined {
  enrolled: EnrolResponse;
  key: DeviceKey;
}

async function enrolDevice(deviceId: string, labels: Record<string, string> = {}): Promise<Joined> {
  const { token } = await api('POST', '/join-tokens', CreatedJoinToken, {});
  const { secret, port } = decodeJoinToken(token);
  const deviceKey = await createDeviceKey();
  return { enrolled: await enrolOver(port, ca, { secret, deviceId, key: deviceKey, labels }), key: deviceKey };
}

async function connect({ enrolled, key: deviceKey }: Joined, clientId = enrolled.deviceId): Promise<MqttClient> {
  const will = {
    topic: topicOf(enrolled.deviceId, 'presence'),
    payload: Buffer.from(JSON.stringify({ status: 'offline', session: 's1' })),
    qos: 1 as const,
    retain: true,
  };
  const session = await connectDevice(enrolled, deviceKey, { clientId, will });
  session.on('error', () => undefined);
  sessions.push(session);
  return session;
}

const say = (session: MqttClient, id: string, channel: 'presence' | 'reported', body: unknown) =>
  session.publishAsync(topicOf(id, channel), JSON.stringify(body), { qos: 1, retain: true });

const closed = (session: MqttClient) => new Promise<void>((resolve) => session.once('close', () => resolve()));

it('keeps its secrets to the owner of the data folder', () => {
  for (const name of ['admin.key', 'ca.pem', 'fleet.key', 'server.pem'])
    expect(statSync(join(dataDir, name)).mode & 0o777).toBe(0o600);
});

it('refuses a second server on the same data folder', async () => {
  await expect(startControlPlane({ config, log })).rejects.toMatchObject({ code: 'conflict' });
});

it('takes a device from join token to online', async () => {
  const joined = await enrolDevice('cam-1');
  expect(joined.enrolled.caCertificate.trim()).toBe(ca.trim());
  const session = await connect(joined);
  const desired = new Promise<string>((resolve) =>
    session.once('message', (topic, payload) => resolve(`${topic} ${payload.toString()}`)),
  );
  await session.subscribeAsync(topicOf('cam-1', 'desired'), { qos: 1 });
  const [topic = '', ...message] = (await desired).split(' ');
  expect(topic).toBe(topicOf('cam-1', 'desired'));
  expect(JSON.parse(message.join(' '))).toMatchObject({ generation: 0, models: [], order: expect.anything() });
  await say(session, 'cam-1', 'presence', { status: 'online', session: 's1' });
  await say(session, 'cam-1', 'reported', {
    ...{ generation: 0, models: [], facts, startedAt: 1, reportedAt: 2, unknownKey: 'tolerated' },
    outbox: { pendingItems: 3, pendingBytes: 9, droppedItems: 0 },
  });
  await expect.poll(() => device('cam-1'), soon).toMatchObject({ status: 'online', outbox: { pendingItems: 3 } });
  session.end(true);
  await expect.poll(async () => (await device('cam-1')).status, soon).toBe('offline');
});

it('counts a message that is not understood, and goes on', async () => {
  const session = await connect(await enrolDevice('babbler'));
  await session.publishAsync(topicOf('babbler', 'reported'), '{"generation":"many"}', { qos: 1 });
  await say(session, 'babbler', 'presence', { status: 'online', session: 's1' });
  await expect.poll(async () => (await device('babbler')).status, soon).toBe('online');
  const metrics = await (await fetch(`${server.url}/metrics`)).text();
  expect(metrics).toContain('edgeloop_device_messages_total{channel="reported",outcome="malformed"} 1');
});

it('acknowledges telemetry once it is stored, and counts what comes twice once', async () => {
  const session = await connect(await enrolDevice('meter'));
  const acks: unknown[] = [];
  session.on('message', (_topic, payload) => acks.push(JSON.parse(payload.toString())));
  await session.subscribeAsync(topicOf('meter', 'telemetry/ack'), { qos: 1 });
  const loss = { kind: 'loss', windows: 1, requests: 5, labels: 0 };
  const batch = JSON.stringify({ epoch: 1, items: [{ sequence: 1, item: loss }] });
  for (let i = 0; i < 2; i++) await session.publishAsync(topicOf('meter', 'telemetry'), batch, { qos: 1 });
  await expect
    .poll(() => acks, soon)
    .toEqual([
      { epoch: 1, sequence: 1, accepts: ['gzip'] },
      { epoch: 1, sequence: 1, accepts: ['gzip'] },
    ]);
  const lost = await api('GET', '/metrics/query?metric=lost&device=meter', MetricResult);
  expect(lost.series.map((series) => series.points.map((point) => point.value))).toEqual([[5]]);
});

it('takes compressed telemetry, and shows what of a device it did not understand', async () => {
  const session = await connect(await enrolDevice('mumbler'));
  const acks: number[] = [];
  session.on('message', (_topic, payload) => acks.push(TelemetryAck.parse(JSON.parse(payload.toString())).sequence));
  await session.subscribeAsync(topicOf('mumbler', 'telemetry/ack'), { qos: 1 });
  const loss = { kind: 'loss', windows: 1, requests: 5, labels: 0 };
  const batch = gzipSync(JSON.stringify({ epoch: 1, items: [{ sequence: 7, item: loss }] }));
  const bomb = gzipSync(Buffer.alloc(50_000_000));
  for (const payload of [bomb, Buffer.from('mumble'), batch])
    await session.publishAsync(topicOf('mumbler', 'telemetry'), payload, { qos: 1 });
  await expect.poll(() => acks, soon).toEqual([7]);
  const read = () => api('GET', '/devices/mumbler/malformed', MalformedMessages);
  await expect.poll(async () => (await read()).count, soon).toBe(2);
  const { items } = await read();
  expect(items.map(({ channel, bytes, head }) => [channel, bytes, head.slice(0, 8)])).toEqual([
    ['telemetry', 6, 'mumble'],
    ['telemetry', bomb.length, '\\x1f\\x8b'],
  ]);
  expect(items[1]?.reason).toContain('50000000 bytes unpacked');
  const unknown = await fetch(`${server.url}/api/v1/devices/nobody/malformed`, {
    headers: { authorization: `Bearer ${key}` },
  });
  expect(unknown.status).toBe(404);
});

it('makes datasets of whole rows from a model with features in two inputs', async () => {
  const { enrolled, key: deviceKey } = await enrolDevice('two-eyed', { eyes: 'two' });
  const model = new FormData();
  model.set('model', new Blob([Buffer.from(sideBySide())]), 'model.onnx');
  model.set(
    'manifest',
    JSON.stringify({ inputs: { wide: { features: ['width', 'height'] }, a: { features: ['age'] } } }),
  );
  const authorization = `Bearer ${key}`;
  const push = { method: 'POST', headers: { authorization }, body: model };
  expect((await fetch(`${server.url}/api/v1/models/eyes/versions`, push)).status).toBe(201);
  const sample = { inferenceId: 'i1', model: 'eyes', version: 1, predictedAt: 1, reason: 'rate', label: 'near' };
  const upload = (id: string) => ({
    ...{ method: 'POST', path: '/device/v1/captures', ca, cert: enrolled.certificate, key: deviceKey.keyPem },
    body: { samples: [{ ...sample, inferenceId: id, features: [1, 2, 3] }] },
  });
  const refused = await ask(server.ports.device, upload('before'));
  expect(refused.status).toBe(400);
  expect(refused.body).toContain('model \\"eyes\\" version 1: this device was never told to run it');
  await giveVersion('eyes', 1, 'eyes=two');
  await until('the version being desired', async () => (await device('two-eyed')).desired[0]);
  expect((await ask(server.ports.device, upload('after'))).status).toBe(200);
  expect((await device('two-eyed')).problems).toEqual([
    '1 samples of model eyes 1 count nowhere: of a version that it was never told to run',
  ]);
  expect(await (await fetch(`${server.url}/metrics`)).text()).toContain(
    'edgeloop_samples_refused_total{reason="never_assigned"} 1',
  );
  const built = await api('POST', '/datasets/seen/versions', DatasetVersion, { fromField: { model: 'eyes' } });
  expect(built).toMatchObject({ schema: { features: ['width', 'height', 'age'] }, dropped: {} });
  expect(built.rows.train + built.rows.validation + built.rows.test).toBe(1);
});

it('fences a device in below its own id', async () => {
  const joined = await enrolDevice('fenced');
  await enrolDevice('neighbour');
  const session = await connect(joined);
  for (const topic of [
    topicOf('neighbour', 'desired'),
    'edgeloop/v1/devices/+/desired',
    '#',
    topicOf('fenced', 'reported'),
  ])
    expect(await session.subscribeAsync(topic, { qos: 1 }).catch((error: unknown) => String(error))).toContain(
      'Unspecified error',
    );
  const cut = closed(session);
  session.publish(topicOf('neighbour', 'presence'), '{"status":"online","session":"x"}', { qos: 1 });
  await cut;
  expect((await device('neighbour')).status).toBe('never_connected');
  const again = await connect(joined);
  const cutAgain = closed(again);
  again.publish(topicOf('fenced', 'desired'), '{}', { qos: 1, retain: true });
  await cutAgain;
});

it('refuses another client id than the certificate’s, a foreign certificate, and none', async () => {
  const joined = await enrolDevice('honest');
  await enrolDevice('victim');
  await expect(connect(joined, 'victim')).rejects.toThrow('Not authorized');
  const elsewhere = mkdtempSync(join(tmpdir(), 'edgeloop-foreign-'));
  const foreign = await openAuthority({ dataDir: elsewhere, publicHosts: ['localhost'], now: Date.now });
  const { certificate } = await foreign.issue('honest', joined.key.csr);
  rmSync(elsewhere, { recursive: true });
  const asked = { method: 'POST', path: '/device/v1/renew', body: { csr: joined.key.csr }, ca };
  const forged = { cert: certificate, key: joined.key.keyPem };
  expect((await ask(server.ports.device, { ...asked, ...forged })).status).toBe(401);
  for (const credentials of [forged, {}]) expect(await tryToConnect(joined.enrolled, credentials)).toBe('closed');
  (await connect(joined)).end(true);
});

it('ends a session that sends a packet above the limit', async () => {
  const session = await connect(await enrolDevice('loud'));
  const cut = closed(session);
  session.publish(topicOf('loud', 'reported'), Buffer.alloc(maxPayloadBytes + 2048, 32), { qos: 1 });
  await cut;
});

it('ends the earlier session when the same device connects again', async () => {
  const joined = await enrolDevice('twice');
  const first = await connect(joined);
  const cut = closed(first);
  const second = await connect(joined);
  await cut;
  await say(second, 'twice', 'presence', { status: 'online', session: 's2' });
  await expect.poll(async () => (await device('twice')).status, soon).toBe('online');
});

it('asks for a certificate on the device port, and lets a device renew with its own', async () => {
  const { enrolled, key: deviceKey } = await enrolDevice('renewer');
  const renew = { method: 'POST', path: '/device/v1/renew', body: { csr: deviceKey.csr }, ca };
  expect((await ask(server.ports.device, renew)).status).toBe(401);
  const own = { key: deviceKey.keyPem, cert: enrolled.certificate };
  const answer = await ask(server.ports.device, { ...renew, ...own });
  expect(answer.status).toBe(200);
  expect(answer.body).toContain('BEGIN CERTIFICATE');
  expect(await ask(server.ports.device, { method: 'GET', path: '/device/v1/ca', ca })).toMatchObject({ status: 200 });
});

it('shuts a removed device out at once, on both ports', async () => {
  const joined = await enrolDevice('removed');
  const session = await connect(joined);
  const cut = closed(session);
  await api('DELETE', '/devices/removed', Device);
  await cut;
  await expect(connect(joined)).rejects.toThrow('Not authorized');
  const own = { ca, key: joined.key.keyPem, cert: joined.enrolled.certificate };
  const renew = { method: 'POST', path: '/device/v1/renew', body: { csr: joined.key.csr }, ...own };
  expect((await ask(server.ports.device, renew)).status).toBe(401);
});

it('leaves nothing of a removed device open or behind: no download, no session, no retained message', async () => {
  const joined = await enrolDevice('cut-off');
  const session = await connect(joined);
  await say(session, 'cut-off', 'presence', { status: 'online', session: 's1' });
  const own = { ca, key: joined.key.keyPem, cert: joined.enrolled.certificate };
  const kept = connectTls({ host: '127.0.0.1', port: server.ports.device, ...own });
  kept.write('GET /device/v1/ca HTTP/1.1\r\nhost: localhost\r\n\r\n');
  await once(kept, 'data');
  const ended = once(kept.resume(), 'close');
  const cut = closed(session);
  await api('DELETE', '/devices/cut-off', Device);
  await Promise.all([cut, ended]);
  // Whoever has the id later finds none of its former words.
  await api('POST', '/devices/cut-off/readmit', Device);
  const again = await connect(await enrolDevice('cut-off'));
  const heard: unknown[] = [];
  again.on('message', (topic, payload) => heard.push([topic, JSON.parse(payload.toString())]));
  await again.subscribeAsync(topicOf('cut-off', 'desired'), { qos: 1 });
  await expect.poll(() => heard, soon).toMatchObject([[topicOf('cut-off', 'desired'), { generation: 1, models: [] }]]);
  again.end(true);
});

it('lets no session in that is being opened while its device is removed', async () => {
  for (let i = 0; i < 5; i++) {
    const joined = await enrolDevice(`racing-${i}`);
    const opening = connect(joined).then(
      (session) => (session.connected ? closed(session) : undefined),
      () => undefined,
    );
    await api('DELETE', `/devices/racing-${i}`, Device);
    await opening;
  }
});

it('ends the stream of events of a key that is revoked', async () => {
  const created = await api('POST', '/keys', CreatedApiKey, { name: 'listener', role: 'viewer' });
  const response = await fetch(`${server.url}/api/v1/events`, { headers: { authorization: `Bearer ${created.key}` } });
  const text = response.text();
  await api('DELETE', `/keys/${created.id}`, ApiKey);
  expect(await text).toContain('connected');
});

it('tells whoever listens to events', async () => {
  const listening = new AbortController();
  const response = await fetch(`${server.url}/api/v1/events`, {
    headers: { authorization: `Bearer ${key}` },
    signal: listening.signal,
  });
  expect(response.headers.get('content-type')).toBe('text/event-stream');
  await enrolDevice('announced');
  let text = '';
  for await (const chunk of response.body ?? []) {
    text += Buffer.from(chunk).toString('utf8');
    if (text.includes('announced')) break;
  }
  listening.abort();
  expect(text).toMatch(/event: device\ndata: \{"type":"device","id":"announced","state":"enrolled"/);
});

it('knows its devices after a restart, takes them as offline, and tells them again what is desired', async () => {
  const joined = await enrolDevice('lasting');
  const session = await connect(joined);
  await say(session, 'lasting', 'presence', { status: 'online', session: 's1' });
  await expect.poll(async () => (await device('lasting')).status, soon).toBe('online');
  const listening = fetch(`${server.url}/api/v1/events`, { headers: { authorization: `Bearer ${key}` } });
  await listening;
  // Whoever listens goes on listening, and is not waited for until the deadline.
  const deadline = AbortSignal.timeout(60_000);
  await server.close(deadline);
  expect(deadline.aborted).toBe(false);
  server = await startControlPlane({ config, log });
  expect((await device('lasting')).status).toBe('offline');
  const moved = { ...joined.enrolled, mqtt: { ...joined.enrolled.mqtt, port: server.ports.mqtt } };
  const again = await connect({ ...joined, enrolled: moved });
  const desired = new Promise<string>((resolve) =>
    again.once('message', (_topic, payload) => resolve(payload.toString())),
  );
  await again.subscribeAsync(topicOf('lasting', 'desired'), { qos: 1 });
  expect(JSON.parse(await desired)).toMatchObject({ generation: 0, models: [], order: expect.anything() });
});

it.skipIf(tool.path === undefined)(
  `tells Prometheus what promtool finds nothing wrong with${tool.reason}`,
  async () => {
    const text = await (await fetch(`${server.url}/metrics`)).text();
    expect(text).toContain('edgeloop_rollouts{phase="completed"}');
    expect(complaintsOf(tool.path ?? '', text)).toBe('');
  },
);
