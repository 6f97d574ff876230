// pnpm bench rollouts [--only SIZE|engine|engine:SIZE]: a rollout in six waves without baking to a simulated fleet, over the real broker: what it costs
// the control plane, and whether its API answers meanwhile; then one with a bound on those under way and a rate, and what it costs
// when devices only report.
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync, statSync } from 'node:fs';
import { loadavg } from 'node:os';
import { join } from 'node:path';
import { createInterface, type Interface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { CreatedJoinToken } from '@edgeloop/shared/api/access';
import { Rollout, RolloutDetail } from '@edgeloop/shared/api/rollouts';
import { decodeJoinToken } from '@edgeloop/shared/join-token';
import { z } from 'zod';
import { pushVersion } from '../support/fleet.ts';
import { type ControlPlane, startControlPlane, temporaryFolder } from '../support/programs.ts';
import { until } from '../support/until.ts';
import { processorMs } from './processor-time.ts';
import { machine, megabytes, printTable, writeResult } from './report.ts';
import { benchEngine } from './rollout-engine.ts';

const perProcess = 2500;
const settleMs = 20 * 60_000;
/** Between two looks of what measures the loop's delay, which are part of it. */
const timerMs = 10;
const waves = [1, 5, 10, 25, 50, 100].map((percent) => ({ percent }));
/** Devices have 20 sites. */
const bounded = (devices: number) => ({
  maxUnavailable: { devices: Math.max(1, Math.ceil(devices / 200)), label: 'site' },
  rate: { start: devices * 6, factor: 2, growAfter: Math.ceil(devices / 10) },
});
/** As of a fleet of a thousand that says how it is every 90 seconds. */
const reportsPerSecond = (devices: number) => (11 * devices) / 1000;
const idleMs = 10_000;
const simulator = fileURLToPath(new URL('./simulated-fleet.ts', import.meta.url));

const Told = z.object({
  connected: z.number(),
  reports: z.number(),
  bytes: z.object({ in: z.number(), out: z.number() }),
  serving: z.record(z.string(), z.number()),
});
type Told = z.infer<typeof Told>;

interface Simulator {
  child: ChildProcess;
  lines: Interface;
}

/** A stretch of time, as the control plane went through it. */
interface Stretch {
  seconds: number;
  cpuMs: number;
  /** What its event loop was late by. */
  loopP99Ms: number;
  loopMaxMs: number;
}

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
  const ms = (value: number | undefined) => (value === undefined ? '' : `${value.toFixed(0)} ms`);
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
        ...[ms(each.loopP99Ms), ms(each.loopMaxMs), ms(each.apiP99Ms), ms(each.apiMaxMs)],
        each.bytes === undefined ? '' : (each.bytes / f.devices / 1024).toFixed(2),
      ]),
    ),
  );
  for (const { devices, detail, memoryBytes, walBytes, load } of all)
    console.log(
      `${devices} devices: ${megabytes(memoryBytes)} at most, WAL ${megabytes(walBytes)}, the whole rollout ${ms(detail.ms)} and ${megabytes(detail.bytes)}, load ${load.toFixed(1)}`,
    );
}

async function measure(devices: number): Promise<RolloutFigures> {
  const folder = await temporaryFolder();
  const plane = await startControlPlane(folder.path, { EDGELOOP_LOG_LEVEL: 'error' });
  const simulators: Simulator[] = [];
  const rolled = (version: number, plan: object) => measureRollout(plane, simulators, { version, devices, plan });
  try {
    const versions = [await pushVersion(plane, 'bench'), await pushVersion(plane, 'bench', { weight: 2 })];
    const token = await plane.api.send('POST', '/join-tokens', CreatedJoinToken, { uses: devices });
    const joining = await timed(plane, async () => {
      simulators.push(...(await joinAll(plane, decodeJoinToken(token.token), devices)));
      await heard(plane, devices);
    });
    const rollout = await rolled(versions[0] ?? 0, {});
    const throttled = await rolled(versions[1] ?? 0, bounded(devices));
    const perSecond = reportsPerSecond(devices);
    await ask(simulators, perSecond / simulators.length);
    const idle = await timed(plane, () => new Promise((resolve) => setTimeout(resolve, idleMs)));
    await ask(simulators, 0);
    return {
      ...{ devices, joining, rollout, bounded: throttled, idle: { ...idle, reportsPerSecond: perSecond } },
      detail: await timedDetail(plane),
      memoryBytes: peakBytes(plane.program.pid),
      walBytes: statSync(join(plane.folder, 'control-plane.db-wal')).size,
      load: loadavg()[0] ?? 0,
    };
  } finally {
    for (const { child } of simulators) child.kill('SIGKILL');
    await plane.kill();
    await folder.remove();
  }
}

