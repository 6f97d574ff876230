// All rollouts, newest first.
import { Rollout } from '@edgeloop/shared/api/rollouts';
import { useState } from 'preact/hooks';
import { useList } from '../api/queries.ts';
import { PhaseBadge } from '../components/badge.tsx';
import { Card, Empty, Loaded, PageHead } from '../components/layout.tsx';
import { progressText, WaveBar } from '../components/rollout-waves.tsx';
import { type Column, MoreRows, Table } from '../components/table.tsx';
import { Ago, ModelLink, RolloutLink, VersionLink } from '../components/values.tsx';

const columns: Column<Rollout>[] = [
  { title: 'Rollout', cell: (rollout) => <RolloutLink id={rollout.id} /> },
  {
    title: 'Model',
    cell: (rollout) => (
      <span class="nowrap">
        <ModelLink name={rollout.model} /> <VersionLink model={rollout.model} version={rollout.version} />
      </span>
    ),
  },
  { title: 'State', cell: (rollout) => <PhaseBadge state={rollout.state} /> },
  { title: 'Waves', cell: (rollout) => <WaveBar rollout={rollout} /> },
  { title: 'Progress', kind: 'sentence', cell: (rollout) => rollout.status ?? progressText(rollout) },
  {
    title: 'Selector',
    cell: (rollout) => (rollout.plan.selector === '' ? 'all devices' : <code>{rollout.plan.selector}</code>),
  },
  { title: 'Created', cell: (rollout) => <Ago at={rollout.createdAt} /> },
];

export function RolloutsPage() {
  const [limit, setLimit] = useState(100);
  const rollouts = useList(Rollout, { path: '/rollouts', limit, on: ['rollout'] });
  return (
    <>
      <PageHead title="Rollouts">
        <a class="button" href="/rollouts/plan">
          Plan a rollout
        </a>
      </PageHead>
      <Card title="All rollouts" flush>
        <Loaded query={rollouts}>
          {(found) =>
            found.length === 0 ? (
              <Empty
                title="Nothing has been rolled out yet."
                command="edgeloop rollouts create NAME VERSION --waves 10,50,100"
              >
                A rollout brings one version of a model to the devices that match a selector, wave by wave, and stops by
                itself when a gate fails.
              </Empty>
            ) : (
              <Table caption="Rollouts" columns={columns} rows={found} id={(rollout) => rollout.id} />
            )
          }
        </Loaded>
        <MoreRows more={rollouts.more} limit={limit} show={setLimit} />
      </Card>
    </>
  );
}
