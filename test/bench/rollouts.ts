// pnpm bench rollouts [--only SIZE|engine|engine:SIZE]: a rollout in six waves without baking to a simulated fleet, over the real broker: what it costs
// the control plane, and whether its API answers meanwhile; then one with a bound on those under way and a rate, and what it costs
// when devices only report.
import { statSync } from 'node:fs';
import { loadavg } from 'node:os';
import { join } from 'node:path';
import { Rollout, RolloutDetail } from '@edgeloop/shared/api/rollouts';
import { z } from 'zod';
import { SimulatedFleet } from '../../control-plane/src/simulate/fleet.ts';
import { pushVersion } from '../support/fleet.ts';
import { type ControlPlane, startControlPlane, temporaryFolder } from '../support/programs.ts';
import { until } from '../support/until.ts';
import { joinFleet } from './bench-fleet.ts';
import { keyOf, msText, peakBytes, quantile, type Stretch, startProbe, timed } from './plane-figures.ts';
import { machine, megabytes, printTable, writeResult } from './report.ts';
import { benchEngine } from './rollout-engine.ts';

const settleMs = 20 * 60_000;
const waves = [1, 5, 10, 25, 50, 100].map((percent) => ({ percent }));
/** Devices have 20 sites. */
const bounded = (devices: number) => ({
  maxUnavailable: { devices: Math.max(1, Math.ceil(devices / 200)), label: 'site' },
  rate: { start: devices * 6, factor: 2, growAfter: Math.ceil(devices / 10) },
});
/** As of a fleet of a thousand that says how it is every 90 seconds. */
const reportsPerSecond = (devices: number) => (11 * devices) / 1000;
const idleMs = 10_000;

interface Rolled extends Stretch {
  apiP99Ms: number;
  apiMaxMs: number;
  reports: number;
  bytes: number;
}

export interface RolloutFigures {
  devices: number;
  joining: Stretch;
  rollout: Rolled;
  bounded: Rolled;
  /** With so many reports a second. */
  idle: Stretch & { reportsPerSecond: number };
  /** `GET /rollouts/{id}`, all devices in it. */
  detail: { ms: number; bytes: number };
  memoryBytes: number;
  walBytes: number;
  /** Of the machine, in the last minute before the end. */
  load: number;
}

export async function benchRollouts({ quick, only }: { quick: boolean; only?: string | undefined }): Promise<void> {
  const [, engine, size] = /^(engine)?:?(\d+)?$/.exec(only ?? '') ?? [];
  const sizes = size === undefined ? (quick ? [100] : [1000, 3000, 10_000]) : [Number(size)];
  if (engine !== undefined) return benchEngine(sizes);
  const figures: RolloutFigures[] = [];
  for (const devices of sizes) {
    const measured = await measure(devices);
    figures.push(measured);
    print([measured]);
  }
  if (figures.length > 1) print(figures);
  console.log(`written to ${writeResult('rollouts', { ...machine(), figures })}`);
}

function print(all: readonly RolloutFigures[]): void {
  const stretches = (f: RolloutFigures): [string, Stretch & Partial<Rolled>][] => [
    ['join', f.joining],
    ['six waves', f.rollout],
    ['bounded', f.bounded],
    [`${f.idle.reportsPerSecond} reports/s`, f.idle],
  ];
  printTable(
    [
      'devices',
      'what',
      's',
      'cpu s',
      'cpu ms/device',
      'of a core',
      'loop p99',
      'loop max',
      'API p99',
      'API max',
      'KB/device',
    ],
    all.flatMap((f) =>
      stretches(f).map(([what, each]) => [
        ...[String(f.devices), what, each.seconds.toFixed(1), (each.cpuMs / 1000).toFixed(1)],
        ...[(each.cpuMs / f.devices).toFixed(2), `${(each.cpuMs / each.seconds / 10).toFixed(1)} %`],
        ...[msText(each.loopP99Ms), msText(each.loopMaxMs), msText(each.apiP99Ms), msText(each.apiMaxMs)],
        each.bytes === undefined ? '' : (each.bytes / f.devices / 1024).toFixed(2),
      ]),
    ),
  );
  for (const { devices, detail, memoryBytes, walBytes, load } of all)
    console.log(
      `${devices} devices: ${megabytes(memoryBytes)} at most, WAL ${megabytes(walBytes)}, the whole rollout ${msText(detail.ms)} and ${megabytes(detail.bytes)}, load ${load.toFixed(1)}`,
    );
}

