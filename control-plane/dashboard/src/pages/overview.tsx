// The state of the whole loop at a glance, and what to do next where a part of it is missing.
import { type Alert, ListedAlert } from '@edgeloop/shared/api/alerts';
import { Device } from '@edgeloop/shared/api/devices';
import { Model } from '@edgeloop/shared/api/models';
import { Rollout } from '@edgeloop/shared/api/rollouts';
import { Run } from '@edgeloop/shared/api/training';
import { presentValue, useSeries } from '../api/metrics.ts';
import { type Query, useList } from '../api/queries.ts';
import { AlertTitle } from '../components/alert-card.tsx';
import { AlertBadge, PhaseBadge, RunBadge } from '../components/badge.tsx';
import { Card, Empty, Facts, Figure, Loaded, PageHead } from '../components/layout.tsx';
import { MetricChart, RangePicker } from '../components/metric-chart.tsx';
import { progressText, WaveBar } from '../components/rollout-waves.tsx';
import { Ago, ModelLink, RolloutLink, RunLink } from '../components/values.tsx';
import { ViewPicker } from '../components/view-picker.tsx';
import { formatMilliseconds, formatNumber, formatPoints, formatShare } from '../format.ts';

const ended = new Set(['completed', 'cancelled', 'superseded', 'rolled_back']);
const noTraffic = 'No requests in this time. They appear when a device has answered some and sent its telemetry.';

export function OverviewPage() {
  const devices = useList(Device, { path: '/devices', limit: 1000, on: ['device'] });
  const models = useList(Model, { path: '/models', on: ['model'] });
  const rollouts = useList(Rollout, { path: '/rollouts', limit: 50, on: ['rollout'] });
  const alerts = useList(ListedAlert, { path: '/alerts', limit: 50, on: ['alert'] });
  const runs = useList(Run, { path: '/runs', limit: 10, on: ['run'] });
  return (
    <>
      <PageHead title="Overview">
        <RangePicker />
      </PageHead>
      {devices.data?.length === 0 && <JoinDevice />}
      {models.data?.length === 0 && <PushModel />}
      <Figures devices={devices} rollouts={rollouts} alerts={alerts} />
      <ViewPicker />
      <div class="grid three">
        <MetricChart title="Requests per second" requests={[{ metric: 'throughput' }]} empty={noTraffic} chosen />
        <MetricChart
          title="Latency"
          chosen
          requests={[
            { metric: 'latency', quantile: 0.95 },
            { metric: 'latency', quantile: 0.5 },
          ]}
          empty={noTraffic}
        />
        <MetricChart title="Error rate" requests={[{ metric: 'error_rate' }]} ceiling={1} empty={noTraffic} chosen />
      </div>
      <div class="grid three">
        <ActiveRollouts query={rollouts} />
        <OpenAlerts query={alerts} />
        <LatestRun query={runs} />
      </div>
    </>
  );
}

function Figures(props: {
  devices: Query<Device[]> & { more: boolean };
  rollouts: Query<Rollout[]>;
  alerts: Query<Alert[]>;
}) {
  const series = useSeries([{ metric: 'throughput' }, { metric: 'latency', quantile: 0.95 }, { metric: 'error_rate' }]);
  const latest = (i: number, format: (value: number) => string) => {
    const value = presentValue(series.data?.[i]);
    return value === undefined ? '–' : format(value);
  };
  const devices = props.devices.data ?? [];
  const online = devices.filter((device) => device.status === 'online').length;
  const active = props.rollouts.data?.filter((rollout) => !ended.has(rollout.state.phase)).length;
  const firing = props.alerts.data?.filter((alert) => alert.status === 'firing').length;
  const offline = devices.filter((device) => device.status === 'offline').length;
  return (
    <div class="figures" aria-live="polite">
      <Figure
        name="Devices online"
        value={props.devices.data === undefined ? '–' : `${online}/${devices.length}${props.devices.more ? '+' : ''}`}
        note={offline === 0 ? 'none is offline' : `${offline} offline`}
        path="/fleet"
      />
      <Figure name="Active rollouts" value={active ?? '–'} note="waiting or under way" path="/rollouts" />
      <Figure
        name="Firing alerts"
        value={firing ?? '–'}
        note="of models, devices and this server"
        path="/monitoring"
        {...((firing ?? 0) > 0 ? { tone: 'bad' } : {})}
      />
      <Figure name="Requests per second" value={latest(0, formatNumber)} note="now" />
      <Figure name="p95 latency" value={latest(1, formatMilliseconds)} note="now" />
      <Figure name="Error rate" value={latest(2, formatShare)} note="now" />
    </div>
  );
}

