// Datasets with their newest version.
import { Dataset, type DatasetVersion } from '@edgeloop/shared/api/data';
import { useList } from '../api/queries.ts';
import { formatNumber } from '../format.ts';
import { Card, Empty, Loaded } from './layout.tsx';
import { type Column, Table } from './table.tsx';
import { Ago, Digest } from './values.tsx';

interface Row {
  name: string;
  version: DatasetVersion | undefined;
}

const columns: Column<Row>[] = [
  { title: 'Dataset', cell: (row) => row.name },
  { title: 'Newest', cell: ({ version }) => (version === undefined ? '–' : `v${version.version}`) },
  {
    title: 'Rows (train, validation, test)',
    cell: ({ version }) =>
      version === undefined
        ? '–'
        : [version.rows.train, version.rows.validation, version.rows.test].map(formatNumber).join(', '),
  },
  { title: 'Features', kind: 'number', cell: ({ version }) => version?.schema.features.length ?? '–' },
  { title: 'Classes', kind: 'number', cell: ({ version }) => version?.schema.classes.length ?? '–' },
  { title: 'From', cell: ({ version }) => (version === undefined ? '–' : origin(version)) },
  { title: 'Digest', cell: ({ version }) => (version === undefined ? '–' : <Digest hash={version.digest} />) },
  { title: 'Created', cell: ({ version }) => <Ago at={version?.createdAt ?? null} /> },
];

export function DatasetsCard() {
  const datasets = useList(Dataset, { path: '/datasets', on: ['run'] });
  return (
    <Card title="Datasets" flush>
      <Loaded query={datasets}>
        {(found) =>
          found.length === 0 ? (
            <Empty title="No dataset yet." command="edgeloop datasets import NAME data.csv">
              Import a file, or build one from labelled samples of the field.
            </Empty>
          ) : (
            <Table
              caption="Datasets"
              columns={columns}
              rows={found.map(({ name, versions }) => ({
                name,
                version: versions.reduce((a, b) => (b.version > (a?.version ?? 0) ? b : a), versions[0]),
              }))}
              id={(row) => row.name}
            />
          )
        }
      </Loaded>
    </Card>
  );
}

function origin({ lineage }: DatasetVersion): string {
  const parts = [
    lineage.base === null ? '' : `v${lineage.base}`,
    lineage.import === null ? '' : `${lineage.import.format} file`,
    lineage.field === null ? '' : `${formatNumber(lineage.field.rows)} field samples`,
  ];
  return parts.filter((part) => part !== '').join(' + ') || '–';
}
