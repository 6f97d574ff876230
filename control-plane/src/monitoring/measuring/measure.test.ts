import { AlertRuleSpec } from '@edgeloop/shared/api/alert-rules';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { batchOf, labelOf, openTelemetry, windowOf } from '../../telemetry/telemetry-fixture.ts';
import type { createMonitoring } from '../monitoring.ts';
import { deviceOf, openMonitoring } from '../monitoring-fixture.ts';

const minute = 60_000;
const hour = 60 * minute;
const began = 1000 * hour;

let room: ReturnType<typeof openTelemetry>;
let monitoring: ReturnType<typeof createMonitoring>;
let fleet: ReturnType<typeof openMonitoring>['fleet'];
let sequence = 0;

beforeEach(() => {
  room = openTelemetry();
  room.clock.at = began;
  ({ monitoring, fleet } = openMonitoring(room));
});
afterEach(() => room.close());

interface Sent {
  version?: number;
  device?: string;
  ok?: number;
  failed?: number;
  latency?: number;
  model?: string;
}
/** A window of now. */
async function send({ version = 1, device = 'a', ok = 0, failed = 0, latency = 5, model = 'm' }: Sent) {
  const item = windowOf({
    ...{
      model,
      version,
      startedAt: room.clock.at,
      succeeded: ok,
      rows: ok,
      failed: failed > 0 ? { crash: failed } : {},
    },
    latencies: Array.from({ length: ok }, () => latency),
  });
  await room.telemetry.ingest(device, batchOf([item], { first: ++sequence }));
}
async function passed(ms: number): Promise<void> {
  room.clock.at += ms;
  await monitoring.tick();
}
/** Goes on for so long, looking each half minute. */
async function lived(ms: number, each: () => Promise<void> = async () => {}): Promise<void> {
  const until = room.clock.at + ms;
  while (room.clock.at < until) {
    await each();
    await passed(30_000);
  }
}
/** Was so for so long, and nobody looked. */
async function past(ms: number, each: () => Promise<void>): Promise<void> {
  const until = room.clock.at + ms;
  for (; room.clock.at < until; room.clock.at += 5 * minute) await each();
  await monitoring.tick();
}
async function told(rule?: string) {
  const { items } = await monitoring.alerts.list({ limit: 100, rule });
  return items;
}
async function brief(): Promise<string[]> {
  return (await told()).map(
    ({ ruleId, status, model, version, labels }) =>
      `${ruleId} ${status} ${model ?? labels.device ?? '-'}${version === null ? '' : `:${version}`}`,
  );
}
async function withRule(spec: object): Promise<string> {
  return (await monitoring.rules.create('key:test', AlertRuleSpec.parse({ kind: 'metric', ...spec }))).id;
}

test('a version that failed 12 of 12 requests fires by itself, one that failed 1 of 1 does not', async () => {
  await monitoring.tick();
  await send({ version: 2, failed: 12 });
  await send({ version: 3, failed: 1 });
  await send({ version: 4, ok: 19, failed: 1 });
  await passed(minute);
  expect(await brief()).toEqual(['default-error-rate firing m:2']);
  const [alert] = await told();
  expect(alert).toMatchObject({ kind: 'metric', severity: 'critical', value: 1, bound: 0.05 });
  expect(alert?.summary).toMatch(/^error rate is 100\.0 % of 12 over .*bound above 5\.0 %/);
});

test('requests that callers got wrong are no evidence', async () => {
  await monitoring.tick();
  const item = windowOf({ startedAt: room.clock.at, invalid: 500, failed: { crash: 1 } });
  await room.telemetry.ingest('a', batchOf([item], { first: ++sequence }));
  await passed(minute);
  expect(await brief()).toEqual([]);
});

