// Progress of a rollout: a block per wave, a cell per device.
import {
  besideTerms,
  kindOf,
  type PlannedWave,
  presentWave,
  type Rollout,
  type RolloutDetail,
  type RolloutDevice,
  type RolloutState,
  type RolloutWave,
} from '@edgeloop/shared/api/rollouts';
import { useLocation } from 'preact-iso/router';
import { formatShare, words } from '../format.ts';
import { Badge, rolloutDeviceTones, type Tone } from './badge.tsx';

const deviceStates = Object.keys(rolloutDeviceTones);

/** Index of the wave that is or was under way; the number of waves when all are done. */
function currentWave(rollout: Rollout): number | undefined {
  const { state } = rollout;
  return state.phase === 'completed' ? rollout.plan.waves.length : presentWave(state)?.wave;
}

/** A short word on where a rollout is. */
export function progressText(rollout: Rollout): string {
  const { state, plan } = rollout;
  const wave = (running: Extract<RolloutState, { phase: 'running' }>) =>
    `wave ${running.wave + 1} of ${plan.waves.length}, ${running.step}`;
  if (state.phase === 'running') return wave(state);
  if (state.phase === 'paused') return `${wave(state.resume)}: ${state.reason}`;
  if (state.phase === 'superseded') return `by ${state.by}`;
  if (state.phase === 'awaiting_approval' && state.name !== undefined) return `before the wave ${state.name}`;
  return 'reason' in state ? state.reason : '';
}

/** `to 10 %`, `to 5 devices`, `canary: site=lab`, `in the shadow on 10 %`, `20 % of requests on 10 %`. */
export function waveText(wave: PlannedWave): string {
  const which =
    'percent' in wave
      ? `to ${wave.percent} %`
      : 'devices' in wave
        ? `to ${wave.devices} device${wave.devices === 1 ? '' : 's'}`
        : wave.selector;
  const terms = besideTerms(wave);
  const on = which.replace(/^to /, '');
  const what =
    terms === undefined
      ? which
      : terms.mode === 'shadow'
        ? `in the shadow on ${on}`
        : `${formatShare(terms.share)} of requests on ${on}`;
  const approved = wave.approval === undefined ? '' : `, approved by ${approverText(wave.approval)}`;
  return `${wave.name === undefined ? '' : `${wave.name}: `}${what}${approved}`;
}

function approverText({ role, fourEyes }: NonNullable<PlannedWave['approval']>): string {
  return `the role ${role}${fourEyes ? ', four eyes' : ''}`;
}

/** How much of the bar a wave takes; what is no percentage takes a little. */
function shareOf(waves: readonly PlannedWave[], i: number): number {
  const grows = (wave: PlannedWave) => 'percent' in wave && kindOf(wave) === 'serve';
  const percents = waves.slice(0, i + 1).map((wave) => (grows(wave) && 'percent' in wave ? wave.percent : 0));
  const own = percents.at(-1) ?? 0;
  return own === 0 ? 5 : Math.max(1, own - Math.max(0, ...percents.slice(0, -1)));
}

const outcomeTones: Record<RolloutWave['outcome'], Tone> = {
  running: 'info',
  passed: 'ok',
  failed: 'bad',
  inconclusive: 'wait',
  stopped: 'idle',
};

/** Waves as a bar of their shares, filled up to the present one. */
export function WaveBar({ rollout }: { rollout: Rollout }) {
  const reached = currentWave(rollout);
  const { phase } = rollout.state;
  const waveTone = phase === 'paused' ? 'wait' : phase === 'awaiting_approval' ? 'ok' : 'info';
  return (
    <span class="wave-bar" role="img" aria-label={progressText(rollout)}>
      {rollout.plan.waves.map((wave, i) => {
        const tone = reached === undefined ? 'idle' : i < reached ? 'ok' : i === reached ? waveTone : 'idle';
        return (
          <span
            key={waveText(wave)}
            class={`tone-${tone}`}
            style={{ flexGrow: shareOf(rollout.plan.waves, i) }}
            title={waveText(wave)}
          />
        );
      })}
    </span>
  );
}

export function RolloutWaves({ rollout }: { rollout: RolloutDetail }) {
  const reached = currentWave(rollout);
  return (
    <div class="waves">
      {rollout.plan.waves.map((wave, i) => {
        const devices = rollout.devices.filter((device) => device.wave === i);
        const coming = comingTo(rollout, i);
        const healthy = devices.filter(({ state }) => state === 'healthy' || state === 'kept').length;
        const outcome = rollout.waves.find((each) => each.wave === i)?.outcome;
        return (
          <section
            key={waveText(wave)}
            class={`wave${i === reached ? ' wave-now' : ''}${outcome === 'failed' ? ' wave-failed' : ''}`}
            style={{ flexGrow: Math.max(1, devices.length + coming.length) }}
            aria-label={`Wave ${i + 1}`}
          >
            <h3>
              Wave {i + 1} <span class="muted">{waveText(wave)}</span>
              {outcome !== undefined && <Badge tone={outcomeTones[outcome]}>{outcome}</Badge>}
              <span class="wave-count">
                {healthy}/{devices.length + coming.length}
              </span>
            </h3>
            <div class="cells">
              {devices.map((device) => (
                <DeviceCell key={device.deviceId} device={device} />
              ))}
              {(devices.length === 0 || coming.length > 0) && (
                <span class="muted">{comingText(coming, isOver(rollout))}</span>
              )}
            </div>
          </section>
        );
      })}
    </div>
  );
}

/** Devices that stand in a wave before this one, in which they try the version, and come into this one afterwards. */
function comingTo({ devices }: RolloutDetail, wave: number): RolloutDevice[] {
  return devices.filter(({ later }) => later?.includes(wave));
}

function isOver({ state }: RolloutDetail): boolean {
  return ['completed', 'cancelled', 'superseded', 'rolling_back', 'rolled_back'].includes(state.phase);
}

function comingText(coming: readonly RolloutDevice[], over: boolean): string {
  if (coming.length === 0) return 'no devices';
  const from = [...new Set(coming.map((device) => device.wave + 1))];
  const who = `${coming.length} device${coming.length === 1 ? '' : 's'} of wave ${from.join(', ')}`;
  return `${who} ${over ? 'would have come' : 'will come'}`;
}

function DeviceCell({ device }: { device: RolloutDevice }) {
  const { route } = useLocation();
  const detail = device.detail === '' ? '' : `: ${device.detail}`;
  return (
    <button
      type="button"
      class={`cell state-${device.state}`}
      title={`${device.deviceId}, ${words(device.state)}${detail}`}
      aria-label={`${device.deviceId}, ${words(device.state)}`}
      onClick={() => route(`/fleet/${encodeURIComponent(device.deviceId)}`)}
    />
  );
}

/** What the colours of the cells mean, with how many devices are in each state. */
export function CellLegend({ devices }: { devices: RolloutDevice[] }) {
  const counted = deviceStates
    .map((state) => ({ state, count: devices.filter((device) => device.state === state).length }))
    .filter(({ count }) => count > 0);
  return (
    <ul class="legend" aria-live="polite">
      {counted.map(({ state, count }) => (
        <li key={state}>
          <span class={`cell state-${state}`} aria-hidden="true" />
          {count} {words(state)}
        </li>
      ))}
    </ul>
  );
}
