// edgeloop metrics, alerts, channels.
import { MetricResult, metrics } from '@edgeloop/shared/api/metrics';
import type { Command } from 'commander';
import { registerAlertCommands } from './alert-commands.ts';
import { registerChannelCommands } from './channel-commands.ts';
import { action } from './command.ts';
import { registerMonitoring } from './monitoring-report.ts';
import { labelsText, printJson, printTable, timeText } from './output.ts';

interface MetricOptions {
  model?: string;
  modelVersion?: string;
  selector?: string;
  device?: string;
  from?: string;
  to?: string;
  step?: string;
  groupBy?: string;
  quantile?: string;
}

export function registerMonitoringCommands(program: Command): void {
  registerMetrics(program);
  registerAlertCommands(program);
  registerChannelCommands(program);
  registerMonitoring(program);
}

function registerMetrics(program: Command): void {
  program
    .command('metrics <metric>')
    .description(`query a metric: ${metrics.join(', ')}`)
    .option('--model <name>')
    .option('--model-version <n>')
    .option('--selector <selector>', 'devices by label')
    .option('--device <id>')
    .option('--from <time>', 'ISO 8601 or milliseconds; an hour ago by default')
    .option('--to <time>', 'now by default')
    .option('--step <seconds>', 'one point for the whole range without it')
    .option('--group-by <what>', 'model, version, device, class or feature')
    .option('--quantile <q>', 'of latency, 0 to 1')
    .action(
      action(async ({ api, json }, metric: string, { modelVersion: version, ...options }: MetricOptions) => {
        const result = await api.get('/metrics/query', MetricResult, { metric, version, ...options });
        if (json) return printJson(result);
        const rows = result.series.flatMap((series) =>
          // Most of an hour in steps may be empty.
          series.points.flatMap(({ at, value }) =>
            value === null ? [] : [[timeText(at), labelsText(series.labels), Number(value.toPrecision(6))]],
          ),
        );
        printTable(['AT', 'SERIES', `${result.metric} (${result.unit})`], rows);
      }),
    );
}
