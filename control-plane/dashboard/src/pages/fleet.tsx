// The fleet: every device that matches a selector.
import { Device, DeviceStatus } from '@edgeloop/shared/api/devices';
import { useState } from 'preact/hooks';
import { useLocation } from 'preact-iso/router';
import { selectorProblem } from '../api/chart-view.ts';
import { queryOf } from '../api/client.ts';
import { useList } from '../api/queries.ts';
import { Badge, DeviceDot } from '../components/badge.tsx';
import { Card, Empty, Loaded, PageHead } from '../components/layout.tsx';
import { ModelStates } from '../components/model-states.tsx';
import { type Column, MoreRows, Table } from '../components/table.tsx';
import { Ago, DeviceLink, LabelChips } from '../components/values.tsx';
import { formatBytes, words } from '../format.ts';

const columns: Column<Device>[] = [
  { title: 'Device', cell: (device) => <DeviceLink id={device.id} /> },
  { title: 'Status', cell: (device) => <DeviceDot status={device.status} /> },
  { title: 'Labels', cell: (device) => <LabelChips labels={device.labels} /> },
  { title: 'Models', cell: (device) => <ModelStates models={device.models} /> },
  { title: 'Problems', cell: (device) => <ProblemsMark problems={device.problems} /> },
  { title: 'Last seen', cell: (device) => <Ago at={device.lastSeenAt} /> },
  { title: 'Buffer', kind: 'number', cell: (device) => <Buffer device={device} /> },
];

export function FleetPage() {
  const { query, route } = useLocation();
  const [limit, setLimit] = useState(200);
  const selector = query.selector ?? '';
  const status = DeviceStatus.safeParse(query.status).data;
  const wrong = selectorProblem(selector);
  const devices = useList(Device, {
    path: '/devices',
    limit,
    query: { selector: wrong === '' ? selector : '', status },
    on: ['device', 'rollout'],
  });
  const filtered = selector !== '' || status !== undefined;
  const show = (next: { selector: string; status: string | undefined }) => route(`/fleet${queryOf(next)}`, true);
  return (
    <>
      <PageHead title="Fleet" />
      <search class="filters">
        <label class="field grow">
          Selector over labels
          <input
            type="search"
            placeholder="site=paris,tier!=lab,gpu"
            spellcheck={false}
            value={selector}
            aria-invalid={wrong !== ''}
            aria-describedby="selector-problem"
            onInput={(event) => show({ selector: event.currentTarget.value, status })}
          />
        </label>
        <label class="field">
          Status
          <select value={status ?? ''} onChange={(event) => show({ selector, status: event.currentTarget.value })}>
            <option value="">any</option>
            {DeviceStatus.options.map((each) => (
              <option key={each} value={each}>
                {words(each)}
              </option>
            ))}
          </select>
        </label>
      </search>
      <p id="selector-problem" class="problem" role="status">
        {wrong}
      </p>
      <Card
        title="Devices"
        note={devices.data === undefined ? '' : `${devices.data.length}${devices.more ? '+' : ''}`}
        flush
      >
        <Loaded query={devices}>
          {(found) =>
            found.length === 0 ? (
              <NoDevices filtered={filtered} />
            ) : (
              <Table caption="Devices" columns={columns} rows={found} id={(device) => device.id} />
            )
          }
        </Loaded>
        <MoreRows more={devices.more} limit={limit} show={setLimit} />
      </Card>
    </>
  );
}

function ProblemsMark({ problems }: { problems: string[] }) {
  if (problems.length === 0) return <span class="muted">none</span>;
  return (
    <span title={problems.join('\n')}>
      <Badge tone="bad">{String(problems.length)}</Badge>
    </span>
  );
}

function Buffer({ device }: { device: Device }) {
  if (device.outbox === null) return <span class="muted">–</span>;
  const { pendingItems, pendingBytes, droppedItems } = device.outbox;
  return (
    <span title={`${pendingItems} items wait to be sent, ${droppedItems} were dropped`}>
      {formatBytes(pendingBytes)}
      {droppedItems > 0 && <span class="text-bad"> −{droppedItems}</span>}
    </span>
  );
}

function NoDevices({ filtered }: { filtered: boolean }) {
  if (filtered) return <Empty title="No device matches.">Change the selector or the status.</Empty>;
  return (
    <Empty
      title="No device has joined yet."
      command={'edgeloop join-tokens create --labels site=paris\nEDGELOOP_JOIN=<token> edgeloop-agent run'}
    >
      Create a join token here, then start the agent with it on the device.
    </Empty>
  );
}
