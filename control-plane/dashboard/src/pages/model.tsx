// One model: its versions, and how each does in the field.
import { Device } from '@edgeloop/shared/api/devices';
import { Model } from '@edgeloop/shared/api/models';
import { Rollout } from '@edgeloop/shared/api/rollouts';
import { useRoute } from 'preact-iso/router';
import { lastValues, useTotals } from '../api/metrics.ts';
import { useList, useQuery } from '../api/queries.ts';
import { PhaseBadge } from '../components/badge.tsx';
import { Bars } from '../components/bars.tsx';
import { Card, Empty, Failure, Loaded, PageHead } from '../components/layout.tsx';
import { MetricChart, RangePicker } from '../components/metric-chart.tsx';
import { progressText } from '../components/rollout-waves.tsx';
import { Ago, Digest, RolloutLink } from '../components/values.tsx';
import { VersionsTable } from '../components/versions-table.tsx';
import { ViewPicker } from '../components/view-picker.tsx';

const quiet = 'No requests in this time.';

export function ModelPage() {
  const name = useRoute().params.name ?? '';
  const model = useQuery(Model, `/models/${encodeURIComponent(name)}`, ['model', 'device']);
  const devices = useList(Device, { path: '/devices', limit: 1000, on: ['device'] });
  const rollouts = useList(Rollout, { path: '/rollouts', query: { model: name }, limit: 50, on: ['rollout'] });
  const marks = rollouts.data?.flatMap((rollout) =>
    rollout.state.phase === 'completed' ? [{ at: rollout.state.at, text: `v${rollout.version}` }] : [],
  );
  return (
    <>
      <PageHead title={name} parents={[{ title: 'Models', path: '/models' }]} note={model.data?.description} />
      <Loaded query={model}>
        {(found) => (
          <Card title="Versions" flush>
            {found.versions.length === 0 ? (
              <Empty title="No version yet." command={`edgeloop models push ${name} model.onnx`} />
            ) : (
              <VersionsTable model={found} devices={devices.data} />
            )}
          </Card>
        )}
      </Loaded>
      {model.data !== undefined && <UnknownReleases model={model.data} />}
      <div class="section-head">
        <h2>In the field</h2>
        <RangePicker />
      </div>
      <ViewPicker />
      <FieldCharts name={name} marks={marks} />
      <div class="grid two">
        <DriftingFeatures name={name} version={watchedVersion(name, model.data, devices.data)} />
        <ModelRollouts rollouts={rollouts.data ?? []} />
      </div>
    </>
  );
}

/** After a restored backup devices may run what is registered nowhere, or as something else. */
function UnknownReleases({ model }: { model: Model }) {
  if (model.unknownReleases.length === 0) return null;
  return (
    <Card title="Devices run what is not registered here">
      <ul class="rows">
        {model.unknownReleases.map(({ version, release, devices }) => (
          <li key={`${version} ${release}`} class="text-bad">
            v{version} {release === null ? '(no release is told)' : <Digest hash={release} />} on {devices} device
            {devices === 1 ? '' : 's'}; what it does is counted nowhere. Roll out the version that they should run.
          </li>
        ))}
      </ul>
    </Card>
  );
}

function FieldCharts({ name, marks }: { name: string; marks: { at: number; text: string }[] | undefined }) {
  const byVersion = { model: name, groupBy: 'version' } as const;
  return (
    <div class="grid two">
      <MetricChart
        chosen
        title="Accuracy from labels"
        requests={[{ metric: 'accuracy', ...byVersion }]}
        marks={marks}
        ceiling={1}
        empty="No labels for predictions of this time. They come by POST /feedback/{id} on the device, or POST /labels here."
      />
      <MetricChart
        chosen
        title="Drift (greatest PSI of any feature, whole fleet)"
        requests={[{ metric: 'drift', ...byVersion }]}
        marks={marks}
        empty="No drift is measured in this time: it needs a drift rule, a reference profile and enough samples."
      />
      <MetricChart
        chosen
        title="Requests per second"
        requests={[{ metric: 'throughput', ...byVersion }]}
        marks={marks}
        empty={quiet}
      />
      <MetricChart
        chosen
        title="Latency"
        requests={[
          { metric: 'latency', ...byVersion, quantile: 0.95 },
          { metric: 'latency', ...byVersion, quantile: 0.5 },
        ]}
        marks={marks}
        empty={quiet}
      />
      <MetricChart
        chosen
        title="Error rate"
        requests={[{ metric: 'error_rate', ...byVersion }]}
        marks={marks}
        ceiling={1}
        empty={quiet}
      />
      <MetricChart
        chosen
        title="Confidence"
        requests={[{ metric: 'confidence', ...byVersion }]}
        marks={marks}
        ceiling={1}
        empty={quiet}
      />
    </div>
  );
}

/** The newest version that some device runs, else the newest of all; undefined without any. */
function watchedVersion(name: string, model: Model | undefined, devices: Device[] | undefined): number | undefined {
  const active = (devices ?? []).flatMap((device) =>
    device.models.flatMap((each) => (each.name === name && each.active !== null ? [each.active.version] : [])),
  );
  const versions = active.length > 0 ? active : (model?.versions.map((each) => each.version) ?? []);
  return versions.length === 0 ? undefined : Math.max(...versions);
}

/** Drift of each feature over the whole time range. */
function DriftingFeatures({ name, version }: { name: string; version: number | undefined }) {
  const drift = useTotals(version === undefined ? [] : [{ metric: 'drift', model: name, version, groupBy: 'feature' }]);
  const bars = lastValues(drift.data?.[0])
    .sort((a, b) => b.value - a.value)
    .slice(0, 10);
  return (
    <Card title="Features that moved most" note={version === undefined ? '' : `v${version}, PSI over the time range`}>
      {drift.error !== undefined && <Failure error={drift.error} />}
      {bars.length === 0 ? (
        <p class="muted">Nothing is measured in this time.</p>
      ) : (
        <Bars title="Population stability index by feature" bars={bars} />
      )}
    </Card>
  );
}

function ModelRollouts({ rollouts }: { rollouts: Rollout[] }) {
  return (
    <Card title="Rollouts">
      <ul class="rows">
        {rollouts.slice(0, 8).map((rollout) => (
          <li key={rollout.id}>
            <div class="row-head">
              <RolloutLink id={rollout.id} />
              <span>v{rollout.version}</span>
              <span class="muted small">
                <Ago at={rollout.createdAt} />
              </span>
              <PhaseBadge state={rollout.state} />
            </div>
            <span class="muted small">{rollout.status ?? progressText(rollout)}</span>
          </li>
        ))}
        {rollouts.length === 0 && <li class="muted">No rollout of this model yet: edgeloop rollouts create</li>}
      </ul>
    </Card>
  );
}
