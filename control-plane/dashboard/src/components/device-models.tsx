// What a device should run of each model beside what it runs.
import type { Device } from '@edgeloop/shared/api/devices';
import { ActivationBadge, Badge } from './badge.tsx';
import { Card } from './layout.tsx';
import { Table } from './table.tsx';
import { Ago, Digest, ModelLink, RolloutLink, VersionLink } from './values.tsx';

export function DeviceModels({ device }: { device: Device }) {
  const names = [...new Set([...device.desired, ...device.models].map((model) => model.name))].sort();
  const rows = names.map((name) => ({
    name,
    desired: device.desired.find((model) => model.name === name),
    report: device.models.find((model) => model.name === name),
  }));
  return (
    <Card title="Models, desired and reported" flush wide>
      {rows.length === 0 ? (
        <p class="muted card-text">No rollout gives this device a model yet.</p>
      ) : (
        <Table
          caption="Models of the device"
          rows={rows}
          id={(row) => row.name}
          columns={[
            { title: 'Model', cell: (row) => <ModelLink name={row.name} /> },
            {
              title: 'Desired',
              cell: (row) =>
                row.desired === undefined ? (
                  '–'
                ) : (
                  <span title={row.desired.release}>
                    <VersionLink model={row.name} version={row.desired.version} />
                  </span>
                ),
            },
            {
              title: 'Rollout',
              cell: (row) => (row.desired === undefined ? '–' : <RolloutLink id={row.desired.rolloutId} />),
            },
            {
              title: 'Active',
              cell: (row) =>
                row.report?.active == null ? (
                  '–'
                ) : (
                  <>
                    <VersionLink model={row.name} version={row.report.active.version} />{' '}
                    {row.report.active.release !== undefined && <Digest hash={row.report.active.release} />}{' '}
                    {isUnknown(device, row.name, row.report.active) && <Badge tone="bad">not registered</Badge>}{' '}
                    <Variant active={row.report.active} />
                    <span class="muted">
                      since <Ago at={row.report.active.since} />
                    </span>
                  </>
                ),
            },
            { title: 'Last good', cell: (row) => (row.report?.lastGood == null ? '–' : `v${row.report.lastGood}`) },
            { title: 'Candidate', cell: (row) => <Candidate report={row.report} /> },
          ]}
        />
      )}
    </Card>
  );
}

function isUnknown({ unknownReleases }: Device, name: string, active: { version: number; release?: string }): boolean {
  const { version, release = null } = active;
  return unknownReleases.some((each) => each.name === name && each.version === version && each.release === release);
}

/** Which file of a version with several, why that one, and what was measured of it here. */
function Variant({ active }: { active: NonNullable<Device['models'][number]['active']> }) {
  const { variant, variantWhy, measured } = active;
  const memory = measured?.memoryMb === undefined ? '' : `, ${measured.memoryMb} MB`;
  return (
    <>
      {variant !== undefined && (
        <span title={variantWhy}>
          <Badge tone="info">{variant}</Badge>
        </span>
      )}{' '}
      {measured !== undefined && (
        <span class="small" title={`median of ${measured.runs} runs before it answered`}>
          {measured.medianMs} ms{memory}{' '}
        </span>
      )}
    </>
  );
}

function Candidate({ report }: { report: Device['models'][number] | undefined }) {
  const candidate = report?.candidate;
  if (candidate == null) return <span class="muted">none</span>;
  return (
    <span title={candidate.release}>
      v{candidate.version} {candidate.variant} <ActivationBadge state={candidate.state} />
      {candidate.error !== undefined && <span class="text-bad small"> {candidate.error.message}</span>}
    </span>
  );
}
