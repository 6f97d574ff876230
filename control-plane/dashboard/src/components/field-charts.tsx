// How one version does in the field: by variant where it has several, its signals, and how it agrees as a shadow.
import type { GroupBy } from '@edgeloop/shared/api/metrics';
import { useState } from 'preact/hooks';
import { useTotals } from '../api/metrics.ts';
import { MetricChart, RangePicker } from './metric-chart.tsx';
import { ViewPicker } from './view-picker.tsx';

const quiet = 'No requests in this time.';
const noQueue = 'No device told in this time how long requests waited.';

export function VersionCharts({ model, version, variants }: { model: string; version: number; variants: boolean }) {
  const groupBy: GroupBy | undefined = variants ? 'variant' : undefined;
  const of = { model, version, groupBy };
  return (
    <>
      <div class="section-head">
        <h2>In the field{variants ? ', by variant' : ''}</h2>
        <RangePicker />
      </div>
      <ViewPicker />
      <div class="grid two">
        <MetricChart title="Requests per second" requests={[{ metric: 'throughput', ...of }]} empty={quiet} chosen />
        <MetricChart
          title="Latency"
          requests={[
            { metric: 'latency', ...of, quantile: 0.95 },
            { metric: 'latency', ...of, quantile: 0.5 },
          ]}
          empty={quiet}
          chosen
        />
        <MetricChart title="Error rate" requests={[{ metric: 'error_rate', ...of }]} ceiling={1} empty={quiet} chosen />
        <MetricChart
          title="Time in the queue"
          requests={[{ metric: 'queue_wait', ...of, quantile: 0.95 }]}
          empty={noQueue}
          chosen
        />
        <SignalChart {...of} />
        <ShadowChart model={model} version={version} />
      </div>
    </>
  );
}

/** The mean of a signal that is chosen from those that devices told of in this time. */
function SignalChart(of: { model: string; version: number; groupBy: GroupBy | undefined }) {
  const { model, version } = of;
  const told = useTotals([{ metric: 'signal_samples', model, version, groupBy: 'signal' }]);
  const names = (told.data?.[0]?.series ?? []).map(({ labels }) => labels.signal ?? '').sort();
  const [chosen, choose] = useState('');
  const signal = names.includes(chosen) ? chosen : names[0];
  return (
    <div class="stack-small">
      <label class="field">
        Signal
        <select value={signal ?? ''} onChange={(event) => choose(event.currentTarget.value)}>
          {names.map((name) => (
            <option key={name} value={name}>
              {name}
            </option>
          ))}
          {signal === undefined && <option value="">none was told in this time</option>}
        </select>
      </label>
      {signal !== undefined && (
        <MetricChart
          title={`Mean of ${signal}`}
          requests={[{ metric: 'signal_mean', ...of, signal }]}
          empty="No values in this time."
          chosen
        />
      )}
    </div>
  );
}

/** Of rows that both answered, how many alike. */
export function ShadowChart({ model, version }: { model: string; version: number }) {
  return (
    <MetricChart
      title="Agreement as a shadow"
      requests={[{ metric: 'shadow_agreement', model, version }]}
      ceiling={1}
      empty="It ran beside no other version in this time: edgeloop rollouts create --waves shadow:10,100"
    />
  );
}
