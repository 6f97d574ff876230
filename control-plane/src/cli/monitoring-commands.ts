// edgeloop metrics, alerts, channels.
import { Alert, CreatedNotificationChannel, NotificationChannel } from '@edgeloop/shared/api/alerts';
import { MetricResult, metrics } from '@edgeloop/shared/api/metrics';
import { pageOf } from '@edgeloop/shared/api/paging';
import type { Command } from 'commander';
import { action, group, numeric } from './command.ts';
import { labelsText, printJson, printLine, printTable, timeText } from './output.ts';

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
  registerMetricsAndAlerts(program);
  registerChannels(program);
}

function registerChannels(program: Command): void {
  const channels = group(program, 'channels', 'webhooks that alerts are sent to');
  const created = ({ id, secret }: CreatedNotificationChannel) => {
    printLine(secret);
    process.stderr.write(`channel ${id}; its messages are signed with this secret, which is not shown again\n`);
  };
  channels
    .command('create <name> <url>')
    .description('add a webhook; prints the secret that its messages are signed with')
    .action(
      action(async ({ api, json }, name: string, url: string) => {
        const channel = await api.send('POST', '/channels', CreatedNotificationChannel, { name, kind: 'webhook', url });
        if (json) return printJson(channel);
        created(channel);
      }),
    );
  channels
    .command('list')
    .description('list webhooks')
    .action(
      action(async ({ api, json }) => {
        const page = await api.get('/channels', pageOf(NotificationChannel), { limit: 1000 });
        if (json) return printJson(page.items);
        printTable(
          ['ID', 'NAME', 'URL', 'CREATED'],
          page.items.map(({ id, name, url, createdAt }) => [id, name, url, timeText(createdAt)]),
        );
      }),
    );
  channels
    .command('rotate <id>')
    .description('sign with a new secret; the former one signs too for a day')
    .action(
      action(async ({ api, json }, id: string) => {
        const path = `/channels/${encodeURIComponent(id)}/rotate`;
        const channel = await api.send('POST', path, CreatedNotificationChannel);
        if (json) return printJson(channel);
        created(channel);
      }),
    );
  channels
    .command('remove <id>')
    .description('remove a webhook that no rule uses')
    .action(
      action(async ({ api, json }, id: string) => {
        const channel = await api.send('DELETE', `/channels/${encodeURIComponent(id)}`, NotificationChannel);
        if (json) return printJson(channel);
        printLine(`${channel.name} removed`);
      }),
    );
}

function registerMetricsAndAlerts(program: Command): void {
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
  const alerts = group(program, 'alerts', 'what monitoring found');
  alerts
    .command('list')
    .description('list alerts, newest first')
    .option('--status <status>', 'pending, firing or resolved')
    .option('--model <name>')
    .action(
      action(async ({ api, json }, options: { status?: string; model?: string }) => {
        const page = await api.get('/alerts', pageOf(Alert), { ...options, limit: 100 });
        if (json) return printJson(page.items);
        printTable(
          ['ID', 'KIND', 'MODEL', 'STATUS', 'SINCE', 'ACK', 'SUMMARY'],
          page.items.map((alert) => [
            alert.id,
            alert.kind,
            `${alert.model}:${alert.version}`,
            alert.status,
            timeText(alert.startedAt),
            alert.acknowledgedBy,
            alert.summary,
          ]),
        );
      }),
    );
  alerts
    .command('ack <id>')
    .description('say that somebody is looking at it')
    .action(
      action(async ({ api, json }, id: string) => {
        const alert = await api.send('POST', `/alerts/${encodeURIComponent(id)}/ack`, Alert);
        if (json) return printJson(alert);
        printLine(`${alert.id} acknowledged by ${alert.acknowledgedBy}`);
      }),
    );
  alerts
    .command('silence <id>')
    .description('send no notifications for a while')
    .option('--seconds <n>', 'how long', numeric, 3600)
    .action(
      action(async ({ api, json }, id: string, options: { seconds: number }) => {
        const alert = await api.send('POST', `/alerts/${encodeURIComponent(id)}/silence`, Alert, {
          seconds: options.seconds,
        });
        if (json) return printJson(alert);
        printLine(`${alert.id} silenced until ${timeText(alert.silencedUntil)}`);
      }),
    );
}
