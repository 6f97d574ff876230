// edgeloop alerts: what fires, why, and what is done about it.
import { AlertMatch } from '@edgeloop/shared/api/alert-match';
import { AlertRule, AlertRuleSpec, ListedAlertRule, ruleUnits } from '@edgeloop/shared/api/alert-rules';
import { Alert, AlertChain, AlertDetail, ListedAlert, Silence } from '@edgeloop/shared/api/alerts';
import { pageOf } from '@edgeloop/shared/api/paging';
import { AppError, parse, parseJson } from '@edgeloop/shared/errors';
import type { Command } from 'commander';
import { z } from 'zod';
import { action, group, numeric } from './command.ts';
import { givenFile } from './given-file.ts';
import { labelsText, printFields, printJson, printLine, printTable, timeText } from './output.ts';

export function registerAlertCommands(program: Command): void {
  const alerts = group(program, 'alerts', 'what monitoring found');
  registerReading(alerts);
  registerCare(alerts);
  registerSilences(alerts);
  registerRules(group(alerts, 'rules', 'what is watched'));
}

function registerReading(alerts: Command): void {
  alerts
    .command('list')
    .description('list alerts, newest first')
    .option('--status <status>', 'pending, firing or resolved')
    .option('--model <name>')
    .option('--severity <severity>', 'info, warning or critical')
    .option('--rule <id>')
    .action(
      action(async ({ api, json }, options: Record<string, string>) => {
        const page = await api.get('/alerts', pageOf(ListedAlert), { ...options, limit: 100 });
        if (json) return printJson(page.items);
        printTable(
          ['ID', 'KIND', 'MODEL', 'STATUS', 'SEVERITY', 'SINCE', 'ACK', 'SUMMARY'],
          page.items.map((alert) => [
            ...[alert.id, alert.kind, subjectText(alert), statusText(alert), alert.severity],
            ...[timeText(alert.startedAt), alert.acknowledgedBy, alert.summary],
          ]),
        );
      }),
    );
  alerts
    .command('show <id>')
    .description('what an alert says, what led to it and what came of it')
    .action(
      action(async ({ api, json }, id: string) => {
        const path = `/alerts/${encodeURIComponent(id)}`;
        const alert = await api.get(path, AlertDetail);
        const chain = await api.get(`${path}/chain`, AlertChain);
        if (json) return printJson({ ...alert, chain: chain.steps });
        printFields(fieldsOf(alert));
        printLine('');
        printTable(
          ['AT', 'WHAT', 'ROLE', 'ID', 'SUMMARY'],
          chain.steps.map(({ at, what, role, id: step, summary }) => [timeText(at), what, role, step, summary]),
        );
      }),
    );
}

function fieldsOf(alert: AlertDetail): [string, string | null][] {
  const { evidence, resolution, scope } = alert;
  const muted = [
    ...alert.silencedBy.map((each) => `silence ${each}`),
    ...(alert.inhibitedBy ? [`alert ${alert.inhibitedBy}`] : []),
  ];
  return [
    ['id', alert.id],
    ['rule', `${alert.ruleId} (${alert.kind}, ${alert.severity})`],
    ['about', subjectText(alert)],
    ['status', statusText(alert)],
    ['evidence', evidence.state === 'fresh' ? 'fresh' : evidence.detail],
    ['summary', alert.summary],
    ['scope', scope.detail === '' ? scope.kind : `${scope.kind}: ${scope.detail}`],
    ['devices', scope.devices.join(', ') || null],
    ['labels', labelsText(alert.labels) || null],
    ['began', timeText(alert.startedAt)],
    ['fired', timeText(alert.firedAt)],
    ['ended', resolution === null ? null : `${timeText(alert.resolvedAt)}: ${resolution.summary}`],
    [
      'acknowledged',
      alert.acknowledgedBy === null ? null : [alert.acknowledgedBy, alert.note].filter(Boolean).join(': '),
    ],
    ['muted by', muted.join(', ') || null],
    [
      'numbers',
      alert.history
        .slice(-12)
        .map(({ value }) => value ?? '-')
        .join(' ') || null,
    ],
  ];
}

