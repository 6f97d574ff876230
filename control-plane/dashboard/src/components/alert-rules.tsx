// The rules that are judged, in words.
import { AlertRule, type AlertRuleSpec } from '@edgeloop/shared/api/alerts';
import { useList } from '../api/queries.ts';
import { formatDuration, formatNumber, formatShare } from '../format.ts';
import { Badge } from './badge.tsx';
import { Card, Empty, Loaded } from './layout.tsx';
import { type Column, Table } from './table.tsx';
import { Ago, ModelLink } from './values.tsx';

const columns: Column<AlertRule>[] = [
  { title: 'Model', cell: ({ spec }) => <ModelLink name={spec.model} /> },
  { title: 'Kind', cell: ({ spec }) => spec.kind },
  { title: 'Fires when', kind: 'sentence', cell: ({ spec }) => condition(spec) },
  { title: 'Window', cell: ({ spec }) => formatDuration(spec.windowSeconds) },
  {
    title: 'Notifies',
    cell: ({ spec }) => (spec.channels.length === 0 ? <span class="muted">nobody</span> : spec.channels.join(', ')),
  },
  { title: 'State', cell: ({ spec }) => (spec.enabled ? <Badge tone="ok">on</Badge> : <Badge tone="idle">off</Badge>) },
  { title: 'Created', cell: (rule) => <Ago at={rule.createdAt} /> },
];

export function AlertRules() {
  const rules = useList(AlertRule, { path: '/alert-rules', on: ['alert'] });
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
    return `${bound}, false discoveries ${formatShare(spec.falseDiscoveryRate)}, from ${spec.minSamples} samples`;
  }
  return `more than ${formatShare(spec.maxLoss)} below the reference for certain, from ${spec.minLabels} labels`;
}