function JoinDevice() {
  return (
    <Empty
      title="No device has joined yet."
      command={'edgeloop join-tokens create\nEDGELOOP_JOIN=<token> edgeloop-agent run'}
    >
      Create a join token here, then start the agent with it on the device.
    </Empty>
  );
}

function PushModel() {
  return (
    <Empty title="No model is registered yet." command="edgeloop models push NAME model.onnx">
      Push an ONNX file, or let a <a href="/training">pipeline</a> train one; then create a rollout of its version.
    </Empty>
  );
}

function ActiveRollouts({ query }: { query: Query<Rollout[]> }) {
  return (
    <Card title="Rollouts" actions={<a href="/rollouts">All rollouts</a>}>
      <Loaded query={query}>
        {(rollouts) => (
          <ul class="rows">
            {[...rollouts]
              .sort((a, b) => Number(ended.has(a.state.phase)) - Number(ended.has(b.state.phase)))
              .slice(0, 4)
              .map((rollout) => (
                <li key={rollout.id}>
                  <div class="row-head">
                    <RolloutLink id={rollout.id} />
                    <span>
                      <ModelLink name={rollout.model} /> v{rollout.version}
                    </span>
                    <PhaseBadge state={rollout.state} />
                  </div>
                  <WaveBar rollout={rollout} />
                  <span class="muted small">{progressText(rollout)}</span>
                </li>
              ))}
            {rollouts.length === 0 && <li class="muted">None yet: edgeloop rollouts create</li>}
          </ul>
        )}
      </Loaded>
    </Card>
  );
}

function OpenAlerts({ query }: { query: Query<Alert[]> }) {
  return (
    <Card title="Alerts" actions={<a href="/monitoring">All alerts</a>}>
      <Loaded query={query}>
        {(alerts) => (
          <ul class="rows">
            {alerts.slice(0, 4).map((alert) => (
              <li key={alert.id}>
                <div class="row-head">
                  <span>
                    <AlertTitle alert={alert} />
                  </span>
                  <span class="muted small">
                    <Ago at={alert.startedAt} />
                  </span>
                  <AlertBadge status={alert.status} />
                </div>
                <span class="small">{alert.summary}</span>
              </li>
            ))}
            {alerts.length === 0 && <li class="muted">None. Every watched model looks like its reference.</li>}
          </ul>
        )}
      </Loaded>
    </Card>
  );
}

function LatestRun({ query }: { query: Query<Run[]> }) {
  return (
    <Card title="Latest training run" actions={<a href="/training">All runs</a>}>
      <Loaded query={query}>
        {([run]) =>
          run === undefined ? (
            <p class="muted">None yet. A pipeline runs by hand, or when an alert triggers it.</p>
          ) : (
            <Facts
              facts={[
                ['Run', <RunLink key="run" id={run.id} />],
                ['Status', <RunBadge key="status" status={run.status} />],
                ['Model', <ModelLink key="model" name={run.model} />],
                ['Cause', run.cause.kind === 'alert' ? 'an alert' : run.cause.by],
                ['Gain', run.evaluation?.gain == null ? '–' : formatPoints(run.evaluation.gain.value)],
                ['Began', <Ago key="began" at={run.createdAt} />],
              ]}
            />
          )
        }
      </Loaded>
    </Card>
  );
}