test('an error rate that is over resolves after its time of calm, and keeps what it was', async () => {
  fleet.devices = [deviceOf('a', { runs: 2 }), deviceOf('b', { runs: 2, labels: { site: 'x' } })];
  await monitoring.tick();
  await send({ version: 2, failed: 12 });
  await send({ version: 2, device: 'b', ok: 90 });
  await passed(minute);
  await lived(5 * minute);
  await lived(9 * minute, () => send({ version: 2, ok: 40 }));
  expect(await brief()).toEqual(['default-error-rate firing m:2']);
  await lived(8 * minute, () => send({ version: 2, ok: 40 }));
  const [alert] = await told();
  expect(alert).toMatchObject({ status: 'resolved', resolution: { kind: 'calm' }, links: { causedBy: ['rollout-2'] } });
  expect(alert?.scope).toMatchObject({ devices: ['a'] });
  const { history } = await monitoring.alerts.alert(alert?.id ?? '');
  expect(history.length).toBeGreaterThan(5);
  expect(history.at(0)?.value).toBeGreaterThan(0.03);
  expect(history.at(-1)?.value).toBe(0);
});

test('of a firing version that answers no more it is said since when, until no device runs it', async () => {
  fleet.devices = [deviceOf('a', { runs: 2 }), deviceOf('b', { runs: 1 })];
  await monitoring.tick();
  await send({ version: 2, failed: 12 });
  await passed(minute);
  await lived(70 * minute);
  const [alert] = await told('default-error-rate');
  expect(alert).toMatchObject({ status: 'firing', evidence: { state: 'insufficient' } });
  expect(alert?.evidence.detail).toMatch(/^no new evidence since .* numbers are of /);
  fleet.devices = [deviceOf('a', { runs: 1 }), deviceOf('b', { runs: 1 })];
  await passed(minute);
  expect(await told('default-error-rate')).toMatchObject([
    { status: 'resolved', resolution: { kind: 'replaced' }, links: { resolvedBy: ['rollout-1'] } },
  ]);
});

test('latency that doubled against its own past fires; what is normal is not forgotten while it lasts', async () => {
  await monitoring.tick();
  await past(7 * hour, () => send({ ok: 60, latency: 10 + (sequence % 3) }));
  expect(await brief()).toEqual([]);
  await lived(20 * minute, () => send({ ok: 60, latency: 30 }));
  const [alert] = await told();
  expect(alert).toMatchObject({ ruleId: 'default-latency', status: 'firing', version: 1 });
  expect(alert?.baseline).toBeGreaterThan(9);
  expect(alert?.baseline).toBeLessThan(13);
  await lived(20 * minute, () => send({ ok: 60, latency: 11 }));
  expect(await told()).toMatchObject([{ status: 'resolved' }]);
});

test('a new version is compared with the one before it', async () => {
  await monitoring.tick();
  await lived(30 * minute, () => send({ ok: 60, latency: 10 }));
  await lived(10 * minute, () => send({ version: 2, ok: 60, latency: 40 }));
  expect(await brief()).toEqual(['default-latency firing m:2']);
  expect((await told())[0]?.summary).toMatch(/\(version 1\)/);
});

test('a model that answered and no longer does is silent; one that pauses as it always did is not', async () => {
  await monitoring.tick();
  let step = 0;
  await past(6 * hour, async () => {
    step += 1;
    await send({ model: 'steady', ok: 5 });
    if (step % 24 < 6) await send({ model: 'shifts', ok: 5 });
  });
  expect(await brief()).toEqual([]);
  await lived(50 * minute);
  expect(await brief()).toEqual(['default-silent-model firing steady']);
  await lived(2 * minute, () => send({ model: 'steady', ok: 5 }));
  expect(await brief()).toEqual(['default-silent-model resolved steady']);
});

test('many devices away are one alert, which explains each of them', async () => {
  const away = { status: 'offline', lastSeenAt: began } as const;
  fleet.devices = [
    ...['a', 'b', 'c'].map((id) => deviceOf(id, { ...away, labels: { site: 'x' } })),
    ...['d', 'e'].map((id) => deviceOf(id)),
  ];
  await monitoring.tick();
  await lived(6 * minute);
  expect(await brief()).toEqual(['default-offline-share firing -']);
  await lived(11 * minute);
  const alerts = await told();
  const share = alerts.find(({ ruleId }) => ruleId === 'default-offline-share');
  const devices = alerts.filter(({ ruleId }) => ruleId === 'default-device-offline');
  expect(share?.summary).toMatch(/offline share is 60\.0 % of 5/);
  expect(devices.map(({ labels }) => labels)).toEqual(['c', 'b', 'a'].map((device) => ({ device, site: 'x' })));
  expect(devices.map(({ inhibitedBy }) => inhibitedBy)).toEqual(Array(3).fill(share?.id));
  fleet.devices = fleet.devices.map(({ id }) => deviceOf(id));
  await lived(8 * minute);
  expect((await told()).map(({ status }) => status)).toEqual(Array(4).fill('resolved'));
});

