// edgeloop monitoring MODEL VERSION: what is watched of a version, and what could be seen.
import { MonitoringReport } from '@edgeloop/shared/api/monitoring';
import type { Command } from 'commander';
import { action } from './command.ts';
import { printJson, printLine, printTable, timeText } from './output.ts';

export function registerMonitoring(program: Command): void {
  program
    .command('monitoring <model> <version>')
    .description('what is watched of a version, against what, and how small a shift would be seen')
    .action(
      action(async ({ api, json }, model: string, version: string) => {
        const path = `/models/${encodeURIComponent(model)}/versions/${encodeURIComponent(version)}/monitoring`;
        const report = await api.get(path, MonitoringReport);
        if (json) return printJson(report);
        printLine(referenceText(report));
        printLine(performanceText(report.performance));
        for (const rule of report.rules) printRule(rule);
        if (report.rules.length === 0) printLine('no drift rule is enabled');
      }),
    );
}

function referenceText({ reference, collecting }: MonitoringReport): string {
  if (reference === null) {
    const { windows = 0, neededWindows = 0, samples = 0, neededSamples = 0 } = collecting ?? {};
    return `reference: being collected in the field, ${windows} of ${neededWindows} windows, ${samples} of ${neededSamples} samples`;
  }
  const { source, rows, signals, by, why, from, to } = reference;
  const size = `${rows} rows, ${signals} signals`;
  if (source === 'manifest') return `reference: of the model, ${size}`;
  return `reference: of the field ${timeText(from)} to ${timeText(to)}, ${size}, frozen by ${by}: ${why}`;
}

function performanceText({
  labels,
  accuracy,
  interval,
  expected,
  loss,
  errors,
  estimate,
}: MonitoringReport['performance']): string {
  const percent = (share: number) => `${(100 * share).toFixed(1)} %`;
  const measured =
    accuracy === null
      ? 'accuracy of the last day: no labels'
      : `accuracy of the last day: ${percent(accuracy)} of ${labels} labels (${percent(interval.low)} to ${percent(interval.high)})`;
  const against = expected === null ? '' : `; expected ${percent(expected.accuracy)} from ${expected.rows} rows`;
  const lost =
    loss === null ? '' : `, a loss of ${(100 * loss.low).toFixed(1)} to ${(100 * loss.high).toFixed(1)} points`;
  const off =
    errors === null
      ? ''
      : `; mean absolute error ${(errors.absolute / errors.count).toPrecision(4)}, root mean square ${Math.sqrt(errors.squared / errors.count).toPrecision(4)} of ${errors.count} labels`;
  const guess = estimate === null ? '' : `; ${percent(estimate.accuracy)} is ${estimate.method} (${estimate.caveat})`;
  return measured + against + lost + off + guess;
}

function printRule(rule: MonitoringReport['rules'][number]): void {
  const price = `${Number(rule.falseAlarmsPerMonth.toPrecision(2))} false alarms a month`;
  const since = rule.insufficientSince === null ? '' : `; insufficient data since ${timeText(rule.insufficientSince)}`;
  printLine(`rule ${rule.ruleId}, windows of ${rule.windowSeconds} s, ${price}: ${rule.summary}${since}`);
  printTable(
    ['SIGNAL', 'STATUS', 'PSI', 'VISIBLE FROM'],
    rule.signals.map(({ name, status, psi, visible }) => [
      name,
      status.replaceAll('_', ' '),
      psi,
      visible === null ? null : visibleText(name, visible),
    ]),
  );
}

function visibleText(name: string, visible: number): string {
  return name === 'output:classes'
    ? `${(100 * visible).toFixed(0)} points of share`
    : `${visible.toFixed(2)} deviations`;
}
