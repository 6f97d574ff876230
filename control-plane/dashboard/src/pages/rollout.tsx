// One rollout, live: its waves, its gates, and what happened.
import { besideTerms, kindOf, presentWave, type Rollout, RolloutDetail } from '@edgeloop/shared/api/rollouts';
import type { MaintenanceWindow } from '@edgeloop/shared/maintenance-window';
import { useRoute } from 'preact-iso/router';
import { useQuery } from '../api/queries.ts';
import { BacktestCard } from '../components/backtest-card.tsx';
import { PhaseBadge, type Tone } from '../components/badge.tsx';
import { ShadowChart } from '../components/field-charts.tsx';
import { Card, Facts, Loaded, PageHead } from '../components/layout.tsx';
import { RangePicker } from '../components/metric-chart.tsx';
import { RolloutActions } from '../components/rollout-actions.tsx';
import { RolloutDevices } from '../components/rollout-devices.tsx';
import { CellLegend, progressText, RolloutWaves, waveText } from '../components/rollout-waves.tsx';
import { Ago, ModelLink, shortId, VersionLink } from '../components/values.tsx';
import { formatDuration, formatInstant, formatShare, words } from '../format.ts';

const verdictTones: Record<RolloutDetail['gates'][number]['verdict'], Tone> = {
  passed: 'ok',
  failed: 'bad',
  waiting: 'wait',
  inconclusive: 'wait',
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
            <ShadowCharts rollout={found} />
            {found.backtest && <BacktestCard backtest={found.backtest} />}
            <RolloutDevices devices={found.devices} />
          </>
        )}
      </Loaded>
    </>
  );
}

/** Of those that try the version beside the former one first. */
function ShadowCharts({ rollout }: { rollout: RolloutDetail }) {
  if (!rollout.plan.waves.some((wave) => besideTerms(wave)?.mode === 'shadow')) return null;
  return (
    <>
      <div class="section-head">
        <h2>Shadow</h2>
        <RangePicker />
      </div>
      <ShadowChart model={rollout.model} version={rollout.version} />
    </>
  );
}

function Summary({ rollout }: { rollout: Rollout }) {
  return (
    <span aria-live="polite">
      <PhaseBadge state={rollout.state} /> {rollout.status ?? progressText(rollout)}
    </span>
  );
}

/** Of the present wave as they stand, and of every wave before as they were when it ended. */
function Gates({ rollout }: { rollout: RolloutDetail }) {
  const { state } = rollout;
  const present = presentWave(state)?.wave;
  const former = rollout.waves.filter(({ wave, gates }) => wave !== present && gates.length > 0);
  const none = rollout.gates.length === 0 && former.length === 0;
  return (
    <Card title="Gates">
      {present !== undefined && rollout.gates.length > 0 && <Verdicts wave={present} gates={rollout.gates} />}
      {[...former].reverse().map(({ wave, gates }) => (
        <Verdicts key={wave} wave={wave} gates={gates} />
      ))}
      {none && <p class="muted">Judged when the devices of a wave have baked.</p>}
    </Card>
  );
}

function Verdicts({ wave, gates }: { wave: number; gates: RolloutDetail['gates'] }) {
  return (
    <ul class="rows" aria-label={`Gates of wave ${wave + 1}`}>
      {gates.map((gate) => (
        <li key={gate.gate}>
          <div class="row-head">
            <strong>
              Wave {wave + 1}: {words(gate.gate)}
            </strong>
            <Verdict gate={gate} />
          </div>
          <span class="small">{gate.detail}</span>
        </li>
      ))}
    </ul>
  );
}