test('a server that has just started, or slept, does not call devices silent that it could not hear', async () => {
  const long = { status: 'offline', lastSeenAt: began - 10 * hour } as const;
  fleet.devices = ['a', 'b', 'c', 'd'].map((id) => deviceOf(id, long));
  await lived(4 * minute);
  expect(await brief()).toEqual([]);
  // It slept.
  await passed(3 * hour);
  await lived(4 * minute);
  expect(await brief()).toEqual([]);
  await lived(2 * minute);
  expect(await brief()).toEqual(['default-offline-share firing -']);
});

test('loss, disk, clock, identity, conflict and quarantine fire by themselves', async () => {
  fleet.devices = [
    deviceOf('clock', { clockOffsetMs: -7_200_000 }),
    deviceOf('twin', { takeovers: 9 }),
    deviceOf('ahead', { conflictSince: began - minute }),
    deviceOf('bad', {
      models: [{ name: 'm', running: [1], failed: { version: 2, why: 'load: no such operator' }, desired: null }],
    }),
    deviceOf('good', { clockOffsetMs: 900, takeovers: 0 }),
  ];
  fleet.diskFreeShare = 0.02;
  await monitoring.tick();
  await room.telemetry.ingest(
    'lossy',
    batchOf([{ kind: 'loss', windows: 1, requests: 7, labels: 0 }], { first: ++sequence }),
  );
  await lived(4 * minute);
  expect((await brief()).sort()).toEqual([
    'default-clock firing clock',
    'default-conflict firing ahead',
    'default-disk firing -',
    'default-identity firing twin',
    'default-lost firing lossy',
    'default-quarantine firing m:2',
  ]);
  fleet.devices = [deviceOf('bad')];
  fleet.diskFreeShare = 0.5;
  await lived(5 * minute);
  expect((await told()).filter(({ status, ruleId }) => status !== 'resolved' && ruleId !== 'default-lost')).toEqual([]);
});

test('a rule over any metric: groups, a bound below, a time that it must hold', async () => {
  const rule = await withRule({
    ...{ metric: 'accuracy', groupBy: 'model', overSeconds: 60, minEvidence: 10 },
    condition: { is: 'below', bound: 0.8, clear: 0.85 },
    ...{ forSeconds: 60, calmSeconds: 0, severity: 'critical', labels: { team: 'vision' } },
  });
  const label = async (model: string, right: number, wrong: number) => {
    const labels = Array.from({ length: right + wrong }, (_, i) =>
      labelOf({
        ...{ inferenceId: `${++sequence}-${i}`, model, predictedAt: room.clock.at },
        label: i < right ? 'a' : 'b',
      }),
    );
    await room.telemetry.ingest('a', batchOf([{ kind: 'labels', labels }], { first: ++sequence }));
  };
  await label('bad', 2, 30);
  await label('good', 30, 2);
  await passed(1000);
  expect(await told(rule)).toMatchObject([{ status: 'pending', model: 'bad', labels: { team: 'vision' } }]);
  await lived(70_000, () => label('bad', 2, 30));
  expect(await told(rule)).toMatchObject([{ status: 'firing', model: 'bad', severity: 'critical' }]);
  await lived(70_000, () => label('bad', 32, 0));
  expect(await told(rule)).toMatchObject([{ status: 'resolved' }]);
});

test('what cannot be measured is refused by name, and a rule that fails later says so', async () => {
  const above = { is: 'above', bound: 1 };
  await expect(withRule({ metric: 'lost', model: 'm', condition: above })).rejects.toThrow(/model does not go with/);
  await expect(withRule({ metric: 'requests', groupBy: 'feature', condition: above })).rejects.toThrow(/groupBy/);
  await expect(withRule({ metric: 'offline_seconds', groupBy: 'device', condition: above })).rejects.toThrow(/groupBy/);
  await expect(withRule({ metric: 'disk_free_share', condition: { is: 'above_past', ratio: 2 } })).rejects.toThrow(
    /condition/,
  );
  const rule = await withRule({ metric: 'requests', groupBy: 'version', minEvidence: 0, condition: above });
  await send({ ok: 5 });
  await passed(1000);
  expect(monitoring.rules.evaluationOf(rule)).toMatchObject({ groups: 1, insufficient: 0, error: null });
});

