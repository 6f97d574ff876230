// One rollout, live: its waves, its gates, and what happened.
import { type Rollout, RolloutDetail } from '@edgeloop/shared/api/rollouts';
import { useRoute } from 'preact-iso/router';
import { useQuery } from '../api/queries.ts';
import { PhaseBadge, type Tone } from '../components/badge.tsx';
import { Card, Facts, Loaded, PageHead } from '../components/layout.tsx';
import { RolloutActions } from '../components/rollout-actions.tsx';
import { RolloutDevices } from '../components/rollout-devices.tsx';
import { CellLegend, progressText, RolloutWaves } from '../components/rollout-waves.tsx';
import { Ago, ModelLink, shortId, VersionLink } from '../components/values.tsx';
import { formatDuration, formatInstant, formatShare, words } from '../format.ts';

const verdictTones: Record<RolloutDetail['gates'][number]['verdict'], Tone> = {
  passed: 'ok',
  failed: 'bad',
  waiting: 'wait',
};

export function RolloutPage() {
  const id = useRoute().params.id ?? '';
  const rollout = useQuery(RolloutDetail, `/rollouts/${encodeURIComponent(id)}`, ['rollout', 'device']);
  return (
    <>
      <PageHead
        title={rollout.data === undefined ? `Rollout ${shortId(id)}` : `${rollout.data.model} v${rollout.data.version}`}
        parents={[{ title: 'Rollouts', path: '/rollouts' }]}
        note={rollout.data !== undefined && <Summary rollout={rollout.data} />}
      >
        {rollout.data !== undefined && <RolloutActions rollout={rollout.data} />}
      </PageHead>
      <Loaded query={rollout}>
        {(found) => (
          <>
            <Card title="Waves" actions={<CellLegend devices={found.devices} />}>
              <RolloutWaves rollout={found} />
            </Card>
            <div class="grid three">
              <Gates rollout={found} />
              <Plan rollout={found} />
              <History rollout={found} />
            </div>
            <RolloutDevices devices={found.devices} />
          </>
        )}
      </Loaded>
    </>
  );
}

function Summary({ rollout }: { rollout: Rollout }) {
  return (
    <span aria-live="polite">
      <PhaseBadge state={rollout.state} /> {progressText(rollout)}
    </span>
  );
}

function Gates({ rollout }: { rollout: RolloutDetail }) {
  return (
    <Card title="Gates">
      <ul class="rows">
        {rollout.gates.map((gate) => (
          <li key={gate.gate}>
            <div class="row-head">
              <strong>{words(gate.gate)}</strong>
              <span class={`badge tone-${verdictTones[gate.verdict]}`}>{gate.verdict}</span>
            </div>
            <span class="small">{gate.detail}</span>
          </li>
        ))}
        {rollout.gates.length === 0 && <li class="muted">Judged when the devices of a wave have baked.</li>}
      </ul>
    </Card>
  );
}

function Plan({ rollout }: { rollout: Rollout }) {
  const { plan } = rollout;
  return (
    <Card title="Plan">
      <Facts
        facts={[
          [
            'Model',
            <span key="model">
              <ModelLink name={rollout.model} /> <VersionLink model={rollout.model} version={rollout.version} />
            </span>,
          ],
          ['Devices', plan.selector === '' ? 'all' : <code key="selector">{plan.selector}</code>],
          ['Waves', plan.waves.map((wave) => `${wave.percent} %`).join(', ')],
          ['Bake', formatDuration(plan.bakeSeconds)],
          ['Deploy within', formatDuration(plan.deployTimeoutSeconds)],
          ['Error rate', `at most ${formatShare(plan.gates.maxErrorRate)}, after ${plan.gates.minRequests} requests`],
          ['Failed devices', `at most ${formatShare(plan.gates.maxFailedDevices)}`],
          ['On failure', plan.onFailure === 'rollback' ? 'roll back' : 'pause'],
          ['Offline devices', plan.offlineDevices === 'wait' ? 'are waited for' : 'follow when they return'],
          ['Later devices', plan.follow ? 'receive it too' : 'do not receive it'],
          [
            'Created',
            <span key="created">
              <Ago at={rollout.createdAt} /> by {rollout.createdBy}
            </span>,
          ],
        ]}
      />
    </Card>
  );
}

function History({ rollout }: { rollout: RolloutDetail }) {
  const entries = [...rollout.history].sort((a, b) => b.at - a.at);
  return (
    <Card title="History">
      <ol class="history" aria-live="polite">
        {entries.map((entry) => (
          <li key={`${entry.at} ${entry.text}`}>
            <time dateTime={new Date(entry.at).toISOString()} title={formatInstant(entry.at)}>
              {formatInstant(entry.at).slice(11)}
            </time>
            {entry.text}
          </li>
        ))}
        {entries.length === 0 && <li class="muted">Nothing has happened yet.</li>}
      </ol>
    </Card>
  );
}
