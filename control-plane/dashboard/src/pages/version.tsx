// One version of a model: its file, its contract, its reference.
import { Backtest } from '@edgeloop/shared/api/backtests';
import { ModelVersionDetail } from '@edgeloop/shared/api/models';
import { pageOf } from '@edgeloop/shared/api/paging';
import { labelsOf } from '@edgeloop/shared/meaning/interpretation';
import type { TensorSpec } from '@edgeloop/shared/tensors';
import { useRoute } from 'preact-iso/router';
import { useQuery } from '../api/queries.ts';
import { BacktestCard } from '../components/backtest-card.tsx';
import { VersionCharts } from '../components/field-charts.tsx';
import { Card, Facts, Loaded, PageHead } from '../components/layout.tsx';
import { MonitoringCard } from '../components/monitoring-card.tsx';
import { type Column, Table } from '../components/table.tsx';
import { Ago, Digest } from '../components/values.tsx';
import { LineageText, MetricList } from '../components/versions-table.tsx';
import { formatBytes, formatShare } from '../format.ts';

const tensorColumns: Column<TensorSpec & { direction: string }>[] = [
  { title: 'Tensor', cell: (tensor) => <code>{tensor.name}</code> },
  { title: 'Direction', cell: (tensor) => tensor.direction },
  { title: 'Type', cell: (tensor) => tensor.datatype },
  { title: 'Shape', cell: (tensor) => `[${tensor.shape.map((size) => (size === -1 ? 'any' : size)).join(', ')}]` },
];

export function VersionPage() {
  const { name = '', version = '' } = useRoute().params;
  const path = `/models/${encodeURIComponent(name)}/versions/${encodeURIComponent(version)}`;
  const detail = useQuery(ModelVersionDetail, path, ['model']);
  const backtests = useQuery(pageOf(Backtest), `${path}/backtests?limit=1`, ['model']);
  return (
    <>
      <PageHead
        title={`${name} v${version}`}
        parents={[
          { title: 'Models', path: '/models' },
          { title: name, path: `/models/${encodeURIComponent(name)}` },
        ]}
      >
        <a
          class="button"
          href={`/rollouts/plan?model=${encodeURIComponent(name)}&version=${encodeURIComponent(version)}`}
        >
          Plan a rollout
        </a>
      </PageHead>
      <Loaded query={detail}>
        {(found) => (
          <div class="grid two">
            <FileCard version={found} />
            <BehaviourCard version={found} />
            <Card title="Inputs and outputs" flush wide>
              <Table
                caption="Tensors"
                columns={tensorColumns}
                rows={[
                  ...found.io.inputs.map((tensor) => ({ ...tensor, direction: 'input' })),
                  ...found.io.outputs.map((tensor) => ({ ...tensor, direction: 'output' })),
                ]}
                id={(tensor) => `${tensor.direction} ${tensor.name}`}
              />
            </Card>
            <MonitoringCard path={path} />
            {backtests.data?.items.map((backtest) => (
              <BacktestCard key={backtest.id} backtest={backtest} />
            ))}
          </div>
        )}
      </Loaded>
      {detail.data !== undefined && (
        <VersionCharts model={name} version={detail.data.version} variants={(detail.data.variants ?? []).length > 0} />
      )}
    </>
  );
}

function FileCard({ version }: { version: ModelVersionDetail }) {
  return (
    <Card title="File and origin">
      <Facts
        facts={[
          ['Size', formatBytes(version.sizeBytes)],
          ...(version.variants ?? []).map(({ name, sizeBytes, requires }): [string, string] => [
            `Variant ${name}`,
            `${formatBytes(sizeBytes)}, ${requirementsText(requires)}`,
          ]),
          ['SHA-256', <Digest key="digest" hash={version.digest} />],
          ['Release', <Digest key="release" hash={version.release} />],
          [
            'Signature',
            <span key="signature" class="digest">
              {version.signature.slice(0, 12)}
            </span>,
          ],
          ['ONNX opset', version.io.opset ?? '–'],
          [
            'Registered',
            <span key="registered">
              <Ago at={version.createdAt} /> by {version.createdBy}
            </span>,
          ],
          ['Origin', <LineageText key="lineage" lineage={version.lineage} />],
          ['Held-out metrics', <MetricList key="metrics" metrics={version.metrics} />],
        ]}
      />
    </Card>
  );
}

function requirementsText(requires: NonNullable<ModelVersionDetail['variants']>[number]['requires']): string {
  const parts = Object.entries(requires).map(([what, value]) => `${what} ${[value].flat().join(' or ')}`);
  return parts.length === 0 ? 'for every device' : `needs ${parts.join(', ')}`;
}

function boundsOf({ acceptance }: ModelVersionDetail['manifest']): [string, string][] {
  const { maxLatencyMs, quantile, runs, maxMemoryMb } = acceptance ?? {};
  const latency = `${(quantile ?? 0) * 100} % of ${runs} runs within ${maxLatencyMs} ms`;
  return [
    ...(maxLatencyMs === undefined ? [] : [['Bound on latency', latency] satisfies [string, string]]),
    ...(maxMemoryMb === undefined ? [] : [['Bound on memory', `${maxMemoryMb} MB`] satisfies [string, string]]),
  ];
}

function BehaviourCard({ version }: { version: ModelVersionDetail }) {
  const { manifest } = version;
  const reference = manifest.monitoring.reference;
  const features = Object.values(manifest.inputs).reduce((sum, input) => sum + (input.features?.length ?? 0), 0);
  return (
    <Card title="Manifest">
      <Facts
        facts={[
          ['Task', manifest.task],
          ['Classes', labelsOf(manifest, version.io)?.join(', ') ?? '–'],
          ...(version.io.leftOut ?? []).map(({ name, reason }): [string, string] => [`Output ${name}`, reason]),
          ['Named features', features],
          ['Golden samples', version.goldenSamples],
          ['Batching', `up to ${manifest.batching.maxBatch} rows, ${manifest.batching.maxDelayMs} ms`],
          ['Isolation', manifest.isolation],
          ...boundsOf(manifest),
          ['Capture', `${formatShare(manifest.capture.rate)} of answers`],
          [
            'Reference profile',
            reference === undefined
              ? 'none: a first period in the field becomes it'
              : `${reference.rows} rows, ${Object.keys(reference.features).length} features`,
          ],
          ['Reference accuracy', reference?.accuracy === undefined ? '–' : formatShare(reference.accuracy)],
        ]}
      />
    </Card>
  );
}
