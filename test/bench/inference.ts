// `pnpm bench inference`: the agent beside raw ONNX Runtime and a naive server, and what it holds and how it swaps.
import { join } from 'node:path';
import { temporaryFolder } from '../support/programs.ts';
import { measureFootprint, measureHundred, measureSwaps } from './footprint.ts';
import { measureLargeBodies } from './large-bodies.ts';
import { type LoadGenerator, startLoadGenerator } from './load.ts';
import { benchModels, writeBenchModels } from './models.ts';
import { machine, megabytes, printTable, spread, writeResult } from './report.ts';
import { measureSwapUnderLoad } from './swap.ts';
import { atLeast, atMost, type Target, throughputTargets } from './targets.ts';
import { measureTelemetryCost } from './telemetry-cost.ts';
import { measureThroughput, printThroughput } from './throughput.ts';

export interface BenchOptions {
  /** About a minute and a half instead of six. */
  quick: boolean;
  /** Folder with further models. */
  data?: string | undefined;
  /** One part alone: throughput, footprint, hundred, large, swap, telemetry or swaps. */
  only?: string | undefined;
}

type Part = (context: { quick: boolean; data: string | undefined; load: LoadGenerator }) => Promise<{
  figures: unknown;
  targets: Target[];
}>;

const parts: readonly [string, Part][] = [
  ['throughput', throughput],
  ['footprint', footprint],
  ['hundred', hundred],
  ['large', largeBodies],
  ['swap', swapUnderLoad],
  ['telemetry', telemetry],
  ['swaps', swaps],
];

/** Runs all parts, or the one that `only` names. */
export async function benchInference({ quick, data, only }: BenchOptions): Promise<void> {
  const load = startLoadGenerator();
  const figures: Record<string, unknown> = { machine: machine(), quick };
  const targets: Target[] = [];
  console.log(
    Object.entries(machine())
      .map(([name, value]) => `${name} ${value}`)
      .join(', '),
  );
  console.log('load generator, servers and raw runs share the cores\n');
  try {
    for (const [name, part] of parts) {
      if (only !== undefined && only !== name) continue;
      try {
        const measured = await part({ quick, data, load });
        figures[name] = measured.figures;
        targets.push(...measured.targets);
      } catch (error) {
        // One part that cannot be measured is a result, too; the others still are.
        console.error(`${name} could not be measured: ${error}`);
        targets.push({ what: name, measured: 'not measured', met: false });
      }
    }
  } finally {
    load.stop();
  }
  printTable(
    ['target', 'measured', ''],
    targets.map(({ what, measured, met }) => [what, measured, met ? 'met' : 'NOT MET']),
  );
  console.log(writeResult('inference', { ...figures, targets }));
}

async function throughput({ quick, data, load }: Parameters<Part>[0]) {
  const folder = await temporaryFolder();
  const models = benchModels(data);
  const rounds = { rounds: quick ? 1 : 3, durationMs: quick ? 300 : 800, callers: [1, 8, 64] };
  try {
    await writeBenchModels(join(folder.path, 'models'), models);
    const { cells, rssBytes } = await measureThroughput(folder.path, models, load, rounds);
    printThroughput(cells, models, rounds.callers);
    console.log(`memory of the agent with these ${models.length} models, after all of it: ${megabytes(rssBytes)}\n`);
    return { figures: { cells, rssBytes }, targets: throughputTargets(cells, models) };
  } finally {
    await folder.remove();
  }
}

async function footprint({ quick, load }: Parameters<Part>[0]) {
  const measured = await measureFootprint(load, quick ? 1000 : 3000);
  const { firstReadyMs, readyMs, idleBytes, loadedBytes } = measured;
  return {
    figures: measured,
    targets: [
      bounded('start to ready, models seen before', readyMs, 1500, (ms) => `${Math.round(ms)} ms`),
      bounded('start to ready, first time', firstReadyMs, 1500, (ms) => `${Math.round(ms)} ms`),
      bounded('memory idle, one small model', idleBytes, 150 * 2 ** 20, megabytes),
      bounded('memory loaded, 64 callers, bodies up to 2 MB', loadedBytes, 300 * 2 ** 20, megabytes),
    ],
  };
}

async function hundred() {
  const measured = await measureHundred();
  console.log(`100 small models: ready after ${Math.round(measured.readyMs)} ms\n`);
  return {
    figures: measured,
    targets: [bounded('memory with 100 small models', measured.rssBytes, 600 * 2 ** 20, megabytes)],
  };
}

async function largeBodies({ quick, load }: Parameters<Part>[0]) {
  const ratios = await measureLargeBodies(load, quick ? 3 : 5, quick ? 1000 : 2000);
  return {
    figures: ratios,
    targets: [atLeast('bytes/s in bodies of 8 MB / of 1 MB', ratios, 0.25)],
  };
}

async function swapUnderLoad({ load }: Parameters<Part>[0]) {
  const measured = await measureSwapUnderLoad(load);
  const { requests, failures, swapMs, p99BeforeMs, p99DuringMs } = measured;
  console.log(`swap under load: ${requests} requests, the swap took ${Math.round(swapMs)} ms`);
  console.log(`p99 before ${p99BeforeMs.toFixed(2)} ms, during ${p99DuringMs.toFixed(2)} ms\n`);
  const ratio = p99DuringMs / p99BeforeMs;
  return {
    figures: measured,
    targets: [
      bounded('failed requests in a swap under load', failures, 0, String),
      bounded('p99 during the swap / before', ratio, 2, (value) => value.toFixed(2)),
    ],
  };
}

async function telemetry({ quick, load }: Parameters<Part>[0]) {
  const cost = await measureTelemetryCost(load, quick ? 9 : 21, quick ? 1500 : 3000);
  const path = atMost('processor time of a request where it is answered, with telemetry / without', cost.path, 1.05);
  console.log(
    `processor time of all processes, everything captured and sent: ${spread(cost.all)} times that without\n`,
  );
  const rate = atLeast('requests/s with telemetry / without', cost.rate, 0.95);
  return { figures: cost, targets: cost.path.length === 0 ? [rate] : [rate, path] };
}

async function swaps({ quick }: Parameters<Part>[0]) {
  const measured = await measureSwaps(quick ? 30 : 200);
  const ratio = measured.afterBytes / measured.beforeBytes;
  console.log(
    `${megabytes(measured.beforeBytes)} after 10 swaps, ${megabytes(measured.afterBytes)} after ${measured.swaps}\n`,
  );
  return {
    figures: measured,
    targets: [bounded(`memory after ${measured.swaps} swaps / at the start`, ratio, 1.2, (value) => value.toFixed(2))],
  };
}

function bounded(what: string, value: number, most: number, text: (value: number) => string): Target {
  return { what: `${what}: at most ${text(most)}`, measured: text(value), met: value <= most };
}
