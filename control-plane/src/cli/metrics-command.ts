// edgeloop metrics: a table, CSV or JSON of `GET /metrics/query`, once or again and again.
import { MetricNews, MetricResult, MetricResults, metrics, type Series } from '@edgeloop/shared/api/metrics';
import { AppError, parseJson } from '@edgeloop/shared/errors';
import type { Command } from 'commander';
import { z } from 'zod';
import type { ApiClient, Query } from './client.ts';
import { action } from './command.ts';
import { type Cell, labelsText, printJson, printTable, timeText } from './output.ts';

interface MetricOptions {
  model?: string;
  modelVersion?: string;
  selector?: string;
  device?: string;
  signal?: string[];
  from?: string;
  to?: string;
  step?: string;
  maxPoints?: string;
  groupBy?: string;
  quantile?: string;
  compare?: string;
  csv?: boolean;
  watch?: string | true;
}

const Answer = z.union([MetricResult, MetricResults]);

export function registerMetricsCommand(program: Command): void {
  program
    .command('metrics <metric>')
    .description(`query metrics, several separated by commas: ${metrics.join(', ')}`)
    .option('--model <name>')
    .option('--model-version <n>', 'one, or several such as 3,4')
    .option('--selector <selector>', 'devices by label')
    .option('--device <id>')
    .option('--signal <name...>', 'of signal_mean and its like, such as input:image:brightness or machine:processor')
    .option('--from <time>', 'ISO 8601, milliseconds, or before now such as -7d; an hour ago by default')
    .option('--to <time>', 'now by default')
    .option('--step <seconds>', 'or 5m, 2h, auto; one point for the whole range without it')
    .option('--max-points <n>', 'picks the step')
    .option(
      '--group-by <what>',
      'model, version, variant, device, status, hardware, label:KEY, class, predicted, signal, feature, kind; several by commas',
    )
    .option('--quantile <q>', 'of latency and other quantiles, 0 to 1; several by commas')
    .option('--compare <time>', 'the same so much earlier beside it, such as -1d')
    .option('--csv', 'print CSV')
    .option('--watch [seconds]', 'again and again, what has changed')
    .action(
      action(
        async ({ api, json }, metric: string, { modelVersion: version, csv, watch, ...options }: MetricOptions) => {
          const query: Query = { metric, version, ...options };
          if (watch !== undefined)
            return watchMetrics(api, { ...query, every: watch === true ? undefined : watch }, json);
          if (csv === true)
            return void process.stdout.write(
              await (await api.open('/metrics/query', { ...query, format: 'csv' })).text(),
            );
          const answer = await api.get('/metrics/query', Answer, query);
          if (json) return printJson(answer);
          printResults('results' in answer ? answer.results : [answer]);
        },
      ),
    );
}

/** Until it is interrupted. @throws AppError when the server ends the stream */
async function watchMetrics(api: ApiClient, query: Query, json: boolean): Promise<void> {
  const response = await api.open('/metrics/stream', query);
  const decoder = new TextDecoder();
  let text = '';
  for await (const bytes of response.body ?? []) {
    text += decoder.decode(bytes, { stream: true });
    const frames = text.split('\n\n');
    text = frames.pop() ?? '';
    for (const frame of frames) {
      const [, event, data = ''] = /^event: (.*)\ndata: (.*)$/m.exec(frame) ?? [];
      if (event === 'problem') process.stderr.write(`edgeloop: ${data}\n`);
      if (event !== 'metrics') continue;
      const news = parseJson(MetricNews, data, 'event of GET /metrics/stream', 'internal');
      if (json) process.stdout.write(`${JSON.stringify(news)}\n`);
      else printResults(news.results);
    }
  }
  throw new AppError('unavailable', 'the server ended the stream');
}

function printResults(results: readonly MetricResult[]): void {
  const [only, ...more] = results;
  const several = more.length > 0;
  const rows = results.flatMap(({ metric, unit, series }) =>
    series.flatMap((each) =>
      // Most of an hour in steps may be empty.
      each.points.flatMap(({ at, value }): Cell[][] => {
        if (value === null) return [];
        const shown = Number(value.toPrecision(6));
        return [[timeText(at), seriesText(each), ...(several ? [`${metric} (${unit})`] : []), shown]];
      }),
    ),
  );
  printTable(['AT', 'SERIES', ...(several ? ['METRIC', 'VALUE'] : [`${only?.metric} (${only?.unit})`])], rows);
}

function seriesText({ labels, quantile, compare }: Series): string {
  const parts = [labelsText(labels), quantile === undefined ? '' : `q${quantile}`, compare ?? ''];
  return parts.filter((part) => part !== '').join(' ');
}
