import { Registry } from 'prom-client';
import { expect, test } from 'vitest';
import { complaintsOf } from '../../../test/support/promtool.ts';
import { promtool } from '../../../test/support/requirements.ts';
import { batchOf, openTelemetry, windowOf } from '../telemetry/telemetry-fixture.ts';
import { registerFigures } from './figures.ts';
import { createFiguresStore } from './figures-store.ts';

const now = 100 * 86_400_000;

async function openFigures() {
  const room = openTelemetry({
    driftSeries: async () => [{ labels: { model: 'm', version: '1' }, at: now - 1000, value: 0.4 }],
  });
  room.clock.at = now;
  const { alerts, rollouts } = room.database.tables;
  await room.database.transact(async (tx) => {
    const alert = { kind: 'drift', model: 'm', version: 1, startedAt: 1, detail: {} };
    await tx.insert(alerts).values([
      { id: '1', ruleId: 'r', status: 'firing', ...alert },
      { id: '2', ruleId: 'r', status: 'firing', ...alert, model: 'n' },
      { id: '3', ruleId: 'r', status: 'resolved', ...alert },
      { id: '4', ruleId: 'r', status: 'pending', ...alert, detail: { severity: 'critical' } },
      { id: '5', ruleId: 'r', status: 'firing', ...alert, detail: { severity: 'critical' } },
    ]);
    const rollout = { model: 'm', version: 1, plan: {}, state: {}, createdAt: 1, createdBy: 'me', updatedAt: 1 };
    await tx.insert(rollouts).values({ id: 'a', phase: 'running', ...rollout });
  });
  await room.telemetry.ingest(
    'd',
    batchOf([windowOf({ startedAt: now - 60_000, succeeded: 3, failed: { timeout: 1 }, latencies: [100, 100] })]),
  );
  let reads = 0;
  const registry = new Registry();
  registerFigures({
    ...{ registry, store: createFiguresStore(room.database), now: room.clock.now },
    knownDevices: async () => {
      reads += 1;
      return new Map([['d', { id: 'd', labels: {}, status: 'offline' as const, reported: null }]]);
    },
    query: room.telemetry.query,
  });
  return { ...room, registry, reads: () => reads };
}

test('alerts, rollouts, devices and what models do are told, in seconds and ratios', async () => {
  const world = await openFigures();
  const text = await world.registry.metrics();
  for (const line of [
    'edgeloop_alerts{rule="r",kind="drift",severity="warning",status="firing"} 2',
    'edgeloop_alerts{rule="r",kind="drift",severity="critical",status="firing"} 1',
    'edgeloop_alerts{rule="r",kind="drift",severity="critical",status="pending"} 1',
    'edgeloop_rollouts{phase="running"} 1',
    'edgeloop_rollouts{phase="paused"} 0',
    'edgeloop_devices{status="offline"} 1',
    'edgeloop_devices{status="revoked"} 0',
    'edgeloop_model_error_ratio{model="m",version="1"} 0.25',
    'edgeloop_model_drift_psi{model="m",version="1"} 0.4',
  ])
    expect(text).toContain(`${line}\n`);
  const latency = /edgeloop_model_latency_seconds\{model="m",version="1",percentile="50"\} (\S+)/.exec(text)?.[1];
  expect(Math.abs(Number(latency) - 0.1)).toBeLessThan(0.002);
  expect(Number(/^edgeloop_database_bytes (\d+)$/m.exec(text)?.[1])).toBeGreaterThan(10_000);
  expect(await world.metrics.metrics()).toContain(
    'edgeloop_requests_total{model="m",version="1",outcome="failed"} 1\n',
  );
  await world.close();
});

test('a second scrape within seconds reads nothing', async () => {
  const world = await openFigures();
  await Promise.all([world.registry.metrics(), world.registry.metrics()]);
  const once = world.reads();
  await world.registry.metrics();
  expect(world.reads()).toBe(once);
  world.clock.at += 11_000;
  await world.registry.metrics();
  expect(world.reads()).toBe(2 * once);
  await world.close();
});

test('of many versions only so many have counters of their own', async () => {
  const world = await openFigures();
  const windows = Array.from({ length: 400 }, (_, i) =>
    windowOf({ startedAt: now - 1000, version: i + 1, succeeded: 1 }),
  );
  await world.telemetry.ingest('e', batchOf(windows));
  const text = await world.metrics.metrics();
  expect(text.match(/^edgeloop_requests_total\{.*outcome="succeeded"\}/gm)?.length).toBe(201);
  expect(text).toContain('edgeloop_requests_total{model="other",version="other",outcome="succeeded"} 200\n');
  expect((await world.registry.metrics()).match(/^edgeloop_model_error_ratio/gm)?.length).toBeLessThanOrEqual(200);
  await world.close();
});

test('of many rules only so many are named, and no alert is left out', async () => {
  const world = await openFigures();
  const { alerts } = world.database.tables;
  await world.database.transact(async (tx) => {
    const alert = { kind: 'metric', model: '', version: 0, startedAt: 1, status: 'firing' };
    for (let i = 0; i < 300; i++)
      await tx.insert(alerts).values({
        id: `more-${i}`,
        ruleId: `rule-${i}`,
        ...alert,
        detail: { severity: i % 2 === 0 ? 'info' : 'critical' },
      });
  });
  const lines = (await world.registry.metrics()).match(/^edgeloop_alerts\{.*/gm) ?? [];
  expect(lines.length).toBeLessThanOrEqual(105);
  expect(
    lines
      .filter((line) => line.includes('severity="info"'))
      .reduce((sum, line) => sum + Number(line.split(' ').at(-1)), 0),
  ).toBe(150);
  expect(
    lines.some((line) =>
      line.startsWith('edgeloop_alerts{rule="other",kind="metric",severity="critical",status="firing"}'),
    ),
  ).toBe(true);
  await world.close();
});

const tool = promtool();
test.skipIf(tool.path === undefined)(`promtool finds nothing wrong with figures of models${tool.reason}`, async () => {
  const world = await openFigures();
  expect(complaintsOf(tool.path ?? '', await world.registry.metrics())).toBe('');
  await world.close();
});
