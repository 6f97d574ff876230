// A control plane whose data folder was put back from a backup, and a device that knows what came after it.
import { cpSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { CreatedJoinToken } from '@edgeloop/shared/api/access';
import { Device } from '@edgeloop/shared/api/devices';
import { MetricResult } from '@edgeloop/shared/api/metrics';
import { Model, ModelVersionDetail } from '@edgeloop/shared/api/models';
import { Rollout, RolloutDetail } from '@edgeloop/shared/api/rollouts';
import { decodeJoinToken } from '@edgeloop/shared/join-token';
import { Desired, type EnrolResponse } from '@edgeloop/shared/messages';
import { topicOf } from '@edgeloop/shared/topics';
import type { MqttClient } from 'mqtt';
import { pino } from 'pino';
import { afterEach, beforeEach, expect, it } from 'vitest';
import type { z } from 'zod';
import { softmaxClassifier } from '../../../test/support/onnx-models.ts';
import { until } from '../../../test/support/until.ts';
import { readConfig } from '../config.ts';
import { ask, connectDevice, createDeviceKey, type DeviceKey, enrolOver, facts } from '../fleet/device-fixture.ts';
import { batchOf, windowOf } from '../telemetry/telemetry-fixture.ts';
import { type ControlPlane, startControlPlane } from './control-plane.ts';

let root: string;
let dataDir: string;
let server: ControlPlane;
let key: string;
let device: { enrolled: EnrolResponse; key: DeviceKey };
let session: MqttClient | undefined;
let sequence: number;
/** What the device was told to run, since the last start. */
let told: Desired[];

beforeEach(async () => {
  root = mkdtempSync(join(tmpdir(), 'edgeloop-restored-'));
  dataDir = join(root, 'data');
  sequence = 1;
  await start();
  key = readFileSync(join(dataDir, 'admin.key'), 'utf8').trim();
  const { token } = await api('POST', '/join-tokens', CreatedJoinToken, {});
  const deviceKey = await createDeviceKey();
  const wanted = { secret: decodeJoinToken(token).secret, deviceId: 'cam', key: deviceKey };
  device = { enrolled: await enrolOver(server.ports.device, authority(), wanted), key: deviceKey };
});
afterEach(async () => {
  session?.end(true);
  await server.close(AbortSignal.timeout(10_000));
  rmSync(root, { recursive: true, force: true });
});

const authority = () =>
  /-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/.exec(
    readFileSync(join(dataDir, 'ca.pem'), 'utf8'),
  )?.[0] ?? '';

async function start(): Promise<void> {
  told = [];
  const config = readConfig({
    ...{ EDGELOOP_DATA_DIR: dataDir, EDGELOOP_HTTP_PORT: '0', EDGELOOP_DEVICE_HOST: '127.0.0.1' },
    ...{ EDGELOOP_DEVICE_PORT: '0', EDGELOOP_MQTT_PORT: '0' },
  });
  server = await startControlPlane({ config, log: pino({ level: 'silent' }) });
}

async function stop(): Promise<void> {
  session?.end(true);
  await server.close(AbortSignal.timeout(10_000));
}

async function api<S extends z.ZodType>(method: string, path: string, schema: S, body?: unknown): Promise<z.output<S>> {
  const response = await fetch(`${server.url}/api/v1${path}`, {
    method,
    headers: {
      authorization: `Bearer ${key}`,
      ...(body instanceof FormData ? {} : { 'content-type': 'application/json' }),
    },
    ...(body === undefined ? {} : { body: body instanceof FormData ? body : JSON.stringify(body) }),
  });
  return schema.parse(await response.json());
}

function push(weight: number): Promise<ModelVersionDetail> {
  const form = new FormData();
  const weights = [
    [weight, 0],
    [0, weight],
  ];
  form.set('model', new Blob([Buffer.from(softmaxClassifier(weights, [0, 1], 'x'))]), 'model.onnx');
  form.set('manifest', JSON.stringify({ inputs: { x: { features: ['a', 'b'] } } }));
  return api('POST', '/models/net/versions', ModelVersionDetail, form);
}

const release = (version: number) =>
  api('POST', '/rollouts', Rollout, {
    ...{ model: 'net', version, waves: [{ percent: 100 }], bakeSeconds: 0, gates: { minRequests: 0 } },
  });
const phase = async ({ id }: Rollout) => (await api('GET', `/rollouts/${id}`, Rollout)).state.phase;
const shown = () => api('GET', '/devices/cam', Device);

async function connect(): Promise<MqttClient> {
  const mqtt = { ...device.enrolled.mqtt, port: server.ports.mqtt };
  session = await connectDevice({ ...device.enrolled, mqtt }, device.key);
  session.on('error', () => undefined);
  session.on('message', (topic, payload) => {
    if (topic.endsWith('/desired')) told.push(Desired.parse(JSON.parse(payload.toString())));
  });
  await session.subscribeAsync(topicOf('cam', 'desired'), { qos: 1 });
  await session.publishAsync(topicOf('cam', 'presence'), JSON.stringify({ status: 'online', session: 's' }), {
    qos: 1,
  });
  return session;
}

/** What the device says it runs, once the server has it. */
async function report(generation: number, version: number, digest: string): Promise<void> {
  const reportedAt = Date.now();
  const model = { name: 'net', active: { version, release: digest, since: 1 }, lastGood: version, candidate: null };
  const body = {
    ...{ generation, models: [model], facts, startedAt: 1, reportedAt },
    outbox: { pendingItems: 0, pendingBytes: 0, droppedItems: 0 },
  };
  await session?.publishAsync(topicOf('cam', 'reported'), JSON.stringify(body), { qos: 1, retain: true });
  await until('the report', async () => {
    const { models, reportedGeneration } = await shown();
    return (models[0]?.active?.release === digest && reportedGeneration === generation) || undefined;
  });
}

/** Sends a window of ten requests; resolves when it is acknowledged. */
async function answered(version: number, digest: string): Promise<void> {
  const acks: unknown[] = [];
  session?.on('message', (topic, payload) => {
    if (topic === topicOf('cam', 'telemetry/ack')) acks.push(JSON.parse(payload.toString()));
  });
  await session?.subscribeAsync(topicOf('cam', 'telemetry/ack'), { qos: 1 });
  const window = windowOf({ model: 'net', version, release: digest, startedAt: Date.now(), succeeded: 10 });
  const first = sequence++;
  const batch = JSON.stringify(batchOf([window], { first }));
  await session?.publishAsync(topicOf('cam', 'telemetry'), batch, { qos: 1 });
  await until('the acknowledgement', async () => acks.length > 0 || undefined);
  expect(acks).toMatchObject([{ epoch: 1, sequence: first }]);
}

async function counted(): Promise<number> {
  const path = `/metrics/query?metric=requests&model=net&to=${Date.now() + 60_000}`;
  const { series } = await api('GET', path, MetricResult);
  return series[0]?.points[0]?.value ?? 0;
}

async function upload(version: number, digest: string) {
  const sample = { inferenceId: `i-${sequence++}`, model: 'net', version, release: digest, reason: 'rate' };
  const body = { samples: [{ ...sample, predictedAt: Date.now(), features: [1, 2], label: 'x' }] };
  const tls = { ca: authority(), cert: device.enrolled.certificate, key: device.key.keyPem };
  return ask(server.ports.device, { method: 'POST', path: '/device/v1/captures', body, ...tls });
}

async function strangers(): Promise<string> {
  const text = await (await fetch(`${server.url}/metrics`)).text();
  return /^edgeloop_devices_unknown_release (\d+)$/m.exec(text)?.[1] ?? 'none';
}

/** Version 1 everywhere, a backup, then version 2 on the device; gives the release of version 2. The backup is put back. */
async function restore(): Promise<string> {
  const first = await push(1);
  await release(1);
  await connect();
  await until('generation 1', async () => (await shown()).desiredGeneration === 1 || undefined);
  await report(1, 1, first.release);
  await stop();
  cpSync(dataDir, join(root, 'backup'), { recursive: true });
  await start();
  const { version, release: second } = await push(2);
  expect(version).toBe(2);
  await connect();
  await release(2);
  await until('generation 2', async () => (await shown()).desiredGeneration === 2 || undefined);
  await report(2, 2, second);
  await stop();
  rmSync(dataDir, { recursive: true });
  cpSync(join(root, 'backup'), dataDir, { recursive: true });
  await start();
  return second;
}

it('goes on above the numbers that devices report', async () => {
  const lost = await restore();
  await connect();
  await report(2, 2, lost);
  expect(await shown()).toMatchObject({
    conflicting: true,
    unknownReleases: [{ name: 'net', version: 2, release: lost }],
    problems: [
      expect.stringContaining('conflicting: the device followed generation 2'),
      expect.stringContaining(`model net 2: the device has release ${lost.slice(0, 12)}, not registered here`),
    ],
  });
  expect((await push(3)).version).toBe(3);
  expect(await api('GET', '/models/net', Model)).toMatchObject({
    versions: [{ version: 3 }, { version: 1 }],
    unknownReleases: [{ version: 2, release: lost, devices: 1 }],
  });
});

it('tells what runs under a number that was given again, and counts none of it', async () => {
  const lost = await restore();
  const again = await push(4);
  expect(again.version).toBe(2);
  expect(again.release).not.toBe(lost);
  const rollout = await release(2);
  await until('the new version being desired', async () => {
    const [desired] = (await shown()).desired;
    return desired?.release === again.release || undefined;
  });
  await connect();
  await report(2, 2, lost);
  // Its generation is the one that this server has given meanwhile, and yet it is another: it is told nothing.
  expect(await shown()).toMatchObject({ conflicting: true, desiredGeneration: 2, reportedGeneration: 2 });
  expect(told.filter(({ generation }) => generation > 1)).toEqual([]);
  await report(2, 2, lost);
  expect(await shown()).toMatchObject({ conflicting: true });
  expect((await shown()).unknownReleases).toEqual([{ name: 'net', version: 2, release: lost }]);
  expect(await strangers()).toBe('1');
  await answered(2, lost);
  expect(await counted()).toBe(0);
  const refused = await upload(2, lost);
  expect([refused.status, refused.body]).toEqual([400, expect.stringContaining('model \\"net\\" version 2')]);
  expect((await shown()).problems).toEqual(
    expect.arrayContaining([
      `10 requests of model net 2 (${lost.slice(0, 12)}) count nowhere: by a release that is not registered here`,
      '1 samples of model net 2 count nowhere: by a release that is not registered here',
    ]),
  );

  // The number alone is no success.
  const { state, devices } = await api('GET', `/rollouts/${rollout.id}`, RolloutDetail);
  expect([state.phase, devices.map((each) => each.state)]).toEqual(['running', ['conflicting']]);
  expect((await api('GET', `/rollouts/${rollout.id}`, RolloutDetail)).status).toContain(
    '1 device ahead of this server: edgeloop devices resolve ID --follow or --keep',
  );
  expect(await api('POST', '/devices/cam/resolve', Device, { decision: 'follow' })).toMatchObject({
    conflicting: false,
    desiredGeneration: 3,
  });
  await until('the device being told', async () => told.some(({ generation }) => generation === 3) || undefined);
  await report(3, 2, again.release);
  expect(await shown()).toMatchObject({ unknownReleases: [], conflicting: false });
  expect(await strangers()).toBe('0');
  await answered(2, again.release);
  expect(await counted()).toBe(10);
  expect((await upload(2, again.release)).status).toBe(200);
  await until('the rollout being completed', async () => (await phase(rollout)) === 'completed' || undefined);
});
