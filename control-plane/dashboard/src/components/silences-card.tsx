// What is not told for a while.
import { Silence } from '@edgeloop/shared/api/alerts';
import { useList } from '../api/queries.ts';
import { formatInstant } from '../format.ts';
import { ActionButton } from './action.tsx';
import { Card, Loaded } from './layout.tsx';
import { type Column, Table } from './table.tsx';

const columns: Column<Silence>[] = [
  { title: 'Alerts that match', kind: 'sentence', cell: ({ match }) => matchText(match) },
  { title: 'Until', cell: ({ endsAt }) => formatInstant(endsAt) },
  { title: 'By', cell: ({ createdBy }) => createdBy },
  { title: 'Comment', kind: 'sentence', cell: ({ comment }) => comment },
  {
    title: '',
    cell: ({ id }) => (
      <ActionButton
        label="End"
        request={() => ({ method: 'POST', path: `/silences/${encodeURIComponent(id)}/expire` })}
      />
    ),
  },
];

export function SilencesCard() {
  const silences = useList(Silence, { path: '/silences', on: ['alert'] });
  const open = silences.data?.filter(({ status }) => status !== 'expired') ?? [];
  if (open.length === 0) return null;
  return (
    <Card title="Silences" flush>
      <Loaded query={silences}>
        {() => <Table caption="Silences" columns={columns} rows={open} id={({ id }) => id} />}
      </Loaded>
    </Card>
  );
}

function matchText(match: Silence['match']): string {
  const parts = Object.entries(match).map(
    ([key, value]) => `${key} ${Array.isArray(value) ? value.join(', ') : value}`,
  );
  return parts.length === 0 ? 'all' : parts.join('; ');
}
