// pnpm bench ingest [--only SIZE]: windows of a simulated fleet over MQTT and TLS, in slices of a fixed number of windows, each with an
// end: as many as are taken, with nobody else asking anything, so that what a window costs is told alone; at a rate and again as many as
// are taken while people look at devices and charts and a device of this process says how long a window takes until a query counts it;
// and the first slice again, so that the cost is told for little and much history.
import { statSync } from 'node:fs';
import { loadavg } from 'node:os';
import { join } from 'node:path';
import { CreatedJoinToken } from '@edgeloop/shared/api/access';
import { MetricResult } from '@edgeloop/shared/api/metrics';
import { type QuantileSketch, quantile as sketchQuantile } from '@edgeloop/shared/sketches/ddsketch';
import { FleetCounts, SimulatedDevice } from '../../control-plane/src/simulate/device.ts';
import { openFiles, type SimulatedFleet } from '../../control-plane/src/simulate/fleet.ts';
import { enrol, findDoor } from '../../control-plane/src/simulate/joining.ts';
import type { RunModel } from '../../control-plane/src/simulate/model.ts';
import { traitsOf } from '../../control-plane/src/simulate/traits.ts';
import { createWindows } from '../../control-plane/src/simulate/windows.ts';
import { type ControlPlane, startControlPlane, temporaryFolder } from '../support/programs.ts';
import { until } from '../support/until.ts';
import { benchSettings, readyFleet } from './bench-fleet.ts';
import { msText, quantile, residentBytes, type Stretch, startProbe, timed } from './plane-figures.ts';
import { processorMs } from './processor-time.ts';
import { machine, megabytes, printTable, writeResult } from './report.ts';

/** Windows a second of all devices. */
const steadyRate = 300;
/** More than any control plane here takes. */
const floodRate = 30_000;
/** Windows of a slice; it ends when they are stored, or after so long with those that are. */
const sizes = {
  quick: { alone: 4000, steady: 600, flood: 3000, mostMs: 8000 },
  whole: { alone: 60_000, steady: 6000, flood: 120_000, mostMs: 120_000 },
};
/** Of all devices: what waits with them at the end of a slice is soon stored. */
const mostWaiting = 4000;
const drainMs = 60_000;
const joinMs = 10 * 60_000;
const sampleMs = 500;
const idleMs = 3000;
const probeWindowMs = 1000;
/** What a control plane has open beside connections. */
const otherFiles = 1000;
const chart = (from: number) => `/metrics/query?metric=latency&model=simulated&step=60&from=${from}`;

interface Slice extends Stretch {
  what: string;
  stored: number;
  /** Of the control plane, a window that it stored, with all that was asked of it meanwhile. */
  cpuUsPerWindow: number;
  /** Of the simulated devices, all processes. */
  loadCpuMs: number;
  /** Sent in a message. */
  windowsPerMessage: number;
  acknowledgedMs: { p50: number; p99: number };
  /** Resident bytes of the control plane, every half second. */
  memory: number[];
  /** Of slices with people. */
  people?: {
    /** From publishing to being counted by a query. */
    queryableMs: { p50: number; p99: number; windows: number };
    apiP99Ms: number;
    chartP99Ms: number;
  };
}

export interface IngestFigures {
  devices: number;
  joining: Stretch;
  /** Of the control plane in a second in which devices say nothing. */
  idleCpuMs: number;
  slices: Slice[];
  /** What a window costs after all those before it, as a multiple of what the first ones cost. */
  lateToEarly: number;
  requests: { made: number; counted: number };
  databaseBytes: number;
  seconds: number;
  load: number;
}