function subjectText({ model, version, labels }: Pick<ListedAlert, 'model' | 'version' | 'labels'>): string {
  if (model !== null) return version === null ? model : `${model}:${version}`;
  return labels.device ?? (labelsText(labels) || 'the fleet');
}

function statusText(alert: ListedAlert): string {
  const muted = alert.silencedBy.length > 0 || alert.inhibitedBy !== null ? ', muted' : '';
  return `${alert.status}${alert.evidence.state === 'fresh' || alert.status === 'resolved' ? '' : ', no new evidence'}${muted}`;
}

function registerCare(alerts: Command): void {
  alerts
    .command('ack <id>')
    .description('say that somebody is looking at it; it is not told again')
    .option('--note <text>')
    .action(
      action(async ({ api, json }, id: string, options: { note?: string }) => {
        const alert = await api.send('POST', `/alerts/${encodeURIComponent(id)}/ack`, ListedAlert, options);
        if (json) return printJson(alert);
        printLine(`${alert.id} acknowledged by ${alert.acknowledgedBy}`);
      }),
    );
  alerts
    .command('accept <id>')
    .description('what moved is the new normal: freeze what came in since as the reference, and end the alert')
    .requiredOption('--why <text>', 'why it is to be expected from now on')
    .action(
      action(async ({ api, json }, id: string, { why }: { why: string }) => {
        const alert = await api.send('POST', `/alerts/${encodeURIComponent(id)}/accept`, Alert, { why });
        if (json) return printJson(alert);
        printLine(`${alert.id} ${alert.resolution?.summary ?? alert.summary}`);
      }),
    );
  alerts
    .command('silence [id]')
    .description('send no notifications for a while: of one alert, or of all that match')
    .option('--seconds <n>', 'how long', numeric, 3600)
    .option('--rule <id>')
    .option('--model <name>')
    .option('--model-version <n>', 'its version', numeric)
    .option('--severity <severities>', 'info, warning, critical, separated by commas')
    .option('--labels <selector>', 'by label of the alert, as in site=paris')
    .option('--comment <text>')
    .action(
      action(async ({ api, json }, id: string | undefined, options: SilenceOptions) => {
        const { seconds, comment } = options;
        const match = matchOf(options);
        if (id !== undefined && Object.keys(match).length > 0)
          throw new AppError('invalid_request', 'give an alert or what to match, not both');
        if (id !== undefined) {
          const alert = await api.send('POST', `/alerts/${encodeURIComponent(id)}/silence`, ListedAlert, { seconds });
          if (json) return printJson(alert);
          return printLine(`${alert.id} silenced until ${timeText(alert.silencedUntil)}`);
        }
        if (Object.keys(match).length === 0)
          throw new AppError('invalid_request', 'say which alerts: an id, --rule, --model, --severity or --labels');
        const silence = await api.send('POST', '/silences', Silence, { match, seconds, comment });
        if (json) return printJson(silence);
        printLine(`silence ${silence.id} until ${timeText(silence.endsAt)}`);
      }),
    );
}

interface SilenceOptions {
  seconds: number;
  rule?: string;
  model?: string;
  modelVersion?: number;
  severity?: string;
  labels?: string;
  comment?: string;
}

function matchOf({ rule, model, modelVersion: version, severity, labels }: SilenceOptions): AlertMatch {
  const match = { rule, model, version, severity: severity?.split(','), labels };
  return parse(AlertMatch, JSON.parse(JSON.stringify(match)), 'the options');
}

