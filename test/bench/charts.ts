// `pnpm bench charts`: what the dashboard's charts cost over 7 days of 2,000 devices, and how that grows with fleet and history.
// The database is filled with rollups as the control plane writes them, and with the single windows of the last hours, since
// older ones are not read by a chart.
import { monitorEventLoopDelay } from 'node:perf_hooks';
import { MetricQuery } from '@edgeloop/shared/api/metrics';
import type { z } from 'zod';
import type { KnownDevice } from '../../control-plane/src/telemetry/device-groups.ts';
import { fillHistory, siteOf } from '../../control-plane/src/telemetry/history-fixture.ts';
import type { Telemetry } from '../../control-plane/src/telemetry/telemetry.ts';
import { openTelemetry } from '../../control-plane/src/telemetry/telemetry-fixture.ts';
import { machine, printTable, writeResult } from './report.ts';

const now = Date.UTC(2026, 9, 3, 15, 20);
const lines = 7;

interface Fleet {
  devices: number;
  days: number;
}
const fleets: Fleet[] = [
  { devices: 2000, days: 7 },
  { devices: 500, days: 7 },
  { devices: 2000, days: 28 },
];

type Asked = Partial<z.input<typeof MetricQuery>>;
const overviews: [name: string, asked: Asked][] = [
  ['7 d', { from: '-7d', step: 7200 }],
  ['24 h', { from: '-24h', step: 900 }],
  ['6 h', { from: '-6h', step: 300 }],
  ['1 h', { from: '-1h', step: 60 }],
  ['15 min', { from: '-15m', step: 15 }],
];
const charts: [name: string, asked: Asked][] = [
  ['throughput', { metric: 'throughput' }],
  ['latency, two quantiles', { metric: 'latency', quantile: '0.5,0.95' }],
  ['error rate', { metric: 'error_rate' }],
  ['latency by version', { metric: 'latency', model: 'm', groupBy: 'version' }],
  ['rows by class', { metric: 'rows', model: 'm', groupBy: 'class' }],
  ['throughput by label:site', { metric: 'throughput', groupBy: 'label:site' }],
  ['latency by label:site', { metric: 'latency', groupBy: 'label:site' }],
  ['one device, latency', { metric: 'latency', device: 'device-7' }],
];
/** Of a label that is not chosen: rollups of all devices are joined with what they are. */
const joined: [name: string, asked: Asked][] = [
  ['throughput by label:line (joined), 7 d', { metric: 'throughput', groupBy: 'label:line', from: '-7d', step: 7200 }],
  ['latency by label:line (joined), 7 d', { metric: 'latency', groupBy: 'label:line', from: '-7d', step: 7200 }],
  [
    'latency by label:line (joined), 7 d by day',
    { metric: 'latency', groupBy: 'label:line', from: '-7d', step: 86_400 },
  ],
];

export async function benchCharts({ quick, only }: { quick?: boolean; only?: string }): Promise<void> {
  const results: unknown[] = [];
  for (const fleet of quick ? fleets.slice(0, 1) : fleets)
    results.push(await benchFleet(fleet, { rounds: quick ? 10 : 40, only }));
  console.log(writeResult('charts', { machine: machine(), results }));
}

async function benchFleet(fleet: Fleet, { rounds, only }: { rounds: number; only?: string | undefined }) {
  const room = openRoom(fleet);
  const { database, telemetry } = room;
  const began = performance.now();
  await fillHistory(database, { ...fleet, now });
  const seconds = Math.round((performance.now() - began) / 1000);
  console.log(`\n${fleet.devices} devices, ${fleet.days} days (filled in ${seconds} s)\n`);
  telemetry.start();
  const questions = [
    ...overviews.flatMap(([range, of]) =>
      charts.map(([name, asked]): [string, Asked] => [`${name}, ${range}`, { ...of, ...asked }]),
    ),
    ...joined,
  ].filter(([name]) => only === undefined || name.includes(only));
  const rows: string[][] = [];
  for (const [name, asked] of questions) {
    const row = [name, ...(await measure(telemetry, asked, name.includes('joined') ? 3 : rounds))];
    console.log(row.join('  '));
    rows.push(row);
  }
  console.log('');
  printTable(['chart', 'p50 ms', 'p99 ms', 'processor ms', 'longest stretch of the loop ms', 'points'], rows);
  await room.close();
  return { fleet, rows };
}

async function measure(telemetry: Telemetry, asked: Asked, rounds: number): Promise<string[]> {
  const question = () => MetricQuery.parse({ metric: 'requests', ...asked });
  await telemetry.query(question());
  const delay = monitorEventLoopDelay({ resolution: 1 });
  const took: number[] = [];
  let points = 0;
  const before = process.cpuUsage();
  delay.enable();
  for (let round = 0; round < rounds; round++) {
    const began = performance.now();
    const { series } = await telemetry.query(question());
    took.push(performance.now() - began);
    points = series.reduce((sum, each) => sum + each.points.length, 0);
  }
  delay.disable();
  const { user, system } = process.cpuUsage(before);
  took.sort((a, b) => a - b);
  const at = (share: number) => took[Math.min(took.length - 1, Math.floor(share * took.length))] ?? 0;
  const figures = [at(0.5), at(0.99), (user + system) / 1000 / rounds, delay.max / 1e6];
  return [...figures.map((figure) => figure.toFixed(1)), String(points)];
}

function openRoom({ devices }: Fleet) {
  const known = new Map(
    Array.from({ length: devices }, (_, i): [string, KnownDevice] => [
      `device-${i}`,
      { id: `device-${i}`, labels: labelsOf(i), status: 'online', reported: null },
    ]),
  );
  return openTelemetry({ now: () => now, knownDevices: async () => known, rollupLabels: ['site'] });
}

function labelsOf(device: number): { site: string; line: string } {
  return { site: siteOf(device), line: `line-${device % lines}` };
}
