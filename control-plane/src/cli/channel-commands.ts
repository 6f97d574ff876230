// edgeloop channels: where alerts are sent.
import { ChannelTest, CreatedNotificationChannel, NotificationChannel } from '@edgeloop/shared/api/channels';
import { pageOf } from '@edgeloop/shared/api/paging';
import { AppError } from '@edgeloop/shared/errors';
import type { Command } from 'commander';
import { action, group, numeric } from './command.ts';
import { printJson, printLine, printTable, timeText } from './output.ts';

interface ChannelOptions {
  kind: string;
  all?: boolean;
  severity?: string;
  labels?: string;
  groupBy?: string;
  repeatSeconds?: number;
  heartbeatSeconds?: number;
  to?: string;
  from?: string;
  smtp?: string;
  smtpUser?: string;
  smtpSecurity?: string;
}

export function registerChannelCommands(program: Command): void {
  const channels = group(program, 'channels', 'where alerts are sent');
  registerCreate(channels);
  channels
    .command('list')
    .description('list channels, and whether their messages arrive')
    .action(
      action(async ({ api, json }) => {
        const page = await api.get('/channels', pageOf(NotificationChannel), { limit: 1000 });
        if (json) return printJson(page.items);
        printTable(
          ['ID', 'NAME', 'KIND', 'TO', 'RECEIVES', 'LAST SENT', 'FAILING', 'CREATED'],
          page.items.map((channel) => [
            ...[channel.id, channel.name, channel.kind, targetOf(channel), JSON.stringify(channel.match ?? 'named')],
            ...[timeText(channel.delivery?.sentAt), channel.delivery?.error, timeText(channel.createdAt)],
          ]),
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
    .command('test <id>')
    .description('send a test message now')
    .action(
      action(async ({ api, json }, id: string) => {
        const result = await api.send('POST', `/channels/${encodeURIComponent(id)}/test`, ChannelTest);
        if (json) return printJson(result);
        if (!result.delivered) throw new AppError('unavailable', `it did not arrive: ${result.error}`);
        printLine('it arrived');
      }),
    );
  channels
    .command('remove <id>')
    .description('remove a channel that no rule uses')
    .action(
      action(async ({ api, json }, id: string) => {
        const channel = await api.send('DELETE', `/channels/${encodeURIComponent(id)}`, NotificationChannel);
        if (json) return printJson(channel);
        printLine(`${channel.name} removed`);
      }),
    );
}

function registerCreate(channels: Command): void {
  channels
    .command('create <name> [url]')
    .description('add a channel; of a webhook it prints the secret that its messages are signed with')
    .option('--kind <kind>', 'webhook, alertmanager or email', 'webhook')
    .option('--all', 'it receives every alert, not only those of rules that name it')
    .option('--severity <severities>', 'it receives alerts of these: info, warning, critical, separated by commas')
    .option('--labels <selector>', 'it receives alerts with these labels, as in site=paris')
    .option('--group-by <labels>', 'one message for alerts that have them in common; model,site by default')
    .option('--repeat-seconds <n>', 'after which what still fires is told again', numeric)
    .option('--heartbeat-seconds <n>', 'a message each so many seconds while monitoring works', numeric)
    .option('--to <addresses>', 'of email, separated by commas')
    .option('--from <address>', 'of email')
    .option('--smtp <host:port>', 'of email; port 587 by default')
    .option('--smtp-user <name>', 'of email; the password is read from EDGELOOP_SMTP_PASSWORD')
    .option('--smtp-security <how>', 'of email: starttls, tls or none', 'starttls')
    .action(
      action(async ({ api, json }, name: string, url: string | undefined, options: ChannelOptions) => {
        const body = { ...commonOf(name, options), ...(options.kind === 'email' ? emailOf(options) : { url }) };
        const channel = await api.send('POST', '/channels', CreatedNotificationChannel, body);
        if (json) return printJson(channel);
        created(channel);
      }),
    );
}

function commonOf(name: string, { kind, all, severity, labels, groupBy, ...times }: ChannelOptions) {
  const match = { severity: severity?.split(','), labels };
  const matches = all === true || severity !== undefined || labels !== undefined;
  return {
    ...{ name, kind, groupBy: groupBy?.split(',') },
    ...{ repeatSeconds: times.repeatSeconds, heartbeatSeconds: times.heartbeatSeconds },
    ...(matches ? { match } : {}),
  };
}

function emailOf({ to, from, smtp, smtpUser, smtpSecurity: security }: ChannelOptions) {
  const [host, port] = smtp?.split(':') ?? [];
  const password = smtpUser === undefined ? undefined : process.env.EDGELOOP_SMTP_PASSWORD;
  const server = { host, port: port === undefined ? undefined : Number(port), security, username: smtpUser, password };
  return { to: to?.split(','), from, smtp: server };
}

function created({ id, secret }: CreatedNotificationChannel): void {
  printLine(secret ?? id);
  if (secret === undefined) return;
  process.stderr.write(`channel ${id}; its messages are signed with this secret, which is not shown again\n`);
}

function targetOf(channel: NotificationChannel): string {
  return channel.kind === 'email' ? channel.to.join(', ') : channel.url;
}
