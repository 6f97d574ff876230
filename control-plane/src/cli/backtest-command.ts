// edgeloop models backtest, and how a backtest is printed.
import { Backtest, type BacktestReport, type BacktestSlice } from '@edgeloop/shared/api/backtests';
import type { Command } from 'commander';
import type { ApiClient } from './client.ts';
import { action, numeric } from './command.ts';
import { type Cell, printJson, printLine, printTable } from './output.ts';

interface BacktestOptions {
  days: number;
  selector: string;
  limit?: number;
  baseline?: number;
}

const lookEveryMs = 1000;
const shownRows = 15;

export function addBacktestCommand(models: Command): void {
  models
    .command('backtest <name> <version>')
    .description('run a version over captured samples of the field, beside the version that devices have')
    .option('--days <days>', 'samples of so many last days', numeric, 7)
    .option('--selector <selector>', 'samples of these devices; of all without it', '')
    .option('--limit <n>', 'samples at most, spread over the days', numeric)
    .option(
      '--baseline <version>',
      'compare with this one; else with the stable one, or what most devices have',
      numeric,
    )
    .action(
      action(async ({ api, json }, name: string, version: string, options: BacktestOptions) => {
        const path = `/models/${encodeURIComponent(name)}/versions/${encodeURIComponent(version)}/backtests`;
        const { days, selector, limit, baseline } = options;
        const asked = await api.send('POST', path, Backtest, { days, selector, limit, baseline });
        const backtest = await backtestEnded(api, asked);
        if (json) return printJson(backtest);
        printBacktest(backtest);
      }),
    );
}

/** As it is once it is over. */
export async function backtestEnded(api: ApiClient, { id, model, version }: Backtest): Promise<Backtest> {
  const path = `/models/${encodeURIComponent(model)}/versions/${version}/backtests/${encodeURIComponent(id)}`;
  for (;;) {
    const backtest = await api.get(path, Backtest);
    if (backtest.endedAt !== null) return backtest;
    await new Promise((resolve) => setTimeout(resolve, lookEveryMs));
  }
}

export function printBacktest({ model, version, summary, report }: Backtest): void {
  printLine(`backtest of ${model} version ${version}: ${summary}`);
  if (report === null || report.samples === 0) return;
  printTable(
    ['VERSION', 'ANSWERED', 'REFUSED', 'FAILED', 'MEDIAN MS', '90 % MS', '99 % MS'],
    [report.candidate, ...(report.baseline === null ? [] : [report.baseline])].map((run) => [
      ...[run.version, run.answered, run.refused, run.failed],
      ...[run.latencyMs?.p50, run.latencyMs?.p90, run.latencyMs?.p99].map((ms) => ms?.toPrecision(3)),
    ]),
  );
  printSlices(report);
  if (report.transitions.length > 0) {
    const changed = report.transitions.filter(({ from, to }) => from !== to).slice(0, shownRows);
    printTable(
      ['ANSWER NOW', 'ANSWER THEN', 'SAMPLES'],
      changed.map(({ from, to, samples }) => [from ?? '(none)', to ?? '(none)', samples]),
    );
  }
  if (report.differences.length > 0)
    printTable(
      ['VALUE', 'RANGE NOW', 'MEDIAN DIFFERENCE', '90 %', '99 %', 'LARGEST'],
      report.differences.map((each) => [
        each.name,
        ...[each.range, each.p50, each.p90, each.p99, each.max].map((value) => value.toPrecision(3)),
      ]),
    );
  if (report.leftOut.length > 0)
    printTable(
      ['LEFT OUT', 'WHY'],
      report.leftOut.map(({ samples, reason }) => [samples, reason]),
    );
}

function printSlices({ slices }: BacktestReport): void {
  const shown = (['label', 'version', 'class', 'reason'] as const).flatMap((by) =>
    slices.filter((slice) => slice.by === by).slice(0, shownRows),
  );
  if (shown.length === 0) return;
  printTable(
    ['SAMPLES OF', '', 'ASKED', 'CHANGED', 'LABELS', 'ACCURACY', 'ACCURACY NOW'],
    shown.map((slice): Cell[] => [
      ...[
        slice.by === 'label' ? slice.key : slice.by,
        slice.value,
        slice.samples,
        percent(slice.changed, slice.samples),
      ],
      ...accuracies(slice),
    ]),
  );
}

function accuracies({ labelled, candidateRight, baselineRight }: BacktestSlice): Cell[] {
  return labelled === 0
    ? [0, null, null]
    : [labelled, percent(candidateRight, labelled), percent(baselineRight, labelled)];
}

function percent(part: number, whole: number): string {
  return `${((100 * part) / Math.max(whole, 1)).toFixed(1)} %`;
}
