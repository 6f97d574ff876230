// One backtest: samples are gathered, the candidate and then the baseline are run over them, each in a process of its own, and
// what they say is compared.
import type { BacktestCreate, BacktestReport, BacktestRun } from '@edgeloop/shared/api/backtests';
import { AppError } from '@edgeloop/shared/errors';
import type { Labels } from '@edgeloop/shared/selector';
import { quantile } from '@edgeloop/shared/sketches/ddsketch';
import type { Chosen } from './baseline.ts';
import { type Gathered, type GatheringDeps, gather } from './gathering.ts';
import { type Replayed, type ReplayLimits, replay } from './replay.ts';
import { type Said, Tally } from './tally.ts';
import type { BacktestFailure } from './verdict.ts';

export interface ComparingDeps extends GatheringDeps {
  blobs: { path: (digest: string) => string };
  limits: ReplayLimits;
}

export interface Comparing {
  model: string;
  version: number;
  asked: BacktestCreate;
  chosen: Chosen;
  /** A file for the rows. */
  path: string;
  signal: AbortSignal;
}

export type Compared = { report: BacktestReport } | { failure: BacktestFailure };

/** Samples that are counted before others have a turn. */
const atOnce = 500;

export async function compare(deps: ComparingDeps, given: Comparing): Promise<Compared> {
  const { model, version, asked, path, signal } = given;
  const contract = await deps.contract(model, version);
  const candidate = { version, manifest: contract.manifest };
  const gathered = await gather(deps, { model, candidate, asked, path, signal });
  const rerun = (run: { manifest: (typeof contract)['manifest']; digest: string }, rows: number) =>
    replay(
      {
        ...{ path: deps.blobs.path(run.digest), manifest: run.manifest, rows: path },
        ...{ layouts: gathered.layouts.map((layout) => [...layout]), layoutOf: gathered.layoutOf.slice(0, rows) },
      },
      deps.limits,
      signal,
    );
  const first = await rerun(contract, gathered.samples.length);
  if ('failure' in first) {
    const detail = `version ${version}: ${first.failure}`;
    return { failure: { by: first.by === 'model' ? 'candidate' : first.by, detail } };
  }
  const baseline = await rerunBaseline(deps, given, (run) => rerun(run, first.replayed.done));
  return { report: await reportOf(deps, { given, gathered, candidate: first.replayed, baseline }) };
}

interface Baseline {
  replayed: Replayed | undefined;
  why: string;
}

/** A baseline that cannot be run is no fault of the candidate: what devices answered in the field stands for it. */
async function rerunBaseline(
  { contract }: ComparingDeps,
  { model, chosen }: Comparing,
  rerun: (run: Awaited<ReturnType<GatheringDeps['contract']>>) => ReturnType<typeof replay>,
): Promise<Baseline> {
  const { version, why } = chosen;
  if (version === null) return { replayed: undefined, why };
  try {
    const result = await rerun(await contract(model, version));
    if ('replayed' in result) return { replayed: result.replayed, why };
    return { replayed: undefined, why: `version ${version} could not be run here: ${result.failure}` };
  } catch (error) {
    if (!(error instanceof AppError) || error.code !== 'not_found') throw error;
    return { replayed: undefined, why: error.message };
  }
}

interface Reporting {
  given: Comparing;
  gathered: Gathered;
  candidate: Replayed;
  baseline: Baseline;
}

async function reportOf(deps: ComparingDeps, reporting: Reporting): Promise<BacktestReport> {
  const { given, gathered, candidate, baseline } = reporting;
  const { version, chosen } = given;
  const isAlike = baseline.replayed !== undefined && baseline.replayed.kind === candidate.kind;
  const replayed = isAlike ? baseline.replayed : undefined;
  const why =
    baseline.replayed === undefined || isAlike
      ? baseline.why
      : `version ${chosen.version} and version ${version} do not both answer with classes, or with numbers`;
  const tallied = await tally(deps, { ...reporting, baseline: { replayed, why } });
  const samples = gathered.samples.slice(0, candidate.done);
  const comparedWith = replayed !== undefined ? 'baseline' : tallied.compared > 0 ? 'field' : 'nothing';
  const notRun = gathered.samples.length - candidate.done;
  const cut =
    notRun === 0 ? gathered.cut : `only ${candidate.done} of ${gathered.samples.length} samples, since time was over`;
  return {
    ...spanOf(samples),
    samples: samples.length,
    ...{ comparedWith, why, candidate: runOf(version, candidate) },
    baseline: replayed === undefined || chosen.version === null ? null : runOf(chosen.version, replayed),
    ...tallied,
    leftOut: [...gathered.leftOut].map(([reason, count]) => ({ reason, samples: count })),
    cut,
  };
}

function spanOf(samples: readonly { predictedAt: number }[]): Pick<BacktestReport, 'from' | 'to'> {
  let [from, to] = [Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY];
  for (const { predictedAt } of samples) {
    from = Math.min(from, predictedAt);
    to = Math.max(to, predictedAt);
  }
  return samples.length === 0 ? { from: null, to: null } : { from, to };
}

async function tally(deps: ComparingDeps, { given, gathered, candidate, baseline }: Reporting) {
  const { replayed } = baseline;
  const done = Math.min(candidate.done, replayed?.done ?? candidate.done);
  const values = (replayed?.numbers ?? candidate.numbers)?.values ?? [];
  const subject = { candidate: given.version, baseline: replayed === undefined ? null : given.chosen.version, values };
  const counted = new Tally(subject);
  const say = { candidate: sayingsOf(candidate), baseline: replayed && sayingsOf(replayed) };
  for (let at = 0; at < done; at++) {
    const sample = gathered.samples[at];
    if (sample === undefined) break;
    const { deviceId, version, reason, label, predicted: field } = sample;
    const own = field === null || version === given.version || values.length > 0 ? undefined : field;
    counted.add({
      ...{ deviceId, version, reason, label, field },
      candidate: say.candidate(at) ?? null,
      baseline: say.baseline === undefined ? own : say.baseline(at),
    });
    if (at % atOnce === atOnce - 1) await breath(given.signal);
  }
  let placed = 0;
  for (const id of counted.devices()) {
    const labels: Labels | undefined = deps.labelsOf(id);
    if (labels !== undefined) counted.place(id, labels);
    if (++placed % atOnce === 0) await breath(given.signal);
  }
  return counted.result();
}

async function breath(signal: AbortSignal): Promise<void> {
  signal.throwIfAborted();
  await new Promise((resolve) => setImmediate(resolve));
}

/** What a model said of a row; undefined: it could not be asked. */
function sayingsOf({ classes, codes, numbers }: Replayed): (row: number) => Said | undefined {
  const width = numbers?.values.length ?? 0;
  return (row) => {
    const code = codes[row] ?? -3;
    if (code < 0) return code === -3 ? undefined : null;
    if (numbers === null) return classes[code] ?? null;
    return Array.from(numbers.data.subarray(row * width, (row + 1) * width));
  };
}

function runOf(version: number, { codes, refused, failed, reasons, latencyMs }: Replayed): BacktestRun {
  const of = (q: number) => quantile(latencyMs, q) ?? 0;
  return {
    ...{ version, answered: codes.filter((code) => code >= 0).length, refused, failed, reasons },
    latencyMs: latencyMs.count === 0 ? null : { p50: of(0.5), p90: of(0.9), p99: of(0.99) },
  };
}
