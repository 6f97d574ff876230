// Versions of one model, newest first.
import type { Device } from '@edgeloop/shared/api/devices';
import type { Lineage, Model, VersionSummary } from '@edgeloop/shared/api/models';
import { formatBytes, formatNumber, formatShare, words } from '../format.ts';
import { type Column, Table } from './table.tsx';
import { Ago, Digest, RunLink, VersionLink } from './values.tsx';

export function VersionsTable({ model, devices }: { model: Model; devices: Device[] | undefined }) {
  const running = (version: VersionSummary) =>
    devices?.filter((device) =>
      device.models.some(
        ({ name, active }) =>
          name === model.name &&
          active?.version === version.version &&
          (active.release === undefined || active.release === version.release),
      ),
    ).length;
  const columns: Column<VersionSummary>[] = [
    { title: 'Version', cell: (version) => <VersionLink model={model.name} version={version.version} /> },
    { title: 'Devices', kind: 'number', cell: (version) => running(version) ?? '–' },
    { title: 'Held-out metrics', kind: 'sentence', cell: (version) => <MetricList metrics={version.metrics} /> },
    { title: 'Origin', kind: 'sentence', cell: (version) => <LineageText lineage={version.lineage} /> },
    { title: 'Size', kind: 'number', cell: (version) => formatBytes(version.sizeBytes) },
    { title: 'Release', cell: (version) => <Digest hash={version.release} /> },
    { title: 'Digest', cell: (version) => <Digest hash={version.digest} /> },
    { title: 'Registered', cell: (version) => <Ago at={version.createdAt} /> },
    { title: 'By', cell: (version) => version.createdBy },
  ];
  const rows = [...model.versions].sort((a, b) => b.version - a.version);
  return (
    <Table caption={`Versions of ${model.name}`} columns={columns} rows={rows} id={(row) => String(row.version)} />
  );
}

/** Where a version came from, with links to the run. */
export function LineageText({ lineage }: { lineage: Lineage }) {
  if (lineage.source === 'upload') return <span>uploaded</span>;
  return (
    <span>
      {lineage.pipeline ?? 'trained'}
      {lineage.runId !== undefined && (
        <>
          {' run '}
          <RunLink id={lineage.runId} />
        </>
      )}
      {lineage.dataset !== undefined && (
        <span class="muted">
          {' '}
          on {lineage.dataset.name} v{lineage.dataset.version}
        </span>
      )}
      {lineage.parent !== undefined && <span class="muted"> after v{lineage.parent}</span>}
    </span>
  );
}

const shares = new Set(['accuracy', 'macro_f1', 'f1', 'precision', 'recall']);

export function MetricList({ metrics }: { metrics: Record<string, number> }) {
  const entries = Object.entries(metrics);
  if (entries.length === 0) return <span class="muted">none</span>;
  return (
    <span class="chips">
      {entries.map(([name, value]) => (
        <span key={name} class="chip">
          <span class="chip-key">{words(name)}</span>
          <span>{shares.has(name) ? formatShare(value) : formatNumber(value)}</span>
        </span>
      ))}
    </span>
  );
}