export async function benchIngest({ quick, only }: { quick: boolean; only?: string | undefined }): Promise<void> {
  const fleets = only === undefined ? (quick ? [40] : [1000, 5000, 15_000]) : [Number(only)];
  if (fleets.some((size) => !Number.isInteger(size) || size < 1))
    throw new Error('--only: must be a number of devices');
  console.log('Embedded broker only: the control plane does not take an external one yet (EDGELOOP_MQTT_URL).');
  const all: IngestFigures[] = [];
  for (const devices of fleets) {
    if (devices + otherFiles > openFiles()) {
      console.log(`${devices} devices are left out: ulimit -n is ${openFiles()}`);
      continue;
    }
    const measured = await measure(devices, quick ? sizes.quick : sizes.whole);
    all.push(measured);
    print(measured);
  }
  const [first, last] = [all[0], all.at(-1)];
  if (first !== undefined && last !== undefined && first !== last) {
    const ratio = (last.slices[0]?.cpuUsPerWindow ?? 0) / (first.slices[0]?.cpuUsPerWindow ?? 1);
    console.log(`a window at ${last.devices} devices costs ${ratio.toFixed(2)} of what it costs at ${first.devices}`);
  }
  console.log(`written to ${writeResult('ingest', { ...machine(), figures: all })}`);
}

async function measure(devices: number, size: typeof sizes.whole): Promise<IngestFigures> {
  const began = performance.now();
  const folder = await temporaryFolder();
  const plane = await startControlPlane(folder.path, { EDGELOOP_LOG_LEVEL: 'error' });
  let fleet: SimulatedFleet | undefined;
  const probe = new QueryProbe(plane);
  try {
    let joining: Stretch | undefined;
    // The probe is told with the others what to run.
    await probe.join();
    const outboxItems = Math.max(2, Math.ceil(mostWaiting / devices));
    const ready = await readyFleet(plane, { devices, outboxItems, timeoutMs: joinMs }, async (join_) => {
      joining = await timed(plane, join_);
    });
    fleet = ready.fleet;
    await probe.serves(ready.what);
    console.log(`${devices} devices have joined after ${((performance.now() - began) / 1000).toFixed(0)} s`);
    const parts = { plane, fleet, probe, mostMs: size.mostMs };
    const idle = await timed(plane, () => new Promise((resolve) => setTimeout(resolve, idleMs)));
    const slices: Slice[] = [];
    for (const of of [
      { what: 'alone', windows: size.alone, rate: floodRate, people: false },
      { what: `people, ${steadyRate}/s`, windows: size.steady, rate: steadyRate, people: true },
      { what: 'people, all taken', windows: size.flood, rate: floodRate, people: true },
      { what: 'alone again', windows: size.alone, rate: floodRate, people: false },
    ]) {
      const done = await slice(parts, of);
      slices.push(done);
      console.log(
        `${of.what}: ${done.stored} windows in ${done.seconds.toFixed(1)} s, ${done.cpuUsPerWindow.toFixed(0)} us each`,
      );
    }
    const [early, late] = [slices[0], slices.at(-1)];
    if (joining === undefined || early === undefined || late === undefined) throw new Error('nothing was measured');
    return {
      ...{
        devices,
        joining,
        idleCpuMs: idle.cpuMs / idle.seconds,
        slices,
        lateToEarly: late.cpuUsPerWindow / early.cpuUsPerWindow,
      },
      requests: await countedAtTheEnd(plane, fleet, probe),
      databaseBytes: statSync(join(plane.folder, 'control-plane.db')).size,
      seconds: (performance.now() - began) / 1000,
      load: loadavg()[0] ?? 0,
    };
  } finally {
    fleet?.kill();
    await probe.close();
    await plane.kill();
    await folder.remove();
  }
}

interface Parts {
  plane: ControlPlane;
  fleet: SimulatedFleet;
  probe: QueryProbe;
  mostMs: number;
}

interface SliceOf {
  what: string;
  windows: number;
  rate: number;
  /** Whether anybody asks anything meanwhile. */
  people: boolean;
}

