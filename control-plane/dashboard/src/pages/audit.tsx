// Who changed what, and which keys there are.
import { ApiKey, AuditEntry } from '@edgeloop/shared/api/access';
import { useState } from 'preact/hooks';
import { useList } from '../api/queries.ts';
import { Badge } from '../components/badge.tsx';
import { Card, Empty, Loaded, PageHead } from '../components/layout.tsx';
import { type Column, MoreRows, Table } from '../components/table.tsx';
import { Ago } from '../components/values.tsx';
import { formatInstant } from '../format.ts';

const entryColumns: Column<AuditEntry>[] = [
  {
    title: 'Time',
    cell: (entry) => (
      <span class="nowrap" title={formatInstant(entry.at)}>
        {formatInstant(entry.at)}
      </span>
    ),
  },
  { title: 'Actor', cell: (entry) => entry.actor },
  { title: 'Action', cell: (entry) => <code>{entry.action}</code> },
  {
    title: 'Subject',
    cell: (entry) => (
      <span class="clip" title={entry.subject}>
        {entry.subject}
      </span>
    ),
  },
  { title: 'Change', cell: (entry) => <Change entry={entry} /> },
];

const keyColumns: Column<ApiKey>[] = [
  { title: 'Name', cell: (key) => key.name },
  { title: 'Role', cell: (key) => key.role },
  {
    title: 'State',
    cell: (key) => (key.revokedAt === null ? <Badge tone="ok">valid</Badge> : <Badge tone="idle">revoked</Badge>),
  },
  { title: 'Last used', cell: (key) => <Ago at={key.lastUsedAt} /> },
  { title: 'Created', cell: (key) => <Ago at={key.createdAt} /> },
];

export function AuditPage() {
  const [limit, setLimit] = useState(100);
  const entries = useList(AuditEntry, { path: '/audit', limit, on: ['device', 'model', 'rollout', 'alert', 'run'] });
  const keys = useList(ApiKey, { path: '/keys', on: [] });
  return (
    <>
      <PageHead title="Audit" />
      <Card title="Changes" flush>
        <Loaded query={entries}>
          {(found) =>
            found.length === 0 ? (
              <Empty title="Nothing has been changed yet." />
            ) : (
              <Table caption="Audit log" columns={entryColumns} rows={found} id={(entry) => entry.id} />
            )
          }
        </Loaded>
        <MoreRows more={entries.more} limit={limit} show={setLimit} />
      </Card>
      <Card title="API keys" flush>
        <Loaded query={keys}>
          {(found) => <Table caption="API keys" columns={keyColumns} rows={found} id={(key) => key.id} />}
        </Loaded>
      </Card>
    </>
  );
}

function Change({ entry }: { entry: AuditEntry }) {
  if (entry.before === null && entry.after === null) return <span class="muted">–</span>;
  return (
    <details>
      <summary>{entry.before === null ? 'created' : entry.after === null ? 'removed' : 'before and after'}</summary>
      <pre>{JSON.stringify({ before: entry.before, after: entry.after }, null, 2)}</pre>
    </details>
  );
}