test('defaults can be changed and deleted, and stay so', async () => {
  await monitoring.tick();
  await monitoring.rules.remove('key:test', 'default-disk');
  const spec = AlertRuleSpec.parse({ kind: 'metric', metric: 'error_rate', condition: { is: 'above', bound: 0.9 } });
  await monitoring.rules.replace('key:test', 'default-error-rate', { spec, create: false });
  const again = openMonitoring(room).monitoring;
  await again.tick();
  const rules = new Map((await again.rules.all()).map((rule) => [rule.id, rule.spec]));
  expect(rules.has('default-disk')).toBe(false);
  expect(rules.get('default-error-rate')).toEqual(spec);
  await again.rules.replace('key:test', 'default-disk', { spec, create: true });
  expect((await again.rules.all()).map(({ id }) => id)).toContain('default-disk');
});

const devices = Array.from({ length: 8 }, (_, i) => `d${i}`);
/** Hours of all devices, some of which are slower than the others, always or from now on. */
async function hours(count: number, slowness: (device: string, hour: number) => number): Promise<void> {
  for (let passedHours = 0; passedHours < count; passedHours++) {
    for (const device of devices)
      await send({
        device,
        ok: 60,
        latency: slowness(device, passedHours) + ((passedHours * 7 + device.length) % 5) / 10,
      });
    room.clock.at += hour;
  }
  await monitoring.tick();
}

test('a device that becomes slower than its peers and than it was is an anomaly; one that always was is none', async () => {
  const usual = (device: string) => (device === 'd7' ? 60 : 10);
  await hours(60, usual);
  expect((await told('default-device-latency')).map(({ labels }) => labels.device)).toEqual([]);
  await hours(1, (device) => (device === 'd2' ? 90 : usual(device)));
  const [alert, ...others] = await told('default-device-latency');
  expect(others).toEqual([]);
  expect(alert).toMatchObject({
    status: 'firing',
    severity: 'info',
    labels: { device: 'd2' },
    scope: { kind: 'device' },
  });
  expect(alert?.summary).toMatch(
    /^latency \(quantile 0.95\) is 9\d.* over 60 min, .* deviations above the 10.* of 7 other devices and/,
  );
  await hours(1, usual);
  expect((await told('default-device-latency'))[0]).toMatchObject({ status: 'resolved' });
});

test('what happens to all devices at once is the anomaly of none', async () => {
  await hours(60, () => 10);
  await hours(1, () => 90);
  expect(await told('default-device-latency')).toEqual([]);
});

test('a model is compared with its own past at this hour of the day', async () => {
  const rule = await withRule({
    ...{ metric: 'requests', groupBy: 'model', overSeconds: 3600, minEvidence: 0, forSeconds: 0 },
    condition: { is: 'unlike', of: 'past', side: 'below' },
  });
  const byDay = (hourOfDay: number) => (hourOfDay >= 8 && hourOfDay < 20 ? 400 : 2);
  for (let i = 0; i < 24 * 5 + 12; i++) {
    await send({ ok: byDay((room.clock.at / hour) % 24) + (i % 3) });
    room.clock.at += hour;
    await monitoring.tick();
    expect((await told(rule)).filter(({ status }) => status === 'firing')).toEqual([]);
  }
  while ((room.clock.at / hour) % 24 !== 12) {
    await send({ ok: byDay((room.clock.at / hour) % 24) });
    room.clock.at += hour;
  }
  await send({ ok: 3 });
  room.clock.at += hour;
  await monitoring.tick();
  const [alert] = await told(rule);
  expect(alert).toMatchObject({ status: 'firing', model: 'm', value: 3 });
  expect(alert?.summary).toMatch(/below the 40\d.* of what is usual for it at this hour of the day/);
});

test('peers are compared by device, which is said of a rule that does not', async () => {
  const spec = { metric: 'latency', groupBy: 'model', condition: { is: 'unlike' } };
  await expect(withRule(spec)).rejects.toThrow(/groupBy=device, or of=past/);
});
