// The devices of a rollout as a table, those that need a look first.
import type { RolloutDevice } from '@edgeloop/shared/api/rollouts';
import { words } from '../format.ts';
import { Badge, rolloutDeviceTones } from './badge.tsx';
import { Card, Empty } from './layout.tsx';
import { type Column, Table } from './table.tsx';
import { DeviceLink } from './values.tsx';

const urgency: RolloutDevice['state'][] = [
  'failed',
  'timed_out',
  'conflicting',
  'rolling_back',
  'deploying',
  'baking',
  'offline',
  'waiting',
  'unreached',
  'taken_over',
  'rolled_back',
  'kept',
  'healthy',
];
const shown = 200;

const columns: Column<RolloutDevice>[] = [
  { title: 'Device', cell: (device) => <DeviceLink id={device.deviceId} /> },
  { title: 'Wave', kind: 'number', cell: (device) => device.wave + 1 },
  { title: 'State', cell: (device) => <Badge tone={rolloutDeviceTones[device.state]}>{words(device.state)}</Badge> },
  {
    title: 'Detail',
    kind: 'sentence',
    cell: ({ detail, variant }) => (variant === undefined ? detail : `${detail} (${variant})`),
  },
];

export function RolloutDevices({ devices }: { devices: RolloutDevice[] }) {
  const sorted = [...devices].sort((a, b) => urgency.indexOf(a.state) - urgency.indexOf(b.state) || a.wave - b.wave);
  const note = devices.length > shown ? `${shown} of ${devices.length}` : String(devices.length);
  return (
    <Card title="Devices" note={note} flush>
      {devices.length === 0 ? (
        <Empty title="No device matches the selector.">
          Devices that match later receive the version if the plan says so.
        </Empty>
      ) : (
        <Table
          caption="Devices of the rollout"
          columns={columns}
          rows={sorted.slice(0, shown)}
          id={(device) => device.deviceId}
        />
      )}
    </Card>
  );
}
