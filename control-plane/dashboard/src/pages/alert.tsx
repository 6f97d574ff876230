// One alert: what it says, its numbers over time, what led to it and what came of it.
import { AlertChain, AlertDetail } from '@edgeloop/shared/api/alerts';
import { useRoute } from 'preact-iso/router';
import { useQuery } from '../api/queries.ts';
import { AlertCard } from '../components/alert-card.tsx';
import { Chart } from '../components/chart.tsx';
import { Card, Loaded, PageHead } from '../components/layout.tsx';
import { type Column, Table } from '../components/table.tsx';
import { Ago, LabelChips, RolloutLink, RunLink } from '../components/values.tsx';
import { formatNumber, words } from '../format.ts';

type Step = AlertChain['steps'][number];

const columns: Column<Step>[] = [
  { title: 'When', cell: ({ at }) => (at === null ? <span class="muted">–</span> : <Ago at={at} />) },
  { title: 'What', cell: ({ what }) => words(what) },
  { title: 'Role', cell: ({ role }) => role },
  { title: 'Id', cell: ({ what, id }) => linkOf(what, id) },
  { title: 'Summary', kind: 'sentence', cell: ({ summary }) => summary },
];

export function AlertPage() {
  const { id = '' } = useRoute().params;
  const path = `/alerts/${encodeURIComponent(id)}`;
  const alert = useQuery(AlertDetail, path, ['alert']);
  const chain = useQuery(AlertChain, `${path}/chain`, ['alert', 'run', 'rollout']);
  return (
    <>
      <PageHead title="Alert" parents={[{ title: 'Monitoring', path: '/monitoring' }]} />
      <Loaded query={alert}>
        {(found) => (
          <>
            <AlertCard alert={found} whole />
            <Card title="Labels">
              <LabelChips labels={found.labels} />
            </Card>
            <Numbers alert={found} />
          </>
        )}
      </Loaded>
      <Card title="What led to it, and what came of it" flush>
        <Loaded query={chain}>
          {({ steps }) => (
            <Table
              caption="Steps"
              columns={columns}
              rows={steps}
              id={({ what, id: step, at }) => `${what} ${step} ${at}`}
            />
          )}
        </Loaded>
      </Card>
    </>
  );
}

function Numbers({ alert: { history, kind } }: { alert: AlertDetail }) {
  if (history.length < 2) return null;
  const seconds = history.map(({ at }) => at / 1000);
  const hasBound = history.some(({ bound }) => bound !== null);
  return (
    <Card title="Its value over time" note={kind === 'drift' ? 'PSI of the signal that moved most' : undefined}>
      <Chart
        title="Value of the alert over time"
        lines={[
          { name: 'value', color: '--series-1' },
          ...(hasBound ? [{ name: 'bound', color: '--series-2', dashed: true }] : []),
        ]}
        table={{
          times: seconds,
          columns: [history.map(({ value }) => value), ...(hasBound ? [history.map(({ bound }) => bound)] : [])],
        }}
        format={formatNumber}
      />
    </Card>
  );
}

function linkOf(what: Step['what'], id: string) {
  if (what === 'rollout') return <RolloutLink id={id} />;
  if (what === 'run') return <RunLink id={id} />;
  return <span class="muted">{id.slice(0, 8)}</span>;
}
