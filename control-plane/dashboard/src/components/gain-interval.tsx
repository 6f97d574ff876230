// Challenger against champion: the gain with its confidence interval on an axis around zero.
import type { Evaluation } from '@edgeloop/shared/api/training';
import { formatPoints } from '../format.ts';

type Gain = NonNullable<Evaluation['gain']>;

/** The whole interval right of zero means a real gain. */
export function GainInterval({ gain, won }: { gain: Gain; won: boolean }) {
  const reach = Math.max(0.01, Math.abs(gain.low), Math.abs(gain.high)) * 1.15;
  const at = (value: number) => `${50 + (50 * value) / reach}%`;
  const interval = `${formatPoints(gain.low)} to ${formatPoints(gain.high)}`;
  return (
    <figure class="gain">
      <div class="gain-axis" role="img" aria-label={`Gain ${formatPoints(gain.value)}, interval ${interval}`}>
        <span class="gain-zero" />
        <span
          class={`gain-range ${won ? 'tone-ok' : 'tone-wait'}`}
          style={{ left: at(gain.low), width: `${(50 * (gain.high - gain.low)) / reach}%` }}
        />
        <span class={`gain-point ${won ? 'tone-ok' : 'tone-wait'}`} style={{ left: at(gain.value) }} />
      </div>
      <figcaption>
        <strong>{formatPoints(gain.value)}</strong> <span class="muted">({interval})</span>
      </figcaption>
    </figure>
  );
}
