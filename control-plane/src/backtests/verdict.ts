// Whether a version may go to its first device, by its backtest. Lack of samples never passes. Pure.
import type { BacktestReport } from '@edgeloop/shared/api/backtests';
import type { BacktestGate } from '@edgeloop/shared/api/gates';
import type { GateVerdict } from '@edgeloop/shared/api/rollouts';
import { normalQuantile, wilson } from '../training/evaluation/comparison.ts';
import { describeReport, percent, share } from './words.ts';

export interface BacktestBounds extends BacktestGate {
  /** Highest share of samples on which the version may fail, as of requests. */
  maxErrorRate: number;
}

/** Why there is no report, and by whose fault. */
export interface BacktestFailure {
  by: 'candidate' | 'server' | 'request';
  detail: string;
}

type Found = Pick<GateVerdict, 'verdict' | 'detail'>;

const sure = normalQuantile(0.995);

export function backtestVerdict(
  bounds: BacktestBounds,
  outcome: { report: BacktestReport } | { failure: BacktestFailure },
): GateVerdict {
  const blocking = bounds.mode === 'gate';
  if ('failure' in outcome) {
    const { by, detail } = outcome.failure;
    return {
      gate: 'backtest',
      verdict: by === 'candidate' ? 'failed' : 'inconclusive',
      detail: `the backtest could not be made: ${detail}`,
      blocking,
    };
  }
  const { report } = outcome;
  const { verdict, detail } = strictest(judge(bounds, report));
  return {
    gate: 'backtest',
    verdict,
    detail: `${detail}: ${describeReport(report, bounds)}`,
    blocking,
    numbers: numbersOf(bounds, report),
  };
}

export function underWay(bounds: Pick<BacktestBounds, 'mode'>, summary: string): GateVerdict {
  return { gate: 'backtest', verdict: 'waiting', detail: `the backtest ${summary}`, blocking: bounds.mode === 'gate' };
}

function judge(bounds: BacktestBounds, report: BacktestReport): Found[] {
  const { minSamples, minLabels, maxChanged } = bounds;
  const failures = failuresOf(bounds, report);
  if (failures.verdict === 'failed') return [failures];
  const usable = report.comparedWith === 'nothing' ? 0 : report.compared;
  if (usable < minSamples) return [inconclusive(`${usable} samples to compare on, ${minSamples} needed`)];
  const labelled = report.accuracy?.labelled ?? report.error?.labelled ?? 0;
  const changes = maxChanged === undefined ? [] : [changesOf(maxChanged, report)];
  if (labelled >= minLabels) return [failures, ...changes, lossOf(bounds.maxLoss, report)];
  const few = `${labelled} labels, ${minLabels} needed to judge the loss`;
  if (changes.length > 0) return [failures, ...changes];
  return [failures, inconclusive(`${few}, and no bound on changed answers`)];
}

/** Samples on which the version fails or which it refuses, though the other one takes them. */
function failuresOf({ maxErrorRate }: BacktestBounds, { candidate, baseline, samples }: BacktestReport): Found {
  const none = candidate.failed + candidate.refused;
  const usual = baseline === null || samples === 0 ? 0 : (baseline.failed + baseline.refused) / samples;
  const rate = samples === 0 ? 0 : none / samples;
  const beyond = `no answer to ${share(none, samples)} of the samples, allowed are ${percent(maxErrorRate)}`;
  if (rate - usual <= maxErrorRate) return passed('answers as many');
  return wilson(rate, samples, sure).low > maxErrorRate + usual
    ? failed(beyond)
    : inconclusive(`${beyond}, which may be chance`);
}

function changesOf(maxChanged: number, { compared, changed }: BacktestReport): Found {
  const rate = changed / compared;
  const beyond = `${percent(rate)} of the answers change, allowed are ${percent(maxChanged)}`;
  if (rate <= maxChanged) return passed(beyond);
  return wilson(rate, compared, sure).low > maxChanged
    ? failed(beyond)
    : inconclusive(`${beyond}, which may be chance`);
}

/** Of a classifier the loss of accuracy, of numbers the growth of the mean error. */
function lossOf(maxLoss: number, { accuracy, error }: BacktestReport): Found {
  const loss = accuracy?.gain ? { value: -accuracy.gain.value, low: -accuracy.gain.high } : growthOf(error);
  if (loss === undefined) return inconclusive('nothing to compare the labels with');
  const what = accuracy?.gain
    ? `accuracy loses ${points(loss.value)}`
    : `the mean error grows by ${percent(loss.value)}`;
  const allowed = accuracy?.gain ? points(maxLoss) : percent(maxLoss);
  const beyond = `${what}, allowed are ${allowed}`;
  if (loss.value <= maxLoss) return passed(beyond);
  return loss.low > maxLoss ? failed(beyond) : inconclusive(`${beyond}, which may be chance`);
}

function growthOf(error: BacktestReport['error']): { value: number; low: number } | undefined {
  if (!error?.rise || error.baseline === null) return undefined;
  const { value, low } = error.rise;
  if (error.baseline === 0)
    return value === 0
      ? { value: 0, low: 0 }
      : { value: Number.POSITIVE_INFINITY, low: low > 0 ? Number.POSITIVE_INFINITY : 0 };
  return { value: value / error.baseline, low: low / error.baseline };
}

const severity = { failed: 2, waiting: 1, inconclusive: 1, passed: 0 } as const;

function strictest(found: readonly Found[]): Found {
  const worst = found.reduce((a, b) => (severity[b.verdict] > severity[a.verdict] ? b : a));
  if (worst.verdict !== 'passed') return worst;
  return found.at(-1) ?? worst;
}

function numbersOf(
  { maxLoss, minSamples, minLabels, maxChanged }: BacktestBounds,
  report: BacktestReport,
): Record<string, number> {
  const { samples, compared, changed, accuracy, error, candidate, baseline } = report;
  const numbers: Record<string, number | null | undefined> = {
    ...{ samples, compared, changed, minSamples, minLabels, maxLoss, maxChanged },
    ...{ unanswered: candidate.failed + candidate.refused },
    ...{
      labelled: accuracy?.labelled ?? error?.labelled,
      accuracy: accuracy?.candidate,
      baselineAccuracy: accuracy?.baseline,
    },
    ...{ gain: accuracy?.gain?.value, gainLow: accuracy?.gain?.low, gainHigh: accuracy?.gain?.high },
    ...{
      meanError: error?.candidate,
      baselineMeanError: error?.baseline,
      rise: error?.rise?.value,
      riseLow: error?.rise?.low,
    },
    ...{ latencyMs: candidate.latencyMs?.p50, baselineLatencyMs: baseline?.latencyMs?.p50 },
  };
  return Object.fromEntries(
    Object.entries(numbers).flatMap(([name, value]) => (value == null ? [] : [[name, value] as const])),
  );
}

const passed = (detail: string): Found => ({ verdict: 'passed', detail });
const failed = (detail: string): Found => ({ verdict: 'failed', detail });
const inconclusive = (detail: string): Found => ({ verdict: 'inconclusive', detail });

function points(value: number): string {
  return `${Number((value * 100).toFixed(1))} points`;
}
