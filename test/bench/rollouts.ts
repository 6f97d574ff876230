// pnpm bench rollouts: a rollout in six waves without baking to a simulated fleet, over the real broker: what it costs the control
// plane, and whether its API answers meanwhile.
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
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

const perProcess = 2500;
const settleMs = 20 * 60_000;
const waves = [1, 5, 10, 25, 50, 100].map((percent) => ({ percent }));
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

export interface RolloutFigures {
  devices: number;
  joinSeconds: number;
  joinCpuMs: number;
  rolloutSeconds: number;
  rolloutCpuMs: number;
  idleCpuPercent: number;
  memoryBytes: number;
  delayP99Ms: number;
  delayMaxMs: number;
  apiP99Ms: number;
  reports: number;
  bytes: number;
}

export async function benchRollouts({ quick, only }: { quick: boolean; only?: string | undefined }): Promise<void> {
  const sizes = only === undefined ? (quick ? [100] : [1000, 3000, 10_000]) : [Number(only)];
  const figures: RolloutFigures[] = [];
  for (const devices of sizes) {
    const measured = await measure(devices);
    figures.push(measured);
    print([measured]);
  }
  if (figures.length > 1) print(figures);
  console.log(`written to ${writeResult('rollouts', { ...machine(), figures })}`);
}

function print(figures: readonly RolloutFigures[]): void {
  const each = (ms: number, devices: number) => (ms / devices).toFixed(2);
  printTable(
    [
      'devices',
      'join s',
      'join cpu ms/device',
      'rollout s',
      'cpu s',
      'cpu ms/device',
      'idle cpu',
      'memory',
      'loop p99',
      'loop max',
      'API p99',
      'KB/device',
    ],
    figures.map((f) => [
      String(f.devices),
      f.joinSeconds.toFixed(1),
      each(f.joinCpuMs, f.devices),
      f.rolloutSeconds.toFixed(1),
      (f.rolloutCpuMs / 1000).toFixed(1),
      each(f.rolloutCpuMs, f.devices),
      `${f.idleCpuPercent.toFixed(1)} %`,
      megabytes(f.memoryBytes),
      `${f.delayP99Ms.toFixed(0)} ms`,
      `${f.delayMaxMs.toFixed(0)} ms`,
      `${f.apiP99Ms.toFixed(0)} ms`,
      (f.bytes / f.devices / 1024).toFixed(2),
    ]),
  );
}

async function measure(devices: number): Promise<RolloutFigures> {
  const folder = await temporaryFolder();
  const plane = await startControlPlane(folder.path, { EDGELOOP_LOG_LEVEL: 'error' });
  const simulators: Simulator[] = [];
  try {
    const version = await pushVersion(plane, 'bench');
    const token = await plane.api.send('POST', '/join-tokens', CreatedJoinToken, { uses: devices });
    const joining = await timed(plane, async () => {
      simulators.push(...(await joinAll(plane, decodeJoinToken(token.token), devices)));
      await heard(plane, devices);
    });
    const before = await ask(simulators);
    const probe = startProbe(plane);
    const rolling = await timed(plane, () => rollOut(plane, simulators, { version, devices }));
    const { latencies, delays, memoryBytes } = await probe.stop();
    const after = await ask(simulators);
    const idle = await timed(plane, () => new Promise((resolve) => setTimeout(resolve, 5000)));
    return {
      devices,
      ...{ joinSeconds: joining.ms / 1000, joinCpuMs: joining.cpuMs },
      ...{ rolloutSeconds: rolling.ms / 1000, rolloutCpuMs: rolling.cpuMs },
      idleCpuPercent: (100 * idle.cpuMs) / idle.ms,
      memoryBytes,
      ...{ delayP99Ms: quantile(delays, 0.99), delayMaxMs: Math.max(...delays), apiP99Ms: quantile(latencies, 0.99) },
      reports: after.reports - before.reports,
      bytes: after.bytes.in + after.bytes.out - before.bytes.in - before.bytes.out,
    };
  } finally {
    for (const { child } of simulators) child.kill('SIGKILL');
    await plane.kill();
    await folder.remove();
  }
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
      const text = await (await fetch(`${plane.url}/metrics`)).text();
      return Number(/^edgeloop_devices_online (\d+)$/m.exec(text)?.[1]) === devices || undefined;
    },
    { timeoutMs: settleMs },
  );
}

async function rollOut(
  plane: ControlPlane,
  simulators: readonly Simulator[],
  { version, devices }: { version: number; devices: number },
): Promise<void> {
  const plan = { waves, bakeSeconds: 0, gates: { minRequests: 0 } };
  const { id } = await plane.api.send('POST', '/rollouts', Rollout, { model: 'bench', version, ...plan });
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

/** The sums over all simulators. */
async function ask(simulators: readonly Simulator[]): Promise<Told> {
  const sum: Told = { connected: 0, reports: 0, bytes: { in: 0, out: 0 }, serving: {} };
  for (const { child, lines } of simulators) {
    const answer = once(lines, 'line');
    child.stdin?.write('?\n');
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

async function timed(plane: ControlPlane, work: () => Promise<unknown>): Promise<{ ms: number; cpuMs: number }> {
  const cpu = (await processorMs(plane.program.pid)) ?? 0;
  const started = performance.now();
  await work();
  return { ms: performance.now() - started, cpuMs: ((await processorMs(plane.program.pid)) ?? 0) - cpu };
}

/**
 * Asks for devices ten times a second, each by a request of its own, so that one that waits keeps no other from being asked, and
 * for nothing at all, which tells how long the event loop was busy.
 */
function startProbe(plane: ControlPlane) {
  const latencies: number[] = [];
  const delays: number[] = [];
  let memoryBytes = 0;
  const open = new Set<Promise<void>>();
  const headers = { authorization: `Bearer ${readFileSync(join(plane.folder, 'admin.key'), 'utf8').trim()}` };
  const track = (into: number[], path: string) => {
    const started = performance.now();
    const asked = fetch(`${plane.url}${path}`, { headers })
      .then((response) => response.text())
      .then(() => void into.push(performance.now() - started))
      .finally(() => open.delete(asked));
    open.add(asked);
  };
  const timer = setInterval(() => {
    track(latencies, '/api/v1/devices?limit=20');
    track(delays, '/healthz');
    memoryBytes = Math.max(memoryBytes, residentBytes(plane.program.pid));
  }, 100);
  return {
    async stop() {
      clearInterval(timer);
      await Promise.all(open);
      return { latencies, delays, memoryBytes };
    },
  };
}

function residentBytes(pid: number): number {
  const match = /^VmRSS:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'));
  return Number(match?.[1] ?? 0) * 1024;
}

function quantile(values: readonly number[], q: number): number {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(q * sorted.length))] ?? 0;
}
