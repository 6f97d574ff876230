// pnpm bench anomalies --data DIR: how well a series is judged beside its own past, on the real series with known causes of the
// Numenta Anomaly Benchmark, beside its windowed Gaussian detector. DIR holds that benchmark's folders `data` and `labels`.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { z } from 'zod';
import { Episodes } from '../../control-plane/src/monitoring/anomalies/episodes.ts';
import { OwnPast } from '../../control-plane/src/monitoring/anomalies/own-past.ts';
import { type LabelledWindow, nabScore, type ScoredSeries } from './nab-score.ts';
import { machine, printTable, writeResult } from './report.ts';

const Labels = z.record(z.string(), z.array(z.tuple([z.string(), z.string()])));
const folder = 'realKnownCause';
const dayMs = 86_400_000;

interface Series {
  name: string;
  perDay: number;
  values: number[];
  windows: LabelledWindow[];
}

export async function benchAnomalies({ data }: { data?: string | undefined }): Promise<void> {
  if (data === undefined) throw new Error('--data: name the folder that holds `data` and `labels` of the benchmark');
  const series = readSeries(data);
  const contestants = { 'own past': ownPastScores, 'windowed Gaussian': gaussianScores };
  const figures = Object.entries(contestants).map(([detector, scoresOf]) => ({
    detector,
    ...nabScore(series.map((each) => scored(each, scoresOf))),
  }));
  for (const { detector, score, threshold, series: each } of figures) {
    console.log(`\n${detector}: ${score.toFixed(1)} with the threshold ${threshold.toPrecision(4)}`);
    printTable(
      ['series', 'score', 'found', 'false alarms'],
      each.map((one) => [one.name, one.score.toFixed(1), `${one.found} of ${one.windows}`, String(one.falseAlarms)]),
    );
  }
  console.log(`written to ${writeResult('anomalies', { ...machine(), figures })}`);
}

export function readSeries(data: string): Series[] {
  const labels = Labels.parse(JSON.parse(readFileSync(join(data, 'labels', 'combined_windows.json'), 'utf8')));
  return Object.entries(labels)
    .filter(([path]) => path.startsWith(`${folder}/`))
    .map(([path, windows]) => {
      const rows = readFileSync(join(data, 'data', path), 'utf8')
        .trim()
        .split('\n')
        .slice(1);
      const cells = rows.map((row) => row.split(','));
      const instants = cells.map(([at = '']) => Date.parse(`${at.replace(' ', 'T')}Z`));
      const placeOf = (at: string) => instants.indexOf(Date.parse(`${at.replace(' ', 'T').slice(0, 19)}Z`));
      return {
        name: path.slice(folder.length + 1),
        perDay: Math.round(dayMs / stepOf(instants)),
        values: cells.map(([, value]) => Number(value)),
        windows: windows.map(([first, last]): LabelledWindow => [placeOf(first), placeOf(last)]),
      };
    });
}

/** The usual distance between two values. */
function stepOf(instants: readonly number[]): number {
  const steps = instants.slice(1, 500).map((at, i) => at - (instants[i] ?? 0));
  return steps.sort((a, b) => a - b)[Math.floor(steps.length / 2)] ?? dayMs;
}

function scored(series: Series, scoresOf: (series: Series) => number[]): ScoredSeries {
  return { name: series.name, windows: series.windows, scores: scoresOf(series) };
}

/** As the control plane judges a device: what was told within a day is told again only when it is stranger. */
export function ownPastScores({ values, perDay }: Series): number[] {
  const past = new OwnPast({ perDay });
  const episodes = new Episodes(perDay);
  return values.map((value, at) => {
    const score = past.judge(value)?.score ?? 0;
    past.learn(value);
    return episodes.isNews(at, score) ? score : 0;
  });
}

/** The baseline of the benchmark: how far in the tail of a normal distribution, fitted to 6400 values in steps of 100. */
function gaussianScores({ values }: Series): number[] {
  const size = 6400;
  const step = 100;
  let fitted: number[] = [];
  let coming: number[] = [];
  let normal = { mean: 0, deviation: 1 };
  return values.map((value) => {
    const score = fitted.length === 0 ? 0 : Math.abs(value - normal.mean) / normal.deviation;
    if (fitted.length < size) fitted.push(value);
    else coming.push(value);
    if (fitted.length < size || coming.length === step) {
      fitted = [...fitted.slice(coming.length), ...coming];
      coming = [];
      normal = fit(fitted);
    }
    return score;
  });
}

function fit(values: readonly number[]): { mean: number; deviation: number } {
  const mean = values.reduce((sum, each) => sum + each, 0) / values.length;
  const variance = values.reduce((sum, each) => sum + (each - mean) ** 2, 0) / values.length;
  return { mean, deviation: Math.sqrt(variance) || 1e-6 };
}
