// Training curves: losses on one chart, scores between 0 and 1 on another.
import type { RunStep } from '@edgeloop/shared/api/training';
import { useMemo } from 'preact/hooks';
import type { ChartTable } from '../api/chart-table.ts';
import { formatNumber, words } from '../format.ts';
import { Chart, type Line } from './chart.tsx';
import { Card } from './layout.tsx';

export function RunCurves({ steps }: { steps: RunStep[] }) {
  const [losses, scores] = useMemo(() => {
    const isLoss = (step: RunStep) => step.name.includes('loss');
    return [curvesOf(steps.filter(isLoss)), curvesOf(steps.filter((step) => !isLoss(step)))];
  }, [steps]);
  if (steps.length === 0) return null;
  return (
    <div class="grid two">
      {losses.lines.length > 0 && <CurveCard title="Loss by step" curves={losses} />}
      {scores.lines.length > 0 && <CurveCard title="Scores by step" curves={scores} />}
    </div>
  );
}

interface Curves {
  lines: Line[];
  table: ChartTable;
}

function CurveCard({ title, curves }: { title: string; curves: Curves }) {
  return (
    <Card title={title}>
      <Chart title={title} lines={curves.lines} table={curves.table} format={formatNumber} steps />
    </Card>
  );
}

function curvesOf(steps: RunStep[]): Curves {
  const times = [...new Set(steps.map((step) => step.step))].sort((a, b) => a - b);
  const names = [...new Set(steps.map((step) => step.name))];
  const columns = names.map((name) => {
    const values = new Map(steps.filter((step) => step.name === name).map((step) => [step.step, step.value]));
    // Not every value is recorded at every step: the line runs on between those that are.
    return times.map((time) => values.get(time));
  });
  return {
    lines: names.map((name, i) => ({ name: words(name), color: `--series-${(i % 6) + 1}` })),
    table: { times, columns },
  };
}
