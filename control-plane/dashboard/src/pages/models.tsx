// The registry: every model with its newest version.
import { Model } from '@edgeloop/shared/api/models';
import { useList } from '../api/queries.ts';
import { Card, Empty, Loaded, PageHead } from '../components/layout.tsx';
import { type Column, Table } from '../components/table.tsx';
import { Ago, ModelLink, VersionLink } from '../components/values.tsx';
import { LineageText } from '../components/versions-table.tsx';
import { formatBytes, formatShare } from '../format.ts';

const newest = (model: Model) =>
  model.versions.reduce((a, b) => (b.version > (a?.version ?? 0) ? b : a), model.versions[0]);

const columns: Column<Model>[] = [
  { title: 'Model', cell: (model) => <ModelLink name={model.name} /> },
  { title: 'Description', cell: (model) => <span class="clip">{model.description}</span> },
  { title: 'Versions', kind: 'number', cell: (model) => model.versions.length },
  {
    title: 'Newest',
    cell: (model) => {
      const version = newest(model);
      return version === undefined ? '–' : <VersionLink model={model.name} version={version.version} />;
    },
  },
  {
    title: 'Held-out accuracy',
    kind: 'number',
    cell: (model) => {
      const accuracy = newest(model)?.metrics.accuracy;
      return accuracy === undefined ? '–' : formatShare(accuracy);
    },
  },
  { title: 'Size', kind: 'number', cell: (model) => formatBytes(newest(model)?.sizeBytes ?? 0) },
  {
    title: 'Origin',
    cell: (model) => {
      const version = newest(model);
      return version === undefined ? '–' : <LineageText lineage={version.lineage} />;
    },
  },
  { title: 'Registered', cell: (model) => <Ago at={newest(model)?.createdAt ?? null} /> },
];

export function ModelsPage() {
  const models = useList(Model, { path: '/models', on: ['model'] });
  return (
    <>
      <PageHead title="Models" />
      <Card title="Registry" flush>
        <Loaded query={models}>
          {(found) =>
            found.length === 0 ? (
              <Empty title="No model is registered yet." command="edgeloop models push NAME model.onnx">
                Push an ONNX file, or let a <a href="/training">pipeline</a> train one.
              </Empty>
            ) : (
              <Table caption="Models" columns={columns} rows={found} id={(model) => model.name} />
            )
          }
        </Loaded>
      </Card>
    </>
  );
}
