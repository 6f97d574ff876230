// Requests a second and latencies of all contestants, in interleaved rounds.
import { join } from 'node:path';
import type { FolderServer } from '../support/serving.ts';
import { type Contestant, startField, startRaw } from './contestants.ts';
import { type LoadGenerator, median, quantile } from './load.ts';
import type { BenchModel } from './models.ts';
import { processorMs } from './processor-time.ts';
import { printTable, spread } from './report.ts';

export interface Cell {
  model: string;
  contestant: string;
  /** 0 for raw runs. */
  callers: number;
  /** One entry a round. */
  perSecond: number[];
  p50Ms: number[];
  p99Ms: number[];
  /** Processor time a request of all processes of the server, in microseconds; none for raw runs. */
  processorUs: number[];
  failures: number;
}

export interface Rounds {
  rounds: number;
  durationMs: number;
  callers: readonly number[];
}

export interface Throughput {
  cells: Cell[];
  /** Agent's resident bytes after all of it, four models loaded. */
  rssBytes: number;
}

/** Measures all models with all contestants. */
export async function measureThroughput(
  folder: string,
  models: readonly BenchModel[],
  load: LoadGenerator,
  rounds: Rounds,
): Promise<Throughput> {
  const cells = new Map<string, Cell>();
  const raw = await startRaw(join(folder, 'models'), models);
  const field = await startField(folder, models);
  const { durationMs } = rounds;
  try {
    await warmUp(field.contestants, models, load);
    for (let round = 0; round < rounds.rounds; round++) {
      for (const model of models) {
        for (const workers of [1, 2] as const) {
          const tookMs = await raw.run(model.name, workers, durationMs);
          note(cells, [model.name, `raw ${workers}`, 0], { tookMs, seconds: durationMs / 1000, failures: {} });
        }
        for (const callers of rounds.callers) {
          for (const { name, target, pid, request } of field.contestants) {
            const bytes = request(model);
            if (bytes === undefined) continue;
            const beforeMs = await processorMs(pid);
            const result = await load.run({ target, callers, durationMs, request: bytes });
            const afterMs = await processorMs(pid);
            const spentMs = afterMs === undefined || beforeMs === undefined ? undefined : afterMs - beforeMs;
            note(cells, [model.name, name, callers], { ...result, spentMs });
          }
        }
      }
    }
    return { cells: [...cells.values()], rssBytes: await rssOf(field.agent) };
  } finally {
    raw.stop();
    await field.stop();
  }
}

/** Code is compiled before anything counts, and what is measured once per model has been measured. */
async function warmUp(
  contestants: readonly Contestant[],
  models: readonly BenchModel[],
  load: LoadGenerator,
): Promise<void> {
  for (const { target, request } of contestants) {
    for (const model of models) {
      const bytes = request(model);
      if (bytes !== undefined) await load.run({ target, callers: 8, durationMs: 700, request: bytes });
    }
  }
}

const rssOf = (agent: FolderServer): Promise<number> => agent.rssBytes();

function note(
  cells: Map<string, Cell>,
  [model, contestant, callers]: [string, string, number],
  {
    tookMs,
    seconds,
    failures,
    spentMs,
  }: { tookMs: number[]; seconds: number; failures: Record<string, number>; spentMs?: number | undefined },
): void {
  const key = `${model} ${contestant} ${callers}`;
  const cell = cells.get(key) ?? {
    model,
    contestant,
    callers,
    perSecond: [],
    p50Ms: [],
    p99Ms: [],
    processorUs: [],
    failures: 0,
  };
  cells.set(key, cell);
  cell.perSecond.push(tookMs.length / seconds);
  cell.p50Ms.push(median(tookMs));
  cell.p99Ms.push(quantile(tookMs, 0.99));
  if (spentMs !== undefined) cell.processorUs.push((spentMs * 1000) / tookMs.length);
  for (const [what, times] of Object.entries(failures)) {
    cell.failures += times;
    console.error(`${key}: ${times} times ${what}`);
  }
}

/** Ratio of two cells round by round. */
export function ratios(
  above: Cell | undefined,
  below: Cell | undefined,
  of: 'perSecond' | 'processorUs' = 'perSecond',
): number[] {
  return (above?.[of] ?? []).map((value, i) => value / (below?.[of][i] ?? Number.NaN));
}

export function cellOf(cells: readonly Cell[], model: string, contestant: string, callers: number): Cell | undefined {
  return cells.find((cell) => cell.model === model && cell.contestant === contestant && cell.callers === callers);
}

export function printThroughput(
  cells: readonly Cell[],
  models: readonly BenchModel[],
  callers: readonly number[],
): void {
  const contestants = ['JSON', 'binary', 'socket', '/predict', 'naive'];
  for (const { name } of models) {
    const raw = (workers: number) => spread(cellOf(cells, name, `raw ${workers}`, 0)?.perSecond ?? [], 0);
    console.log(
      `${name}: requests/s (p50, p99 ms; us of processor time a request); raw ONNX Runtime ${raw(1)} runs/s in one thread, ${raw(2)} in two`,
    );
    const rows = callers.map((count) => [
      `${count} callers`,
      ...contestants.map((contestant) => {
        const cell = cellOf(cells, name, contestant, count);
        if (cell === undefined) return '-';
        const { perSecond, p50Ms, p99Ms, processorUs } = cell;
        const spent = processorUs.length === 0 ? '' : `; ${Math.round(median(processorUs))}`;
        return `${spread(perSecond, 0)} (${median(p50Ms).toFixed(2)}, ${median(p99Ms).toFixed(2)}${spent})`;
      }),
    ]);
    printTable(['', ...contestants], rows);
  }
}