async function measureRollout(
  plane: ControlPlane,
  simulators: readonly Simulator[],
  what: { version: number; devices: number; plan: object },
): Promise<Rolled> {
  const before = await ask(simulators);
  const probe = startProbe(plane);
  const rolling = await timed(plane, () => rollOut(plane, simulators, what));
  const latencies = await probe.stop();
  const after = await ask(simulators);
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

async function joinAll(
  plane: ControlPlane,
  { secret, port }: { secret: string; port: number },
  devices: number,
): Promise<Simulator[]> {
  const started: Simulator[] = [];
  for (let from = 0; from < devices; from += perProcess) {
    const settings = {
      ...{ from, count: Math.min(perProcess, devices - from), devicePort: port, secret, activateMs: 50, joinAtOnce: 8 },
      caPath: join(plane.folder, 'ca.pem'),
    };
    const args = ['--import', 'tsx', '--conditions', '@edgeloop/source', simulator, JSON.stringify(settings)];
    const child = spawn(process.execPath, args, { stdio: ['pipe', 'pipe', 'inherit'] });
    const lines = createInterface({ input: child.stdout });
    started.push({ child, lines });
    await once(lines, 'line');
  }
  return started;
}

/** Waits until the control plane has heard of all. */
async function heard(plane: ControlPlane, devices: number): Promise<void> {
  await until(
    'all devices being online',
    async () => {
      return metricIn(await scrape(plane), 'edgeloop_devices_online') === devices || undefined;
    },
    { timeoutMs: settleMs, everyMs: 500 },
  );
}

async function rollOut(
  plane: ControlPlane,
  simulators: readonly Simulator[],
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
  const { serving } = await ask(simulators);
  if (serving[version] !== devices) throw new Error(`${serving[version]} of ${devices} devices serve the version`);
  const detail = await plane.api.get(`/rollouts/${id}`, RolloutDetail);
  const healthy = detail.devices.filter(({ state }) => state === 'healthy').length;
  if (healthy !== devices) throw new Error(`${healthy} of ${devices} devices are shown as healthy`);
}

/** The sums over all simulators. `chatter`: reports a second of each from now on. */
async function ask(simulators: readonly Simulator[], chatter?: number): Promise<Told> {
  const sum: Told = { connected: 0, reports: 0, bytes: { in: 0, out: 0 }, serving: {} };
  for (const { child, lines } of simulators) {
    const answer = once(lines, 'line');
    child.stdin?.write(`${chatter ?? ''}\n`);
    const told = Told.parse(JSON.parse(String((await answer)[0])));
    sum.connected += told.connected;
    sum.reports += told.reports;
    sum.bytes.in += told.bytes.in;
    sum.bytes.out += told.bytes.out;
    for (const [version, count] of Object.entries(told.serving))
      sum.serving[version] = (sum.serving[version] ?? 0) + count;
  }
  return sum;
}

async function timed(plane: ControlPlane, work: () => Promise<unknown>): Promise<Stretch> {
  const cpu = (await processorMs(plane.program.pid)) ?? 0;
  await loopDelays(plane);
  const started = performance.now();
  await work();
  const seconds = (performance.now() - started) / 1000;
  return { seconds, cpuMs: ((await processorMs(plane.program.pid)) ?? 0) - cpu, ...(await loopDelays(plane)) };
}

/** Of the control plane's event loop since they were asked for last, without the timer's own time by which they are measured. */
async function loopDelays(plane: ControlPlane): Promise<Pick<Stretch, 'loopP99Ms' | 'loopMaxMs'>> {
  const text = await scrape(plane);
  const delay = (which: string) => metricIn(text, `nodejs_eventloop_lag_${which}_seconds`) * 1000 - timerMs;
  return { loopP99Ms: delay('p99'), loopMaxMs: delay('max') };
}

async function scrape(plane: ControlPlane): Promise<string> {
  return (await fetch(`${plane.url}/metrics`)).text();
}

function metricIn(text: string, name: string): number {
  return Number(new RegExp(`^${name} (\\S+)$`, 'm').exec(text)?.[1]);
}

/**
 * Asks for devices ten times a second, each by a request of its own, so that one that waits keeps no other from being asked.
 */
function startProbe(plane: ControlPlane) {
  const latencies: number[] = [];
  const open = new Set<Promise<void>>();
  const headers = keyOf(plane);
  const timer = setInterval(() => {
    const started = performance.now();
    const asked = fetch(`${plane.url}/api/v1/devices?limit=20`, { headers })
      .then((response) => response.text())
      .then(() => void latencies.push(performance.now() - started))
      .finally(() => open.delete(asked));
    open.add(asked);
  }, 100);
  return {
    async stop() {
      clearInterval(timer);
      await Promise.all(open);
      return latencies;
    },
  };
}

function keyOf({ folder }: ControlPlane) {
  return { authorization: `Bearer ${readFileSync(join(folder, 'admin.key'), 'utf8').trim()}` };
}

/** The most that it ever held. */
function peakBytes(pid: number): number {
  const match = /^VmHWM:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'));
  return Number(match?.[1] ?? 0) * 1024;
}

function quantile(values: readonly number[], q: number): number {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(q * sorted.length))] ?? 0;
}
