// pnpm bench reconnect [--only SIZE]: the control plane, and with it the broker, is restarted under a simulated fleet. How long until
// all are back, what that costs, whether a window is lost, and whether the API answers meanwhile.
import { loadavg } from 'node:os';
import { MetricResult } from '@edgeloop/shared/api/metrics';
import type { SimulatedFleet } from '../../control-plane/src/simulate/fleet.ts';
import { type ControlPlane, startControlPlane, temporaryFolder } from '../support/programs.ts';
import { readyFleet } from './bench-fleet.ts';
import { heard, msText, peakBytes, quantile, type Stretch, startProbe, timed } from './plane-figures.ts';
import { processorMs } from './processor-time.ts';
import { machine, megabytes, printTable, writeResult } from './report.ts';

const windowMs = 60_000;
const settleMs = 20 * 60_000;

export interface ReconnectFigures {
  devices: number;
  /** Until the control plane had ended, and from its end until it was ready again. */
  stoppedMs: number;
  startedMs: number;
  /** Since it was ready. */
  back: Stretch & { apiP99Ms: number; apiMaxMs: number; loadCpuMs: number };
  connects: number;
  windows: { made: number; lost: number };
  requests: { made: number; counted: number };
  memoryBytes: number;
  load: number;
}

export async function benchReconnect({ quick, only }: { quick: boolean; only?: string | undefined }): Promise<void> {
  const sizes = only === undefined ? (quick ? [100] : [1000, 3000, 10_000]) : [Number(only)];
  if (sizes.some((size) => !Number.isInteger(size) || size < 1)) throw new Error('--only: must be a number of devices');
  const all: ReconnectFigures[] = [];
  for (const devices of sizes) {
    const measured = await measure(devices);
    all.push(measured);
    print([measured]);
  }
  if (all.length > 1) print(all);
  console.log(`written to ${writeResult('reconnect', { ...machine(), figures: all })}`);
}

async function measure(devices: number): Promise<ReconnectFigures> {
  const folder = await temporaryFolder();
  const plane = await startControlPlane(folder.path, { EDGELOOP_LOG_LEVEL: 'error' });
  let fleet: SimulatedFleet | undefined;
  try {
    ({ fleet } = await readyFleet(plane, { devices }, (join) => timed(plane, join)));
    return await restart(plane, fleet);
  } finally {
    fleet?.kill();
    await plane.kill();
    await folder.remove();
  }
}

async function restart(plane: ControlPlane, fleet: SimulatedFleet): Promise<ReconnectFigures> {
  const { devices } = fleet;
  fleet.make(windowMs);
  await fleet.until(({ windows }) => windows.acknowledged > 0, { timeoutMs: settleMs });
  const before = await fleet.tally();
  const stopping = performance.now();
  await plane.stop();
  const stopped = performance.now();
  await plane.start();
  const ready = performance.now();
  const loadBefore = await loadMs(fleet);
  const probe = startProbe(plane);
  const back = await timed(plane, async (scrape) => {
    const all = await fleet.until(({ connected }) => connected === devices, { timeoutMs: settleMs });
    if (!all) throw new Error('not all devices came back');
    await heard(scrape, devices);
  });
  const api = await probe.stop();
  const loadCpuMs = (await loadMs(fleet)) - loadBefore;
  fleet.make(null);
  await fleet.until(({ windows }) => windows.waiting === 0, { timeoutMs: settleMs });
  const after = await fleet.tally();
  return {
    ...{ devices, stoppedMs: stopped - stopping, startedMs: ready - stopped },
    back: { ...back, apiP99Ms: quantile(api, 0.99), apiMaxMs: Math.max(...api), loadCpuMs },
    connects: after.connects - before.connects,
    windows: { made: after.windows.made, lost: after.windows.made - after.windows.acknowledged },
    requests: { made: after.requests, counted: await counted(plane) },
    memoryBytes: peakBytes(plane.program.pid),
    load: loadavg()[0] ?? 0,
  };
}

async function counted(plane: ControlPlane): Promise<number> {
  const now = Date.now();
  const query = { metric: 'requests', model: 'simulated', from: now - 86_400_000, to: now + 86_400_000 };
  const { series } = await plane.api.get('/metrics/query', MetricResult, query);
  return series[0]?.points[0]?.value ?? 0;
}

async function loadMs(fleet: SimulatedFleet): Promise<number> {
  const all = await Promise.all(fleet.pids.map(processorMs));
  return all.reduce<number>((sum, each) => sum + (each ?? 0), 0);
}

function print(all: readonly ReconnectFigures[]): void {
  printTable(
    [
      ...['devices', 'stopping', 'starting', 'all back', 'cpu ms/device', 'load ms/device', 'connects', 'loop p99'],
      ...['loop max', 'API p99', 'API max', 'windows', 'lost', 'requests', 'counted', 'memory', 'load'],
    ],
    all.map(({ devices, back, windows, requests, ...f }) => [
      ...[String(devices), msText(f.stoppedMs), msText(f.startedMs), `${back.seconds.toFixed(1)} s`],
      ...[(back.cpuMs / devices).toFixed(2), (back.loadCpuMs / devices).toFixed(2), String(f.connects)],
      ...[back.loopP99Ms, back.loopMaxMs, back.apiP99Ms, back.apiMaxMs].map(msText),
      ...[windows.made, windows.lost, requests.made, requests.counted].map(String),
      ...[megabytes(f.memoryBytes), f.load.toFixed(1)],
    ]),
  );
}
