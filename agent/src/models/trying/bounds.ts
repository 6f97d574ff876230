// Measures a loaded model on this device, for bounds that its release names and to compare variants. Only for processes of their own.
import { readFile } from 'node:fs/promises';
import { type Acceptance, allowedAbove, type Measured } from '@edgeloop/shared/acceptance';

export interface Measuring {
  /** One run, of the next input in turn. */
  run(): Promise<unknown>;
  /** Unset: only to compare, with a few runs. */
  bounds: Acceptance | undefined;
  nowMs(): number;
}

const warmUpRuns = 3;
const runsToCompare = 15;
/** What disturbs one round is the machine's; what the model takes, it takes in all of them. */
const rounds = 3;
/** A round without a bound that it could break ends then, with at least `runsAtLeast` runs. */
const roundAtMostMs = 3000;
const runsAtLeast = 3;

/** The best of some rounds; later ones are left out when one keeps the bound. */
export async function measureRuns({ run, bounds, nowMs }: Measuring): Promise<Omit<Measured, 'memoryMb'>> {
  const { quantile = 0.5, runs = runsToCompare, maxLatencyMs } = bounds ?? {};
  for (let warm = 0; warm < warmUpRuns; warm += 1) await run();
  let best: number[] | undefined;
  for (let round = 0; round < rounds; round += 1) {
    const tookMs = await measureRound({ run, bounds, nowMs }, runs);
    if (best === undefined || quantileOf(tookMs, quantile) < quantileOf(best, quantile)) best = tookMs;
    if (maxLatencyMs !== undefined && quantileOf(best, quantile) <= maxLatencyMs) break;
  }
  const measured = { medianMs: rounded(quantileOf(best ?? [], 0.5)), runs: best?.length ?? 0 };
  if (maxLatencyMs === undefined) return measured;
  return { ...measured, quantile, quantileMs: rounded(quantileOf(best ?? [], quantile)) };
}

/** Ascending. Ends as soon as the bound is broken for certain. */
async function measureRound({ run, bounds, nowMs }: Measuring, runs: number): Promise<number[]> {
  const { quantile = 0.5, maxLatencyMs } = bounds ?? {};
  const slowAllowed = allowedAbove({ quantile, runs });
  const begunMs = nowMs();
  const tookMs: number[] = [];
  let slow = 0;
  while (tookMs.length < runs) {
    const startedMs = nowMs();
    await run();
    const took = nowMs() - startedMs;
    tookMs.push(took);
    if (maxLatencyMs !== undefined && took > maxLatencyMs) slow += 1;
    if (slow > slowAllowed) break;
    if (maxLatencyMs === undefined && tookMs.length >= runsAtLeast && nowMs() - begunMs > roundAtMostMs) break;
  }
  return tookMs.sort((a, b) => a - b);
}

/** Of ascending values: so many of them may lie above it. */
function quantileOf(ascending: readonly number[], quantile: number): number {
  const above = allowedAbove({ quantile, runs: ascending.length });
  return ascending[Math.max(0, ascending.length - 1 - above)] ?? Number.POSITIVE_INFINITY;
}

/** Why it is not accepted, with both numbers; undefined when it keeps its bounds. */
export function brokenBound(
  { quantileMs, quantile, runs, memoryMb }: Measured,
  { maxLatencyMs, maxMemoryMb }: Acceptance,
): string | undefined {
  if (maxLatencyMs !== undefined && quantileMs !== undefined && quantileMs > maxLatencyMs)
    return `the ${Number(((quantile ?? 0) * 100).toFixed(3))} % quantile of ${runs} runs takes ${quantileMs} ms on this device, its bound is ${maxLatencyMs} ms`;
  if (maxMemoryMb === undefined) return undefined;
  if (memoryMb === undefined)
    return `this device does not tell how much memory it takes, and its bound is ${maxMemoryMb} MB`;
  if (memoryMb > maxMemoryMb) return `it takes ${memoryMb} MB of memory on this device, its bound is ${maxMemoryMb} MB`;
  return undefined;
}

/** How long measuring may take within the bounds. */
export function measuringMs(bounds: Acceptance | undefined): number {
  const longest = (bounds?.maxLatencyMs ?? 0) * ((bounds?.runs ?? 0) + warmUpRuns);
  return rounds * Math.max(roundAtMostMs, longest);
}

const megabyte = 1024 * 1024;

/** Of this process in megabytes: what it shares with others counts in part where the system tells (Linux), else as a whole. */
export async function ownMemoryMb(): Promise<number> {
  if (process.platform === 'linux') {
    const match = /^Pss:\s+(\d+) kB/m.exec(await readFile('/proc/self/smaps_rollup', 'utf8').catch(() => ''));
    if (match !== null) return Number(match[1]) / 1024;
  }
  return process.memoryUsage.rss() / megabyte;
}

export function rounded(value: number): number {
  return Number(value.toPrecision(4));
}
