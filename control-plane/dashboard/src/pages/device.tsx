// One device: what it is, what it should run, what it runs, and how that goes.
import { Device } from '@edgeloop/shared/api/devices';
import { clockWords, isClockOff } from '@edgeloop/shared/clock';
import { useLocation, useRoute } from 'preact-iso/router';
import { useQuery } from '../api/queries.ts';
import { ActionButton } from '../components/action.tsx';
import { Badge, DeviceDot } from '../components/badge.tsx';
import { DeviceModels } from '../components/device-models.tsx';
import { LabelEditor } from '../components/label-editor.tsx';
import { Card, Facts, Loaded, PageHead } from '../components/layout.tsx';
import { MalformedCard } from '../components/malformed-card.tsx';
import { MetricChart, RangePicker } from '../components/metric-chart.tsx';
import { Ago } from '../components/values.tsx';
import { formatBytes, formatShare } from '../format.ts';

const quiet = 'No telemetry of this device in this time.';

export function DevicePage() {
  const id = useRoute().params.id ?? '';
  const { route } = useLocation();
  const path = `/devices/${encodeURIComponent(id)}`;
  const device = useQuery(Device, path, ['device', 'rollout']);
  return (
    <>
      <PageHead
        title={id}
        parents={[{ title: 'Fleet', path: '/fleet' }]}
        note={device.data !== undefined && <DeviceDot status={device.data.status} />}
      >
        {device.data?.conflicting === true && <ResolveActions path={path} />}
        <ActionButton
          label="Remove device"
          tone="danger"
          confirm={`${id} loses its access at once and leaves the fleet. To come back it needs a new join token.`}
          request={() => ({ method: 'DELETE', path })}
          done={() => route('/fleet')}
        />
      </PageHead>
      <Loaded query={device}>
        {(found) => (
          <div class="grid two">
            <Problems problems={found.problems} />
            <StateCard device={found} />
            <FactsCard device={found} />
            <DeviceModels device={found} />
            <MalformedCard path={path} />
          </div>
        )}
      </Loaded>
      <div class="section-head">
        <h2>Metrics</h2>
        <RangePicker />
      </div>
      <div class="grid three">
        <MetricChart
          title="Requests per second"
          requests={[{ metric: 'throughput', device: id, groupBy: 'model' }]}
          empty={quiet}
        />
        <MetricChart
          title="Latency"
          requests={[
            { metric: 'latency', device: id, quantile: 0.95 },
            { metric: 'latency', device: id, quantile: 0.5 },
          ]}
          empty={quiet}
        />
        <MetricChart
          title="Error rate"
          requests={[{ metric: 'error_rate', device: id, groupBy: 'model' }]}
          ceiling={1}
          empty={quiet}
        />
      </div>
    </>
  );
}

/** What becomes of a device that is ahead of this server. */
function ResolveActions({ path }: { path: string }) {
  const request = (decision: 'follow' | 'keep') => ({
    method: 'POST' as const,
    path: `${path}/resolve`,
    body: { decision },
  });
  return (
    <>
      <ActionButton
        label="Follow this server"
        tone="primary"
        confirm="The device gives up what it knew of a newer state, and does what this server says."
        request={() => request('follow')}
      />
      <ActionButton
        label="Keep what it runs"
        confirm="The device stays with what it runs now, until a newer rollout takes it."
        request={() => request('keep')}
      />
    </>
  );
}

/** Why it does not serve, record or follow. */
function Problems({ problems }: { problems: string[] }) {
  if (problems.length === 0) return null;
  return (
    <Card title="Problems" note={String(problems.length)} wide>
      <ul class="rows">
        {problems.map((problem) => (
          <li key={problem} class="text-bad">
            {problem}
          </li>
        ))}
      </ul>
    </Card>
  );
}

function StateCard({ device }: { device: Device }) {
  const { outbox } = device;
  return (
    <Card title="State">
      <Facts
        facts={[
          ['Labels', <LabelEditor key="labels" device={device} />],
          ['Last seen', <Ago key="seen" at={device.lastSeenAt} />],
          ['Joined', <Ago key="joined" at={device.enrolledAt} />],
          ['Desired state', <Generations key="generations" device={device} />],
          [
            'Buffer',
            outbox === null
              ? '–'
              : `${outbox.pendingItems} items, ${formatBytes(outbox.pendingBytes)}; ${outbox.droppedItems} dropped`,
          ],
          ['Clock', <Clock key="clock" clock={device.clock} />],
          ['Sent this month', budgetText(device.usage?.sentBytes, device.usage?.monthlyBudgetBytes)],
          ['Written a day', budgetText(device.usage?.writtenADayBytes, device.usage?.dailyWritesBudgetBytes)],
          ['Saving', device.usage?.saving.join('; ') || 'nothing'],
          ['Identity', <Identity key="identity" conflict={device.identityConflict} />],
          [
            'Access',
            device.revokedAt === null ? (
              'valid'
            ) : (
              <span key="revoked">
                revoked <Ago at={device.revokedAt} />
              </span>
            ),
          ],
        ]}
      />
    </Card>
  );
}

/** What is used of a budget; a device may have none, and may not know yet. */
function budgetText(bytes: number | null | undefined, budget: number | null | undefined): string {
  const used = bytes == null ? 'not known yet' : formatBytes(bytes);
  if (budget == null) return bytes == null ? used : `${used}, no budget`;
  const share = bytes == null || budget === 0 ? '' : ` (${formatShare(bytes / budget)})`;
  return `${used} of ${formatBytes(budget)}${share}`;
}

function Clock({ clock }: { clock: Device['clock'] }) {
  if (clock === null) return <>not measured yet</>;
  const { offsetMs, measuredAt } = clock;
  const words = Math.abs(offsetMs) < 2000 ? `${offsetMs} ms off` : clockWords(offsetMs);
  return (
    <span class={isClockOff(clock) ? 'text-bad' : undefined}>
      {words}, measured <Ago at={measuredAt} />
    </span>
  );
}

function Identity({ conflict }: { conflict: Device['identityConflict'] }) {
  if (conflict === null) return <>one device</>;
  return (
    <span class="text-bad">
      used by two devices, {conflict.takeovers} takeovers since <Ago at={conflict.since} />
    </span>
  );
}

function Generations({ device }: { device: Device }) {
  const { desiredGeneration, reportedGeneration, conflicting } = device;
  if (conflicting) {
    return (
      <span>
        <Badge tone="bad">conflicting</Badge> the device knows generation {reportedGeneration}, this server only{' '}
        {desiredGeneration}
      </span>
    );
  }
  if (reportedGeneration === desiredGeneration) {
    return (
      <span>
        <Badge tone="ok">reached</Badge> generation {desiredGeneration}
      </span>
    );
  }
  return (
    <span>
      <Badge tone="wait">under way</Badge> reported {reportedGeneration ?? 'none'} of {desiredGeneration}
    </span>
  );
}

function FactsCard({ device }: { device: Device }) {
  const { facts } = device;
  return (
    <Card title="Hardware and software">
      {facts === null ? (
        <p class="muted">The device has not reported yet.</p>
      ) : (
        <Facts
          facts={[
            ['Agent', facts.agentVersion],
            ['Node.js', facts.nodeVersion],
            ['Platform', `${facts.platform} ${facts.arch}`],
            ['Processor', `${facts.cpus} × ${facts.cpuModel === '' ? 'unknown' : facts.cpuModel}`],
            ['Memory', formatBytes(facts.memoryBytes)],
            ['Host name', facts.hostname === '' ? '–' : facts.hostname],
          ]}
        />
      )}
    </Card>
  );
}
