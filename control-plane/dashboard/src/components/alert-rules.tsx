// The rules that are judged, in words.
import { type AlertRuleSpec, ListedAlertRule, type MetricRule, ruleUnits } from '@edgeloop/shared/api/alert-rules';
import { useList } from '../api/queries.ts';
import { formatDuration, formatNumber, formatShare } from '../format.ts';
import { Badge } from './badge.tsx';
import { Card, Empty, Loaded } from './layout.tsx';
import { type Column, Table } from './table.tsx';
import { Ago, ModelLink } from './values.tsx';

const columns: Column<ListedAlertRule>[] = [
  { title: 'Model', cell: ({ spec }) => (spec.model === undefined ? 'all' : <ModelLink name={spec.model} />) },
  { title: 'Rule', kind: 'sentence', cell: ({ id, spec }) => (spec.kind === 'metric' ? (spec.name ?? id) : spec.kind) },
  { title: 'Fires when', kind: 'sentence', cell: ({ spec }) => condition(spec) },
  {
    title: 'Window',
    cell: ({ spec }) => formatDuration(spec.kind === 'metric' ? spec.overSeconds : spec.windowSeconds),
  },
  { title: 'Severity', cell: ({ spec }) => spec.severity },
  {
    title: 'Notifies',
    cell: ({ spec }) => (spec.channels.length === 0 ? <span class="muted">nobody</span> : spec.channels.join(', ')),
  },
  { title: 'State', cell: ({ spec }) => (spec.enabled ? <Badge tone="ok">on</Badge> : <Badge tone="idle">off</Badge>) },
  { title: 'Evaluated', kind: 'sentence', cell: ({ evaluation }) => evaluated(evaluation) },
  { title: 'Created', cell: (rule) => <Ago at={rule.createdAt} /> },
];

export function AlertRules() {
  const rules = useList(ListedAlertRule, { path: '/alert-rules', on: ['alert'] });
  return (
    <Card title="Rules" flush>
      <Loaded query={rules}>
        {(found) =>
          found.length === 0 ? (
            <Empty title="No rules yet.">
              Create one with <code>POST /api/v1/alert-rules</code>; the{' '}
              <a href="/docs" target="_blank" rel="noreferrer">
                API reference
              </a>{' '}
              shows its form.
            </Empty>
          ) : (
            <Table caption="Alert rules" columns={columns} rows={found} id={(rule) => rule.id} />
          )
        }
      </Loaded>
    </Card>
  );
}

function condition(spec: AlertRuleSpec): string {
  if (spec.kind === 'drift') {
    const bound = `PSI above ${formatNumber(spec.minPsi)} and its statistical bound`;
    const price =
      spec.falseAlarmsPerMonth === undefined
        ? `false discoveries ${formatShare(spec.falseDiscoveryRate)}`
        : `${formatNumber(spec.falseAlarmsPerMonth)} false alarm${spec.falseAlarmsPerMonth === 1 ? '' : 's'} a month`;
    return `${bound}, ${price}, from ${spec.minSamples} samples`;
  }
  if (spec.kind === 'metric') return measured(spec);
  return `more than ${formatShare(spec.maxLoss)} below the reference for certain, from ${spec.minLabels} labels`;
}

function measured({ metric, condition, groupBy, forSeconds, minEvidence }: MetricRule): string {
  const unit = ruleUnits[metric] ?? '';
  const say = (value: number) => (unit === 'ratio' ? formatShare(value) : `${formatNumber(value)} ${unit}`);
  const held = forSeconds > 0 ? ` for ${formatDuration(forSeconds)}` : '';
  const from = minEvidence > 0 ? `, from ${minEvidence}` : '';
  const what = `${metric.replaceAll('_', ' ')}${groupBy === undefined ? '' : ` by ${groupBy}`}`;
  switch (condition.is) {
    case 'above':
    case 'below':
      return `${what} ${condition.is} ${say(condition.bound)}${held}${from}`;
    case 'above_past':
      return `${what} above ${condition.ratio} times its past${held}${from}`;
    case 'below_past':
      return `${what} below ${condition.ratio} times its past${held}${from}`;
    case 'unlike': {
      const of = { peers: 'its peers', past: 'its own past', both: 'its peers and its own past' }[condition.of];
      const side = condition.side === 'either' ? 'from' : condition.side;
      return `${what} ${formatNumber(condition.deviations)} deviations ${side} ${of}${held}${from}`;
    }
    case 'absent':
      return `no ${what}, for longer than any pause before`;
  }
}

function evaluated(evaluation: ListedAlertRule['evaluation']) {
  if (evaluation == null) return <span class="muted">–</span>;
  if (evaluation.error !== null) return <Badge tone="bad">{evaluation.error}</Badge>;
  const thin = evaluation.insufficient > 0 ? `, ${evaluation.insufficient} with too little evidence` : '';
  const leftOut = evaluation.leftOut > 0 ? `, ${evaluation.leftOut} more left out` : '';
  return `${evaluation.groups} group${evaluation.groups === 1 ? '' : 's'}${thin}${leftOut}`;
}