async function slice(parts: Parts, { what, windows, rate, people }: SliceOf): Promise<Slice> {
  const { plane, fleet, mostMs } = parts;
  const before = await fleet.tally();
  const loadBefore = await loadMs(fleet);
  const memory: number[] = [];
  const sampling = setInterval(() => memory.push(residentBytes(plane.program.pid)), sampleMs);
  const asking = people ? startPeople(parts) : undefined;
  // What waits at the end is part of it: it was taken, and costs.
  const stretch = await timed(plane, async () => {
    fleet.make(Math.max(1, (fleet.devices * 1000) / rate));
    const enough = before.windows.made + windows;
    await fleet.until(({ windows: { made } }) => made >= enough, { timeoutMs: mostMs });
    fleet.make(null);
    const drained = await fleet.until(({ windows: { waiting } }) => waiting === 0, { timeoutMs: drainMs });
    if (!drained) throw new Error(`windows wait for longer than ${drainMs} ms`);
  });
  const seen = await asking?.stop();
  clearInterval(sampling);
  memory.push(residentBytes(plane.program.pid));
  const after = await fleet.tally();
  const stored = after.windows.acknowledged - before.windows.acknowledged;
  const acknowledged = between(before.acknowledgedMs, after.acknowledgedMs);
  return {
    ...{ what, ...stretch, stored, cpuUsPerWindow: (stretch.cpuMs * 1000) / stored, memory },
    loadCpuMs: (await loadMs(fleet)) - loadBefore,
    windowsPerMessage: stored / acknowledged.count,
    acknowledgedMs: { p50: sketchQuantile(acknowledged, 0.5) ?? 0, p99: sketchQuantile(acknowledged, 0.99) ?? 0 },
    ...(seen && { people: seen }),
  };
}

/** Asks for devices and charts, and for each window of one device until it is counted. */
function startPeople({ plane, probe }: Parts) {
  const probes = [startProbe(plane), startProbe(plane, chart(Date.now() - 3_600_000), 250)];
  probe.start();
  return {
    async stop(): Promise<NonNullable<Slice['people']>> {
      const queryable = await probe.stop();
      const [api = [], charts = []] = await Promise.all(probes.map((each) => each.stop()));
      return {
        queryableMs: { p50: quantile(queryable, 0.5), p99: quantile(queryable, 0.99), windows: queryable.length },
        ...{ apiP99Ms: quantile(api, 0.99), chartP99Ms: quantile(charts, 0.99) },
      };
    },
  };
}

async function loadMs(fleet: SimulatedFleet): Promise<number> {
  const all = await Promise.all(fleet.pids.map(processorMs));
  return all.reduce<number>((sum, each) => sum + (each ?? 0), 0);
}

/** What came to a sketch that only grows. */
function between(before: QuantileSketch, after: QuantileSketch): QuantileSketch {
  const former = new Map(before.bins);
  const bins = after.bins
    .map(([bin, count]): [number, number] => [bin, count - (former.get(bin) ?? 0)])
    .filter(([, count]) => count > 0);
  return { ...after, bins, count: after.count - before.count, zeros: after.zeros - before.zeros };
}

/** Requests in all windows, and how many of them the control plane counts. */
async function countedAtTheEnd(plane: ControlPlane, fleet: SimulatedFleet, probe: QueryProbe) {
  const made = (await fleet.tally()).requests + probe.requests;
  const now = Date.now();
  const query = { metric: 'requests', model: 'simulated', from: now - 86_400_000, to: now + 86_400_000 };
  const { series } = await plane.api.get('/metrics/query', MetricResult, query);
  return { made, counted: series[0]?.points[0]?.value ?? 0 };
}

/** A device whose windows are asked for one by one until a query counts them. */
class QueryProbe {
  readonly #plane: ControlPlane;
  readonly #counts = new FleetCounts();
  #device: SimulatedDevice | undefined;
  #id = '';
  #running: Promise<number[]> | undefined;
  #stopped = true;

  constructor(plane: ControlPlane) {
    this.#plane = plane;
  }

  get requests(): number {
    return this.#counts.tally.requests;
  }