function Verdict({ gate: { verdict, blocking } }: { gate: RolloutDetail['gates'][number] }) {
  const said = blocking === false && verdict !== 'passed';
  if (!said) return <span class={`badge tone-${verdictTones[verdict]}`}>{verdict}</span>;
  return verdict === 'failed' ? (
    <span class="badge tone-wait">warns</span>
  ) : (
    <span class="badge tone-idle">not waited for</span>
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
          ['Waves', plan.waves.map(waveText).join(', ')],
          ...paceFacts(plan),
          ['Bake', formatDuration(plan.bakeSeconds)],
          ['Deploy within', formatDuration(plan.deployTimeoutSeconds)],
          ['Error rate', `at most ${formatShare(plan.gates.maxErrorRate)}, after ${plan.gates.minRequests} requests`],
          ['Errors', `rise by at most ${formatShare(plan.gates.maxErrorRise)}`],
          ['Latency', latencyText(plan.gates.latency)],
          ['Accuracy', accuracyText(plan.gates.accuracy)],
          ['Drift', driftText(plan.gates.drift)],
          ...shadowFacts(plan),
          ['Backtest', backtestText(plan.gates.backtest)],
          ['Failed devices', `at most ${formatShare(plan.gates.maxFailedDevices)}`],
          ['On failure', failureText(plan)],
          ['Offline devices', offlineText(plan)],
          ...termsFacts(plan),
          ['Priority', String(plan.priority)],
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

function paceFacts({ spread, rate, maxUnavailable }: Rollout['plan']): [string, string][] {
  const facts: [string, string][] = [];
  if (spread !== undefined) facts.push(['Spread over', spread]);
  if (rate !== undefined) {
    const grows = rate.factor > 1 ? `, times ${rate.factor} after each ${rate.growAfter} healthy` : '';
    facts.push(['Rate', `${rate.start} a minute${grows}${rate.cap === undefined ? '' : `, at most ${rate.cap}`}`]);
  }
  if (maxUnavailable !== undefined)
    facts.push(['At a time', `${maxUnavailable.devices} of one ${maxUnavailable.label}`]);
  return facts;
}

/** Only where a wave runs the version in the shadow. */
function shadowFacts({ waves, gates }: Rollout['plan']): [string, string][] {
  const { mode, minAgreement, minCompared } = gates.shadow;
  if (!waves.some((wave) => kindOf(wave) === 'shadow')) return [];
  const text = `at least ${formatShare(minAgreement)} of answers agree, after ${minCompared}`;
  return [['Shadow', mode === 'warn' ? `${text}, only warns` : text]];
}

function failureText({ onFailure, rollbackOf }: Rollout['plan']): string {
  if (onFailure === 'pause') return 'pause';
  return rollbackOf === 'all' ? 'roll back every device that runs the version' : 'roll back';
}

/** When and how fast devices may take it up, where the plan says so. */
function termsFacts({ windows = {}, maxHoldSeconds, bandwidthKbps }: Rollout['plan']): [string, string][] {
  const facts = [...windowFacts('Fetched', windows.fetch), ...windowFacts('Activated', windows.activate)];
  if (maxHoldSeconds !== undefined) facts.push(['Held back', `at most ${formatDuration(maxHoldSeconds)}`]);
  if (bandwidthKbps !== undefined) facts.push(['Bandwidth', `at most ${bandwidthKbps} kbit/s a device`]);
  return facts;
}

function windowFacts(what: string, windows: readonly MaintenanceWindow[] = []): [string, string][] {
  if (windows.length === 0) return [];
  const texts = windows.map(
    ({ days, from, to }) => `${days === undefined ? '' : `${days.join(', ')} `}${from} to ${to}`,
  );
  return [[what, `${texts.join('; ')}, by the device's clock`]];
}

function offlineText({ offlineDevices, offlineAfterSeconds, offlineWaitSeconds }: Rollout['plan']): string {
  if (offlineDevices === 'wait')
    return `are waited for, ${offlineWaitSeconds === undefined ? 'a week' : formatDuration(offlineWaitSeconds)} at most`;
  return `follow when they return; a wave ends without them after ${formatDuration(offlineAfterSeconds)}`;
}

type Gates = Rollout['plan']['gates'];
const modeTexts = { gate: '', auto: ', where labels come', warn: ', only warns', off: '' } as const;

function latencyText({ mode, quantile, maxRatio }: Gates['latency']): string {
  if (mode === 'off') return 'not judged';
  return `${formatShare(quantile)} quantile at most ${maxRatio} times${modeTexts[mode]}`;
}

function accuracyText({ mode, maxLoss, minLabels }: Gates['accuracy']): string {
  if (mode === 'off') return 'not judged';
  return `loses at most ${formatShare(maxLoss)}, after ${minLabels} labels${modeTexts[mode]}`;
}

function driftText({ mode, maxShift }: Gates['drift']): string {
  if (mode === 'off') return 'not judged';
  return `a class moves by at most ${formatShare(maxShift)}${modeTexts[mode]}`;
}

function backtestText({ mode, days, maxChanged, maxLoss, minSamples }: Gates['backtest']): string {
  if (mode === 'off') return 'none';
  const changed = maxChanged === undefined ? '' : `, at most ${formatShare(maxChanged)} changed`;
  return `${days} days, after ${minSamples} samples: loses at most ${formatShare(maxLoss)}${changed}${modeTexts[mode]}`;
}

function History({ rollout }: { rollout: RolloutDetail }) {
  // The server tells the oldest first, also of those that have one instant.
  const entries = [...rollout.history].reverse();
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
