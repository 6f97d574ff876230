// Pipelines, their runs, and the datasets they learn from.
import { Run } from '@edgeloop/shared/api/training';
import { useState } from 'preact/hooks';
import { useList } from '../api/queries.ts';
import { RunBadge } from '../components/badge.tsx';
import { DatasetsCard } from '../components/datasets-card.tsx';
import { Card, Empty, Loaded, PageHead } from '../components/layout.tsx';
import { PipelinesCard } from '../components/pipelines-card.tsx';
import { type Column, MoreRows, Table } from '../components/table.tsx';
import { Ago, ModelLink, RolloutLink, RunLink, VersionLink } from '../components/values.tsx';
import { formatPoints, formatShare } from '../format.ts';

const columns: Column<Run>[] = [
  { title: 'Run', cell: (run) => <RunLink id={run.id} /> },
  { title: 'Pipeline', cell: (run) => run.pipeline },
  { title: 'Status', cell: (run) => <RunBadge status={run.status} /> },
  { title: 'Stage', cell: (run) => run.stage },
  { title: 'Cause', cell: (run) => (run.cause.kind === 'alert' ? 'alert' : run.cause.by) },
  {
    title: 'Accuracy',
    kind: 'number',
    cell: (run) => (run.evaluation === null ? '–' : formatShare(run.evaluation.challenger)),
  },
  {
    title: 'Gain',
    kind: 'number',
    cell: (run) => (run.evaluation?.gain == null ? '–' : formatPoints(run.evaluation.gain.value)),
  },
  {
    title: 'Made',
    cell: (run) =>
      run.registeredVersion === null ? (
        '–'
      ) : (
        <>
          <ModelLink name={run.model} /> <VersionLink model={run.model} version={run.registeredVersion} />
        </>
      ),
  },
  { title: 'Rollout', cell: (run) => (run.rolloutId === null ? '–' : <RolloutLink id={run.rolloutId} />) },
  { title: 'Created', cell: (run) => <Ago at={run.createdAt} /> },
];

export function TrainingPage() {
  const [limit, setLimit] = useState(100);
  const runs = useList(Run, { path: '/runs', limit, on: ['run'] });
  return (
    <>
      <PageHead title="Training" />
      <PipelinesCard />
      <Card title="Runs" flush>
        <Loaded query={runs}>
          {(found) =>
            found.length === 0 ? (
              <Empty title="Nothing has been trained yet.">
                A run starts by hand with Run now, or when an alert triggers its pipeline.
              </Empty>
            ) : (
              <Table caption="Training runs" columns={columns} rows={found} id={(run) => run.id} />
            )
          }
        </Loaded>
        <MoreRows more={runs.more} limit={limit} show={setLimit} />
      </Card>
      <DatasetsCard />
    </>
  );
}
