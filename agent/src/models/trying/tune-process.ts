// The process in which a proven model is measured. First how many requests in one run pay, on one thread; then how many
// copies of the model with how many threads each answer most with runs of that size.
import { fileURLToPath } from 'node:url';
import { parse } from '@edgeloop/shared/errors';
import { answerBounded, sourceExecArgv } from '@edgeloop/shared/node/bounded-process';
import { Piscina } from 'piscina';
import type { Tuning } from '../../process/ipc.ts';
import { type Arrangement, arrangements, bestArrangement, largestBatch, type Measured } from './tune-choice.ts';
import { TuneOrder } from './tune-order.ts';
import type { TuneReport, TuneTask } from './tune-worker.ts';

const extension = import.meta.url.endsWith('.ts') ? 'ts' : 'js';
const workerFile = fileURLToPath(new URL(`./tune-worker.${extension}`, import.meta.url));
const sliceAtMostMs = 250;
const sliceAtLeastMs = 20;

answerBounded(async (input): Promise<Tuning> => {
  const order = parse(TuneOrder, input, 'model to measure', 'internal');
  const end = performance.now() + order.budgetMs;
  const { maxBatch, batchable } = await measureBatches(order, performance.now() + order.budgetMs / 3);
  const batch = batchable ? maxBatch : undefined;
  const measured: Measured[] = [];
  const candidates = arrangements(order.threads, order.model.manifest.instances);
  // One arrangement needs no comparison.
  for (const [at, arrangement] of candidates.length > 1 ? candidates.entries() : []) {
    const left = end - performance.now();
    if (left < sliceAtLeastMs) break;
    const sliceMs = Math.max(sliceAtLeastMs, Math.min(sliceAtMostMs, left / (candidates.length - at) / 2));
    const result = await measureArrangement(order, arrangement, { batch, sliceMs });
    measured.push(result);
    // Half of what may be used: requests on their way need the rest.
    if (result.rssBytes > order.maxRssBytes / 2) break;
  }
  const best = bestArrangement(measured, order.maxRssBytes / 2) ?? candidates[0] ?? { instances: 1, intraOpThreads: 1 };
  return { ...best, maxBatch };
});

async function measureBatches({ model }: TuneOrder, end: number): Promise<{ maxBatch: number; batchable: boolean }> {
  const copies = startCopies(model, { instances: 1, intraOpThreads: 1 });
  const sizes: { batch: number; runMs: number }[] = [];
  const [{ batchable = false } = {}] = await copies.run({ batch: undefined, judge: true, sliceMs: 0 });
  const most = batchable ? model.manifest.batching.maxBatch : 1;
  for (let batch = 1; batch <= most && performance.now() < end; batch *= 2) {
    const [report] = await copies.run({
      batch: batchable ? batch : undefined,
      judge: false,
      sliceMs: sliceAtLeastMs * 2,
    });
    if (report !== undefined) sizes.push({ batch, runMs: report.ms / report.runs });
  }
  await copies.end();
  return { maxBatch: largestBatch(sizes), batchable };
}

async function measureArrangement(
  { model }: TuneOrder,
  arrangement: Arrangement,
  { batch, sliceMs }: { batch: number | undefined; sliceMs: number },
): Promise<Measured> {
  const copies = startCopies(model, arrangement);
  await copies.run({ batch, judge: false, sliceMs: 0 });
  const reports = await copies.run({ batch, judge: false, sliceMs });
  const rssBytes = process.memoryUsage.rss();
  await copies.end();
  const perSecond = reports.reduce((sum, { runs, ms }) => sum + (runs * (batch ?? 1) * 1000) / ms, 0);
  const runMs = Math.max(...reports.map(({ runs, ms }) => ms / runs));
  return { ...arrangement, perSecond, runMs, rssBytes };
}

function startCopies(model: TuneOrder['model'], { instances, intraOpThreads }: Arrangement) {
  const threads = new Piscina<TuneTask, TuneReport>({
    filename: workerFile,
    minThreads: instances,
    maxThreads: instances,
    workerData: { model, intraOpThreads },
    execArgv: sourceExecArgv(import.meta.url),
  });
  return {
    /** Every copy runs for the slice, all at the same time. */
    run(slice: Omit<TuneTask, 'barrier' | 'parties'>): Promise<TuneReport[]> {
      const barrier = new Int32Array(new SharedArrayBuffer(4));
      const task: TuneTask = { ...slice, barrier, parties: instances };
      return Promise.all(Array.from({ length: instances }, () => threads.run(task)));
    },
    // They are idle between two slices, so they may be ended.
    end: () => threads.destroy(),
  };
}