  async join(): Promise<void> {
    const { token } = await this.#plane.api.send('POST', '/join-tokens', CreatedJoinToken, { uses: 1 });
    const model = { name: 'simulated', classes: [] };
    const settings = benchSettings({ run: 'probe', joinToken: token, model });
    const traits = traitsOf(settings, 0);
    const enrolled = await enrol(await findDoor(token), { deviceId: traits.id, labels: traits.labels });
    this.#id = traits.id;
    this.#device = new SimulatedDevice({
      ...{ enrolled, traits, settings, windows: createWindows(settings), counts: this.#counts },
    });
    await this.#device.connect();
  }

  async serves({ version }: RunModel): Promise<void> {
    await until('the probe being told what to run', async () => this.#counts.tally.serving[version] || undefined);
  }

  start(): void {
    this.#stopped = false;
    this.#running = this.#run();
  }

  /** Milliseconds of each window. */
  async stop(): Promise<number[]> {
    this.#stopped = true;
    return (await this.#running) ?? [];
  }

  async close(): Promise<void> {
    this.#stopped = true;
    await this.#device?.close();
  }

  async #run(): Promise<number[]> {
    const latencies: number[] = [];
    while (!this.#stopped) {
      const to = Date.now();
      const started = performance.now();
      this.#device?.makeWindow({ from: to - probeWindowMs, to, elapsedMs: 0 });
      await this.#counted();
      latencies.push(performance.now() - started);
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
    return latencies;
  }

  async #counted(): Promise<void> {
    const now = Date.now();
    const query = { metric: 'requests', device: this.#id, from: now - 3_600_000, to: now + 60_000 };
    await until(
      'a window being counted',
      async () => {
        const { series } = await this.#plane.api.get('/metrics/query', MetricResult, query);
        return series[0]?.points[0]?.value === this.requests || undefined;
      },
      { timeoutMs: drainMs, everyMs: 50 },
    );
  }
}

function print({ devices, joining, slices, idleCpuMs, lateToEarly, requests, ...figures }: IngestFigures): void {
  printTable(
    [
      ...['devices', 'windows', 'stored', '/s', 'us/window', 'load us', 'a message', 'of a core', 'loop p99'],
      ...['loop max', 'ack p50', 'ack p99', 'query p50', 'query p99', 'API p99', 'chart p99'],
    ],
    slices.map((each) => [
      ...[String(devices), each.what, String(each.stored), (each.stored / each.seconds).toFixed(0)],
      ...[each.cpuUsPerWindow.toFixed(0), ((each.loadCpuMs * 1000) / each.stored).toFixed(0)],
      ...[each.windowsPerMessage.toFixed(1), `${(each.cpuMs / each.seconds / 10).toFixed(0)} %`],
      ...[each.loopP99Ms, each.loopMaxMs, each.acknowledgedMs.p50, each.acknowledgedMs.p99].map(msText),
      ...[each.people?.queryableMs.p50, each.people?.queryableMs.p99].map(msText),
      ...[each.people?.apiP99Ms, each.people?.chartP99Ms].map(msText),
    ]),
  );
  for (const { what, memory } of slices)
    console.log(`memory, ${what}: ${spread(memory, 12).map(megabytes).join(', ')}`);
  const join_ = `joining ${(joining.cpuMs / devices).toFixed(1)} ms of processor a device, ${joining.seconds.toFixed(0)} s`;
  const database = `database ${megabytes(figures.databaseBytes)}`;
  console.log(`${devices} devices: ${join_}; ${database}; load of the machine ${figures.load.toFixed(1)}`);
  console.log(`with nothing to do ${idleCpuMs.toFixed(0)} ms of processor a second, which is part of every figure`);
  console.log(`requests: ${requests.made} sent, ${requests.counted} counted`);
  console.log(`a window costs ${lateToEarly.toFixed(2)} of what it cost before the others were stored`);
  console.log(`took ${figures.seconds.toFixed(0)} s\n`);
}

/** At most so many of them, evenly. */
function spread(values: readonly number[], most: number): number[] {
  const every = Math.max(1, Math.ceil(values.length / most));
  return values.filter((_, i) => i % every === 0 || i === values.length - 1);
}
