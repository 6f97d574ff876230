// A version over captured samples of the field: the sentence, and where it answers otherwise.
import type { Backtest, BacktestSlice } from '@edgeloop/shared/api/backtests';
import { formatShare } from '../format.ts';
import { Card } from './layout.tsx';
import { type Column, Table } from './table.tsx';
import { Ago } from './values.tsx';

const shownSlices = 12;

const columns: Column<BacktestSlice>[] = [
  { title: 'Samples of', cell: ({ by, key, value }) => (by === 'label' ? `${key}=${value}` : `${by} ${value}`) },
  { title: 'Asked', cell: ({ samples }) => samples, kind: 'number' },
  { title: 'Changed', cell: ({ changed, samples }) => formatShare(changed / Math.max(samples, 1)), kind: 'number' },
  { title: 'Accuracy', cell: (slice) => accuracy(slice, slice.candidateRight), kind: 'number' },
  { title: 'Accuracy now', cell: (slice) => accuracy(slice, slice.baselineRight), kind: 'number' },
];

function accuracy({ labelled }: BacktestSlice, right: number): string {
  return labelled === 0 ? '–' : formatShare(right / labelled);
}

export function BacktestCard({ backtest }: { backtest: Backtest }) {
  const { summary, report, createdAt, createdBy } = backtest;
  // Those of labels come first; the most frequent classes and versions behind them.
  const slices = report?.slices.slice(0, shownSlices) ?? [];
  return (
    <Card title="Backtest">
      <p>{summary}</p>
      {slices.length > 0 && (
        <Table
          caption="Where the version answers otherwise"
          columns={columns}
          rows={slices}
          id={({ by, key, value }) => `${by} ${key} ${value}`}
        />
      )}
      <p class="muted small">
        Asked for <Ago at={createdAt} /> by {createdBy}
      </p>
    </Card>
  );
}