function registerSilences(alerts: Command): void {
  const silences = group(alerts, 'silences', 'what is not told for a while');
  silences
    .command('list')
    .description('list silences, newest first')
    .action(
      action(async ({ api, json }) => {
        const page = await api.get('/silences', pageOf(Silence), { limit: 100 });
        if (json) return printJson(page.items);
        printTable(
          ['ID', 'STATUS', 'MATCHES', 'UNTIL', 'BY', 'COMMENT'],
          page.items.map(({ id, status, match, endsAt, createdBy, comment }) => [
            ...[id, status, JSON.stringify(match), timeText(endsAt), createdBy, comment],
          ]),
        );
      }),
    );
  silences
    .command('expire <id>')
    .description('end a silence now')
    .action(
      action(async ({ api, json }, id: string) => {
        const silence = await api.send('POST', `/silences/${encodeURIComponent(id)}/expire`, Silence);
        if (json) return printJson(silence);
        printLine(`silence ${silence.id} has ended`);
      }),
    );
}

/** A rule as a file holds it: with an id it is made or changed, without one another is made. */
const GivenRule = z.object({ id: z.string().optional(), spec: AlertRuleSpec });
const GivenRules = z.union([z.array(GivenRule), GivenRule.transform((rule) => [rule])]);

function registerRules(rules: Command): void {
  rules
    .command('list')
    .description('list alert rules, with how each was evaluated last')
    .action(
      action(async ({ api, json }) => {
        const page = await api.get('/alert-rules', pageOf(ListedAlertRule), { limit: 1000 });
        if (json) return printJson(page.items);
        printTable(
          ['ID', 'KIND', 'MODEL', 'FIRES WHEN', 'SEVERITY', 'ON', 'EVALUATED'],
          page.items.map(({ id, spec, evaluation }) => [
            ...[id, spec.kind, spec.model, conditionText(spec), spec.severity, spec.enabled ? 'yes' : 'no'],
            evaluation?.error ?? (evaluation == null ? '' : `${timeText(evaluation.at)}, ${evaluation.groups} groups`),
          ]),
        );
      }),
    );
  rules
    .command('apply <file>')
    .description('make or change rules of a JSON file: {"id": …, "spec": {…}} or an array of them')
    .action(
      action(async ({ api, json }, file: string) => {
        const given = parseJson(GivenRules, await (await givenFile(file)).text(), file);
        const applied: AlertRule[] = [];
        for (const { id, spec } of given) {
          const path = id === undefined ? '/alert-rules' : `/alert-rules/${encodeURIComponent(id)}?create=true`;
          applied.push(await api.send(id === undefined ? 'POST' : 'PUT', path, AlertRule, spec));
        }
        if (json) return printJson(applied);
        for (const rule of applied) printLine(`${rule.id} applied`);
      }),
    );
  rules
    .command('delete <id>')
    .description('delete a rule; its open alerts end')
    .action(
      action(async ({ api, json }, id: string) => {
        const rule = await api.send('DELETE', `/alert-rules/${encodeURIComponent(id)}`, AlertRule);
        if (json) return printJson(rule);
        printLine(`${rule.id} deleted`);
      }),
    );
}

function conditionText(spec: AlertRuleSpec): string {
  if (spec.kind === 'drift') return `PSI above ${spec.minPsi} and its bound, windows of ${spec.windowSeconds} s`;
  if (spec.kind === 'accuracy') return `${100 * spec.maxLoss} points below the reference`;
  const { condition } = spec;
  const unit = ruleUnits[spec.metric] ?? '';
  const by = spec.groupBy === undefined ? '' : ` by ${spec.groupBy}`;
  const what = `${spec.metric}${by}`;
  switch (condition.is) {
    case 'above':
    case 'below':
      return `${what} ${condition.is} ${condition.bound} ${unit}, over ${spec.overSeconds} s`;
    case 'unlike': {
      const of =
        condition.of === 'both' ? 'its peers and its own past' : condition.of === 'past' ? 'its own past' : 'its peers';
      return `${what} ${condition.deviations} deviations ${condition.side === 'either' ? 'from' : condition.side} ${of}, over ${spec.overSeconds} s`;
    }
    case 'above_past':
    case 'below_past':
      return `${what} ${condition.is === 'above_past' ? 'above' : 'below'} ${condition.ratio} times its past`;
    case 'absent':
      return `no ${what} for ${spec.overSeconds} s`;
  }
}
