// Messages of a device that were not understood: they are counted nowhere else.
import { MalformedMessages } from '@edgeloop/shared/api/devices';
import { useQuery } from '../api/queries.ts';
import { formatBytes } from '../format.ts';
import { Card } from './layout.tsx';
import { type Column, Table } from './table.tsx';
import { Ago } from './values.tsx';

type Message = MalformedMessages['items'][number];

const columns: Column<Message>[] = [
  { title: 'Came', cell: ({ at }) => <Ago at={at} /> },
  { title: 'Channel', cell: ({ channel }) => <code>{channel}</code> },
  { title: 'Why', kind: 'sentence', cell: ({ reason }) => reason },
  { title: 'Size', kind: 'number', cell: ({ bytes }) => formatBytes(bytes) },
  { title: 'Begins with', kind: 'sentence', cell: ({ head }) => <code>{head}</code> },
];

/** `path` of the device. */
export function MalformedCard({ path }: { path: string }) {
  const { data } = useQuery(MalformedMessages, `${path}/malformed`, ['device']);
  if (data === undefined || data.count === 0) return null;
  const { count, items } = data;
  return (
    <Card title="Messages that were not understood" note={String(count)} flush wide>
      <Table
        caption={`The last ${items.length} of ${count} messages that were not understood`}
        columns={columns}
        rows={items}
        id={({ at, channel, head }) => `${at} ${channel} ${head}`}
      />
    </Card>
  );
}