async function measure(devices: number): Promise<RolloutFigures> {
  const folder = await temporaryFolder();
  const plane = await startControlPlane(folder.path, { EDGELOOP_LOG_LEVEL: 'error' });
  const fleet = new SimulatedFleet(devices);
  const rolled = (version: number, plan: object) => measureRollout(plane, fleet, { version, devices, plan });
  try {
    const versions = [await pushVersion(plane, 'bench'), await pushVersion(plane, 'bench', { weight: 2 })];
    const model = { name: 'bench', classes: [] };
    const joining = await timed(plane, (scrape) => joinFleet(plane, fleet, { run: 'bench', model }, scrape));
    const rollout = await rolled(versions[0] ?? 0, {});
    const throttled = await rolled(versions[1] ?? 0, bounded(devices));
    const perSecond = reportsPerSecond(devices);
    fleet.report(perSecond);
    const idle = await timed(plane, () => new Promise((resolve) => setTimeout(resolve, idleMs)));
    fleet.report(0);
    return {
      ...{ devices, joining, rollout, bounded: throttled, idle: { ...idle, reportsPerSecond: perSecond } },
      detail: await timedDetail(plane),
      memoryBytes: peakBytes(plane.program.pid),
      walBytes: statSync(join(plane.folder, 'control-plane.db-wal')).size,
      load: loadavg()[0] ?? 0,
    };
  } finally {
    fleet.kill();
    await plane.kill();
    await folder.remove();
  }
}

async function measureRollout(
  plane: ControlPlane,
  fleet: SimulatedFleet,
  what: { version: number; devices: number; plan: object },
): Promise<Rolled> {
  const before = await fleet.tally();
  const probe = startProbe(plane);
  const rolling = await timed(plane, () => rollOut(plane, fleet, what));
  const latencies = await probe.stop();
  const after = await fleet.tally();
  return {
    ...rolling,
    ...{ apiP99Ms: quantile(latencies, 0.99), apiMaxMs: Math.max(...latencies) },
    reports: after.reports - before.reports,
    bytes: after.bytes.in + after.bytes.out - before.bytes.in - before.bytes.out,
  };
}

/** What a person waits for who opens the rollout. */
async function timedDetail(plane: ControlPlane): Promise<{ ms: number; bytes: number }> {
  const { items } = await plane.api.get('/rollouts', z.object({ items: z.array(Rollout) }), { limit: 1 });
  const started = performance.now();
  const answer = await fetch(`${plane.url}/api/v1/rollouts/${items[0]?.id}`, { headers: keyOf(plane) });
  return { bytes: (await answer.arrayBuffer()).byteLength, ms: performance.now() - started };
}

async function rollOut(
  plane: ControlPlane,
  fleet: SimulatedFleet,
  { version, devices, plan }: { version: number; devices: number; plan: object },
): Promise<void> {
  const whole = { waves, bakeSeconds: 0, gates: { minRequests: 0 }, ...plan };
  const { id } = await plane.api.send('POST', '/rollouts', Rollout, { model: 'bench', version, ...whole });
  await until(
    'the rollout being completed',
    async () => {
      const { state } =
        (await plane.api.get('/rollouts', z.object({ items: z.array(Rollout) }), { limit: 1 })).items[0] ?? {};
      if (state?.phase === 'running') return undefined;
      if (state?.phase === 'completed') return true;
      throw new Error(`the rollout is ${JSON.stringify(state)}`);
    },
    { timeoutMs: settleMs },
  );
  const { serving } = await fleet.tally();
  if (serving[version] !== devices) throw new Error(`${serving[version]} of ${devices} devices serve the version`);
  const detail = await plane.api.get(`/rollouts/${id}`, RolloutDetail);
  const healthy = detail.devices.filter(({ state }) => state === 'healthy').length;
  if (healthy !== devices) throw new Error(`${healthy} of ${devices} devices are shown as healthy`);
}
