// Progress of a rollout: a block per wave, a cell per device.
import type { Rollout, RolloutDetail, RolloutDevice, RolloutState } from '@edgeloop/shared/api/rollouts';
import { useLocation } from 'preact-iso/router';
import { words } from '../format.ts';
import { rolloutDeviceTones } from './badge.tsx';

const deviceStates = Object.keys(rolloutDeviceTones);

/** Index of the wave that is or was under way; the number of waves when all are done. */
function currentWave(rollout: Rollout): number | undefined {
  const { state } = rollout;
  if (state.phase === 'running') return state.wave;
  if (state.phase === 'paused') return state.resume.wave;
  return state.phase === 'completed' ? rollout.plan.waves.length : undefined;
}

/** A short word on where a rollout is. */
export function progressText(rollout: Rollout): string {
  const { state, plan } = rollout;
  const wave = (running: Extract<RolloutState, { phase: 'running' }>) =>
    `wave ${running.wave + 1} of ${plan.waves.length}, ${running.step}`;
  if (state.phase === 'running') return wave(state);
  if (state.phase === 'paused') return `${wave(state.resume)}: ${state.reason}`;
  if (state.phase === 'superseded') return `by ${state.by}`;
  return 'reason' in state ? state.reason : '';
}

/** Waves as a bar of their shares, filled up to the present one. */
export function WaveBar({ rollout }: { rollout: Rollout }) {
  const reached = currentWave(rollout);
  const waveTone = rollout.state.phase === 'paused' ? 'wait' : 'info';
  return (
    <span class="wave-bar" role="img" aria-label={progressText(rollout)}>
      {rollout.plan.waves.map((wave, i) => {
        const share = wave.percent - (rollout.plan.waves[i - 1]?.percent ?? 0);
        const tone = reached === undefined ? 'idle' : i < reached ? 'ok' : i === reached ? waveTone : 'idle';
        return (
          <span key={wave.percent} class={`tone-${tone}`} style={{ flexGrow: share }} title={`${wave.percent} %`} />
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
        const healthy = devices.filter((device) => device.state === 'healthy').length;
        return (
          <section
            key={wave.percent}
            class={`wave${i === reached ? ' wave-now' : ''}`}
            style={{ flexGrow: Math.max(1, devices.length) }}
            aria-label={`Wave ${i + 1}`}
          >
            <h3>
              Wave {i + 1} <span class="muted">to {wave.percent} %</span>
              <span class="wave-count">
                {healthy}/{devices.length}
              </span>
            </h3>
            <div class="cells">
              {devices.map((device) => (
                <DeviceCell key={device.deviceId} device={device} />
              ))}
              {devices.length === 0 && <span class="muted">no devices</span>}
            </div>
          </section>
        );
      })}
    </div>
  );
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
