// What benches measure of a control plane that runs beside its load: processor, event loop, memory, and how long its API makes
// people wait meanwhile.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { ControlPlane } from '../support/programs.ts';
import { until } from '../support/until.ts';
import { processorMs } from './processor-time.ts';

/** A stretch of time, as the control plane went through it. */
export interface Stretch {
  seconds: number;
  cpuMs: number;
  /** What its event loop was late by. */
  loopP99Ms: number;
  loopMaxMs: number;
}

/** Between two looks of what measures the loop's delay, which are part of it. */
const timerMs = 10;
const settleMs = 20 * 60_000;

/** Reads the control plane's metrics, and keeps what they say of its event loop. */
export type Scrape = () => Promise<string>;

export async function timed(plane: ControlPlane, work: (scrape: Scrape) => Promise<unknown>): Promise<Stretch> {
  const cpu = (await processorMs(plane.program.pid)) ?? 0;
  await metricsOf(plane);
  // Each time that they are read, the loop's figures begin anew: the worst of all is kept.
  const loop = { loopP99Ms: 0, loopMaxMs: 0 };
  const scrape: Scrape = async () => {
    const text = await metricsOf(plane);
    loop.loopP99Ms = Math.max(loop.loopP99Ms, loopDelayMs(text, 'p99'));
    loop.loopMaxMs = Math.max(loop.loopMaxMs, loopDelayMs(text, 'max'));
    return text;
  };
  const started = performance.now();
  await work(scrape);
  const seconds = (performance.now() - started) / 1000;
  await scrape();
  return { seconds, cpuMs: ((await processorMs(plane.program.pid)) ?? 0) - cpu, ...loop };
}

/** What the loop was late by, without the timer's own time by which it is measured. */
function loopDelayMs(text: string, which: 'p99' | 'max'): number {
  return metricIn(text, `nodejs_eventloop_lag_${which}_seconds`) * 1000 - timerMs;
}

async function metricsOf(plane: ControlPlane): Promise<string> {
  return (await ask(`${plane.url}/metrics`)).text();
}

/** As browsers do: a connection that was kept open and is closed under a request is no failure of it. */
async function ask(url: string, init: RequestInit = {}): Promise<Response> {
  try {
    return await fetch(url, init);
  } catch {
    return await fetch(url, init);
  }
}

function metricIn(text: string, name: string): number {
  return Number(new RegExp(`^${name} (\\S+)$`, 'm').exec(text)?.[1]);
}

/** Waits until the control plane has heard of all. */
export async function heard(scrape: Scrape, devices: number): Promise<void> {
  await until(
    'all devices being online',
    async () => metricIn(await scrape(), 'edgeloop_devices_online') >= devices || undefined,
    { timeoutMs: settleMs, everyMs: 1000 },
  );
}

/** Asked and not answered: beyond these nothing more is asked, as no page does. */
const mostOpen = 4;

/**
 * Asks for a path of the API again and again, each time by a request of its own, so that one that waits keeps no other from being
 * asked. Gives how long each answer took.
 */
export function startProbe(plane: ControlPlane, path = '/devices?limit=20', everyMs = 100) {
  const latencies: number[] = [];
  const failures: unknown[] = [];
  const open = new Set<Promise<void>>();
  const headers = keyOf(plane);
  const timer = setInterval(() => {
    if (open.size >= mostOpen) return;
    const started = performance.now();
    const asked = ask(`${plane.url}/api/v1${path}`, { headers })
      .then(async (response) => {
        const text = await response.text();
        if (!response.ok) throw new Error(`${path}: ${response.status} ${text}`);
      })
      .then(() => void latencies.push(performance.now() - started))
      .catch((error: unknown) => void failures.push(error))
      .finally(() => open.delete(asked));
    open.add(asked);
  }, everyMs);
  return {
    async stop() {
      clearInterval(timer);
      await Promise.all(open);
      if (failures.length > 0) throw failures[0];
      return latencies;
    },
  };
}

export function keyOf({ folder }: ControlPlane) {
  return { authorization: `Bearer ${readFileSync(join(folder, 'admin.key'), 'utf8').trim()}` };
}

/** The most that it ever held. */
export const peakBytes = (pid: number): number => statusBytes(pid, 'VmHWM');

/** What it holds now. */
export const residentBytes = (pid: number): number => statusBytes(pid, 'VmRSS');

function statusBytes(pid: number, name: string): number {
  const match = new RegExp(`^${name}:\\s+(\\d+) kB$`, 'm').exec(readFileSync(`/proc/${pid}/status`, 'utf8'));
  return Number(match?.[1] ?? 0) * 1024;
}

export function quantile(values: readonly number[], q: number): number {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(q * sorted.length))] ?? 0;
}

export const msText = (value: number | undefined): string => (value === undefined ? '' : `${value.toFixed(0)} ms`);
