// What is watched of a version, against which reference, and what could be seen at the price of its rules.
import { MonitoringReport } from '@edgeloop/shared/api/monitoring';
import { useQuery } from '../api/queries.ts';
import { formatDuration, formatInstant, formatNumber, formatShare } from '../format.ts';
import { Card, Facts, Loaded } from './layout.tsx';
import { type Column, Table } from './table.tsx';

type Rule = MonitoringReport['rules'][number];
type Signal = Rule['signals'][number];

const columns: Column<Signal>[] = [
  { title: 'Signal', cell: ({ name }) => <code>{name}</code> },
  { title: 'Status', cell: ({ status }) => status.replaceAll('_', ' ') },
  { title: 'PSI', cell: ({ psi }) => (psi === null ? '–' : formatNumber(psi)) },
  {
    title: 'Visible from',
    cell: ({ name, visible }) => {
      if (visible === null) return '–';
      return name === 'output:classes' ? `${formatShare(visible)} of answers` : `${formatNumber(visible)} deviations`;
    },
  },
];

/** `path` of the version. */
export function MonitoringCard({ path }: { path: string }) {
  const report = useQuery(MonitoringReport, `${path}/monitoring`, ['alert', 'model']);
  return (
    <Card title="Monitoring" wide>
      <Loaded query={report}>
        {(found) => (
          <>
            <Facts
              facts={[
                ['Reference', referenceText(found)],
                ...performanceFacts(found.performance),
                ...found.rules.flatMap(ruleFacts),
              ]}
            />
            {found.rules
              .filter(({ signals }) => signals.length > 0)
              .map((rule) => (
                <Table
                  key={rule.ruleId}
                  caption={`Signals of ${rule.ruleId}`}
                  columns={columns}
                  rows={rule.signals}
                  id={({ name }) => name}
                />
              ))}
          </>
        )}
      </Loaded>
    </Card>
  );
}

function referenceText({ reference, collecting }: MonitoringReport): string {
  if (reference === null) {
    const { windows = 0, neededWindows = 0, samples = 0, neededSamples = 0 } = collecting ?? {};
    return `being collected in the field: ${windows} of ${neededWindows} windows, ${samples} of ${neededSamples} samples`;
  }
  const { source, rows, signals, from, to, by, why } = reference;
  const size = `${rows} rows, ${signals} signals`;
  if (source === 'manifest' || from === null || to === null) return `of the model: ${size}`;
  return `of the field, ${formatInstant(from)} to ${formatInstant(to)}: ${size}; frozen by ${by}: ${why}`;
}

function performanceFacts({
  labels,
  accuracy,
  interval,
  expected,
  errors,
  estimate,
}: MonitoringReport['performance']): [string, string][] {
  const wanted = expected === null ? '' : `, expected ${formatShare(expected.accuracy)} from ${expected.rows} rows`;
  const measured =
    accuracy === null
      ? `no labels${wanted}`
      : `${formatShare(accuracy)} of ${labels} labels (${formatShare(interval.low)} to ${formatShare(interval.high)})${wanted}`;
  const off: [string, string][] =
    errors === null
      ? []
      : [
          [
            'Error, last day',
            `${formatNumber(errors.absolute / errors.count)} absolute, ${formatNumber(Math.sqrt(errors.squared / errors.count))} root mean square, of ${errors.count} labels`,
          ],
        ];
  // Never by itself: what was measured stands before it.
  const guess: [string, string][] =
    estimate === null
      ? []
      : [['Estimate, last day', `${formatShare(estimate.accuracy)}: ${estimate.method}; ${estimate.caveat}`]];
  return [['Accuracy, last day', measured], ...off, ...guess];
}

function ruleFacts(rule: Rule): [string, string][] {
  const since =
    rule.insufficientSince === null ? '' : `; insufficient data since ${formatInstant(rule.insufficientSince)}`;
  const price = `${formatNumber(rule.falseAlarmsPerMonth)} false alarm${rule.falseAlarmsPerMonth === 1 ? '' : 's'} a month, windows of ${formatDuration(rule.windowSeconds)}`;
  return [[`Drift (${rule.ruleId})`, `${price}: ${rule.summary}${since}`]];
}
