// A backtest in one sentence, the same for the API, the command line and the page. Pure.
import type { Backtest, BacktestCreate, BacktestReport, BacktestSlice } from '@edgeloop/shared/api/backtests';
import { normalQuantile, wilson } from '../training/evaluation/comparison.ts';

type Told = Pick<Backtest, 'status' | 'asked' | 'report' | 'error' | 'startedAt'>;

/** Samples of a slice of which it is said that they change most. */
const fewest = 20;
const sure = normalQuantile(0.995);

export function describeBacktest({ status, asked, report, error, startedAt }: Told): string {
  if (status === 'queued') return 'waits for its turn';
  if (status === 'running')
    return `is under way since ${new Date(startedAt ?? 0).toISOString().slice(0, 19)}Z, over samples of the last ${days(asked)}`;
  if (report === null) return `could not be made: ${error}`;
  return describeReport(report, asked);
}

export function describeReport(report: BacktestReport, asked: Pick<BacktestCreate, 'days'>): string {
  const { samples, compared, changed } = report;
  if (samples === 0) return `no sample of the last ${days(asked)} could be asked${leftOutText(report)}`;
  const parts = [
    compared === 0
      ? `${number(samples)} samples of the last ${days(asked)}, and nothing to compare with: ${report.why}`
      : changedText(report, asked),
  ];
  if (compared > 0 && changed > 0) parts.push(...mostText(report));
  parts.push(...[accuracyText(report), errorText(report)].flatMap((text) => text ?? []));
  const { candidate, baseline } = report;
  for (const each of baseline === null ? [candidate] : [candidate, baseline]) {
    const none = each.failed + each.refused;
    if (none > 0) parts.push(`version ${each.version} gives no answer to ${number(none)} (${each.reasons.join('; ')})`);
  }
  const { repeated } = report;
  if (repeated !== null && repeated.compared >= fewest && repeated.same < repeated.compared * 0.98)
    parts.push(
      `run here, version ${baseline?.version} repeats only ${share(repeated.same, repeated.compared)} of what it answered in the field`,
    );
  if (report.leftOut.length > 0) parts.push(leftOutText(report).slice(2));
  if (report.cut !== null) parts.push(report.cut);
  return parts.join('; ');
}

function changedText(
  { compared, changed, comparedWith, baseline }: BacktestReport,
  asked: Pick<BacktestCreate, 'days'>,
) {
  const than = comparedWith === 'field' ? 'than devices answered' : `than by version ${baseline?.version}`;
  return `of ${number(compared)} samples of the last ${days(asked)} ${share(changed, compared)} would be answered otherwise ${than}`;
}

/** What changes beyond the rest, and not by chance. */
function mostText({ slices, compared, changed }: BacktestReport): string[] {
  const beyond = slices
    .filter(({ samples }) => samples >= fewest && samples < compared)
    .filter((slice) => wilson(slice.changed / slice.samples, slice.samples, sure).low > changed / compared)
    // Where most of it comes from, rather than the one device that is all different.
    .map((slice) => ({ slice, excess: slice.changed - (slice.samples * changed) / compared }))
    .sort((a, b) => b.excess - a.excess);
  const texts = (['label', 'class', 'version'] as const).flatMap((by) => {
    const most = beyond.find(({ slice }) => slice.by === by)?.slice;
    return most === undefined ? [] : [`${sliceName(most)} (${share(most.changed, most.samples)})`];
  });
  return texts.length === 0 ? [] : [`most at ${texts.join(' and ')}`];
}

function sliceName({ by, key, value }: BacktestSlice): string {
  return by === 'label' ? `${key}=${value}` : `${by} ${value}`;
}

function accuracyText({ accuracy }: BacktestReport): string | undefined {
  if (accuracy === null) return undefined;
  const { labelled, candidate, baseline } = accuracy;
  const against = baseline === null ? '' : ` against ${percent(baseline)}`;
  return `accuracy ${percent(candidate)}${against} on ${number(labelled)} labels`;
}

function errorText({ error }: BacktestReport): string | undefined {
  if (error === null) return undefined;
  const { labelled, candidate, baseline } = error;
  const against = baseline === null ? '' : ` against ${short(baseline)}`;
  return `mean error ${short(candidate)}${against} on ${number(labelled)} labels`;
}

function leftOutText({ leftOut }: BacktestReport): string {
  const shown = leftOut.slice(0, 3).map(({ reason, samples }) => `${number(samples)} left out, ${reason}`);
  return shown.length === 0 ? '' : `; ${shown.join('; ')}`;
}

function days({ days }: Pick<BacktestCreate, 'days'>): string {
  return days === 1 ? 'day' : `${days} days`;
}

export function share(part: number, whole: number): string {
  return percent(whole === 0 ? 0 : part / whole);
}

export function percent(value: number): string {
  return `${(value * 100).toFixed(1)} %`;
}

/** `12,400`. */
function number(value: number): string {
  return value.toLocaleString('en-US');
}

function short(value: number): string {
  return String(Number(value.toPrecision(3)));
}
